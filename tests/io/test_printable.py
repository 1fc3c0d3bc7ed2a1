"""Text from outside in messages, tables and Markdown."""

from lskd_cli.io.printable import escape_markdown, printable_line, without_passwords


def test_a_line_stays_a_line() -> None:
    assert printable_line("a\nb\tc\x1b[31m") == r"a\nb\tc\x1b[31m"


def test_markdown_cannot_be_left() -> None:
    text = "<script>a | b</script> &amp;"
    assert escape_markdown(text) == r"&lt;script&gt;a \| b&lt;/script&gt; &amp;amp;"


def test_passwords_of_urls_are_hidden() -> None:
    for url, expected in {
        "postgresql://me:SECRET@host:5432/name": "postgresql://me:***@host:5432/name",
        "postgresql://me:SE@CR:ET@host/name": "postgresql://me:***@host/name",
        "mysql://host/name?user=me&password=SECRET&x=1": "mysql://host/name?user=me&password=***&x=1",
        "--storage=postgresql://me:SECRET@host/a": "--storage=postgresql://me:***@host/a",
        "sqlite:////folder/x.db": "sqlite:////folder/x.db",
        "http://host:8080/a@b": "http://host:8080/a@b",
    }.items():
        assert without_passwords(url) == expected
