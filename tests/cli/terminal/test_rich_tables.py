"""Tables on a terminal."""

import io

from rich.console import Console

from lskd_cli.cli.terminal.rich_tables import as_rich_table, plain_text
from lskd_cli.results.tables.table_format import Table
from tests.results.helpers import comparison_of, made_run


def _table(gain: float, seeds: int = 3) -> Table:
    runs = [
        made_run("kd-r32x4-r8x4", stand, seed, [70.0 + seed + stand * (gain + 0.1 * seed)])
        for stand in (False, True)
        for seed in range(seeds)
    ]
    return comparison_of(runs)


def _printed(table: Table, width: int, explain: bool = False) -> str:
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=width, color_system="standard")
    console.print(as_rich_table(table, width, explain))
    return text.getvalue()


def test_a_difference_is_green_above_zero_red_below_and_plain_otherwise() -> None:
    assert "\x1b[32m+2.10 [+1.85, +2.35]" in _printed(_table(2.0), 150)
    assert "\x1b[31m-1.90 [-2.15, -1.65]" in _printed(_table(-2.0), 150)
    unclear, single = _printed(_table(-0.1), 150), _printed(_table(2.0, seeds=1), 150)
    assert "\x1b[3" not in unclear + single
    assert "+2.00" in single


def test_columns_are_explained_on_request() -> None:
    table = _table(2.0)
    short, long = _printed(table, 130), _printed(table, 130, explain=True)
    assert "Top-1 test accuracy (%) on cifar100 of the best epoch" in short
    assert "without standardization" not in short
    assert "without standardization" in long


def test_texts_of_files_are_neither_markup_nor_escape_sequences() -> None:
    text = io.StringIO()
    Console(file=text, force_terminal=True, width=80).print(plain_text("a[old]/[/b]\x1b[31mred"))
    assert text.getvalue() == "a[old]/[/b]\\x1b[31mred\n"
