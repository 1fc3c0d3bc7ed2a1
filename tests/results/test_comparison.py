"""Rows from runs: means, deviations, paired differences, what stands beside them."""

import csv
import io
import math

import pytest

from lskd_cli.errors import RequestError
from lskd_cli.results.comparison import columns, make_rows
from lskd_cli.results.gallery import section
from lskd_cli.results.page import render_page
from lskd_cli.results.runs import Run
from lskd_cli.results.settings import by_setting
from lskd_cli.results.table import as_csv, as_latex, as_markdown
from lskd_cli.results.tables import make_tables
from tests.results.helpers import made_run


def _runs() -> list[Run]:
    name = "kd-r32x4-r8x4"
    return [
        made_run(name, False, 0, [70.0, 73.0]),
        made_run(name, False, 1, [74.0, 72.0]),
        made_run(name, False, 2, [71.0, 73.5]),
        made_run(name, True, 0, [75.0, 76.0]),
        made_run(name, True, 1, [74.0, 78.0]),
    ]


def test_a_row_has_means_deviations_and_paired_differences() -> None:
    (row,) = make_rows(_runs(), "best")
    assert (row.base.n, row.stand.n, row.difference.n) == (3, 2, 2)
    assert row.base.mean == pytest.approx((73 + 74 + 73.5) / 3)
    assert row.stand.deviation == pytest.approx(2**0.5)
    # seed by seed: 76 - 73 and 78 - 74
    assert row.difference.mean == pytest.approx(3.5)
    assert row.difference.deviation == pytest.approx(0.5**0.5)
    # Student's t for one degree of freedom is tan(0.475 pi) at 97.5 %
    half = math.tan(0.475 * math.pi) * 0.5
    assert (row.difference.low, row.difference.high) == pytest.approx((3.5 - half, 3.5 + half))
    assert (row.stand.low, row.stand.high) == pytest.approx((77 - 2 * half, 77 + 2 * half))


def test_the_last_epoch_is_not_the_best() -> None:
    (row,) = make_rows(_runs(), "last")
    assert row.base.mean == pytest.approx((73 + 72 + 73.5) / 3)


def test_the_published_values_stand_beside() -> None:
    (row,) = make_rows(_runs(), "best")
    assert [column.text(row) for column in columns([row])] == [
        "resnet32x4", "79.42", "resnet8x4", "KD", "240", "3/2", "73.50 ± 0.50", "77.00 ± 1.41",
        "+3.50 [-2.85, +9.85]", "73.33", "76.62", "+3.29",
    ]  # fmt: skip


def test_one_run_has_no_deviation() -> None:
    (row,) = make_rows(_runs()[:1], "best")
    assert (row.base.deviation, row.stand, row.difference) == (None, None, None)
    assert (row.base.low, row.base.high) == (None, None)
    assert [column.heading for column in columns([row])][6:] == [
        "Plain", "Published", "+Ours", "Δ",
    ]  # fmt: skip


def test_runs_with_other_settings_are_other_rows() -> None:
    short = made_run("kd-r32x4-r8x4", False, 0, [50.0], "done", "schedule.epochs=3")
    other = made_run("dkd-r32x4-r8x4", True, 0, [50.0])
    warmer = made_run("kd-r32x4-r8x4", True, 0, [50.0], "done", "stand.temperature=3")
    rows = make_rows([*_runs(), short, other, warmer], "best")
    assert [(row.method, row.epochs) for row in rows] == [
        ("DKD", 240), ("KD", 240), ("KD", 240), ("KD", 3),
    ]  # fmt: skip


def test_plain_runs_stand_beside_every_setting_of_the_standardization() -> None:
    name = "kd-r32x4-r8x4"
    warmer = made_run(name, True, 0, [77.0], "done", "stand.temperature=3")
    first, second = make_rows([*_runs(), warmer], "best")
    assert first.base == second.base
    assert {first.stand.n, second.stand.n} == {1, 2}


def test_a_standardized_run_of_another_name_stands_beside_the_plain_ones() -> None:
    warmer = made_run(
        "kd-r32x4-r8x4", True, 0, [77.0], "done", "stand.temperature=3", "name=warmer"
    )
    rows = make_rows([*_runs(), warmer], "best")
    assert [(row.name, row.base.n, row.stand.n) for row in rows] == [
        ("kd-r32x4-r8x4", 3, 2), ("warmer", 3, 1),
    ]  # fmt: skip
    assert columns(rows)[0].heading == "Preset"


def test_plain_runs_of_two_names_are_two_rows() -> None:
    other = made_run("kd-r32x4-r8x4", False, 0, [77.0], "done", "name=other")
    assert [row.name for row in make_rows([*_runs(), other], "best")] == ["kd-r32x4-r8x4", "other"]


def test_two_runs_of_the_same_seed_are_refused() -> None:
    with pytest.raises(RequestError, match="the same run as"):
        make_rows([*_runs(), _runs()[0]], "best")


def test_runs_of_other_teachers_are_other_rows() -> None:
    other = made_run("kd-r32x4-r8x4", True, 2, [70.0])
    other.info["teacher_sha256"] = "another"
    assert len(make_rows([*_runs(), other], "best")) == 2


def test_unfinished_runs_do_not_count() -> None:
    assert make_rows([made_run("kd-r32x4-r8x4", False, 0, [50.0], "running")], "best") == []


def test_markdown_has_a_caption_and_a_line_a_row() -> None:
    lines = as_markdown(make_tables(_runs(), "best")).splitlines()
    assert "best epoch, as published" in lines[0]
    assert lines[0].endswith("seed by seed, with its 95 % t interval.")
    assert lines[2].startswith("| Teacher")
    assert "| 77.00 ± 1.41 |" in lines[4]


def test_latex_needs_nothing_beyond_booktabs() -> None:
    text = as_latex(make_tables(_runs(), "best"))
    assert r"77.00 $\pm$ 1.41" in text
    assert r"\toprule" in text
    assert "±" not in text
    assert "Δ" not in text


def test_csv_has_a_column_for_each_number() -> None:
    (record,) = csv.DictReader(io.StringIO(as_csv(make_tables(_runs(), "best"))))
    assert float(record["difference_mean"]) == pytest.approx(3.5)
    assert record["stand_n"] == "2"
    assert record["published_stand"] == "76.62"


def test_the_page_escapes_what_comes_from_runs() -> None:
    runs = _runs()
    runs[0].info["device"] = "<script>alert(1)</script>"
    page = render_page([section(setting) for setting in by_setting(runs)], "best")
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page
    assert "77.00 ± 1.41" in page
