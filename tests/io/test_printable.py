"""Text from outside in messages, tables and Markdown."""

from lskd_cli.io.printable import escape_markdown, printable_line


def test_a_line_stays_a_line() -> None:
    assert printable_line("a\nb\tc\x1b[31m") == r"a\nb\tc\x1b[31m"


def test_markdown_cannot_be_left() -> None:
    text = "<script>a | b</script> &amp;"
    assert escape_markdown(text) == r"&lt;script&gt;a \| b&lt;/script&gt; &amp;amp;"
