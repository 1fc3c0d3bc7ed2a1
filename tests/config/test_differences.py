"""The keys in which nested settings differ."""

from lskd_cli.config.differences import find_differences


def test_differences_have_dotted_keys_and_both_values() -> None:
    one = {"a": 1, "b": {"c": 2, "d": 3}, "e": {"f": 4}, "g": None}
    other = {"a": 1, "b": {"c": 5, "d": 3}, "g": {"h": 6}, "i": 7}
    assert list(find_differences(one, other)) == [
        ("b.c", 2, 5),
        ("e.f", 4, None),
        ("g", None, {"h": 6}),
        ("i", None, 7),
    ]
    assert list(find_differences(one, one)) == []
