"""Words in messages."""

from lskd_cli.wording import counted


def test_a_number_has_its_noun() -> None:
    assert [counted(number, "epoch") for number in (0, 1, 2)] == ["0 epochs", "1 epoch", "2 epochs"]
    assert counted(1000, "search", "searches") == "1,000 searches"
