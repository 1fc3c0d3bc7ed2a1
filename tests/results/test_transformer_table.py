"""The table of transformers: four trainings in one row, with published values."""

import json

import pytest

from lskd_cli.errors import RequestError
from lskd_cli.results.build_tables import make_tables
from lskd_cli.results.figures.chart import Panel
from lskd_cli.results.figures.curves import training_curves
from lskd_cli.results.grouping import group_runs
from lskd_cli.results.page import ReportSection, render_page
from lskd_cli.results.report_figures import run_figures
from lskd_cli.results.runs import Run
from lskd_cli.results.table_format import TEXT_FORMATS, Table, as_csv
from lskd_cli.results.transformer_table import TransformerRow, make_transformer_table
from tests.results.helpers import change_info, made_run


def _roles(panel: Panel) -> list[str]:
    return list(dict.fromkeys(row["role"] for row in panel.rows))


def _runs() -> list[Run]:
    return [
        made_run("alone-deit-tiny", False, 0, [50.0, 64.0]),
        made_run("alone-deit-tiny", False, 1, [50.0, 66.0]),
        made_run("guidance-r56g-deit-tiny", False, 0, [70.0, 77.0]),
        made_run("kd-r56g-deit-tiny", False, 0, [70.0, 75.0]),
        made_run("kd-r56g-deit-tiny", True, 0, [71.0, 78.0]),
        made_run("kd-r56g-deit-tiny", True, 1, [72.0, 79.0]),
        made_run("alone-pit-tiny", False, 0, [70.0]),
    ]


def _table(runs: list[Run]) -> Table:
    table = make_transformer_table(group_runs(runs), "best")
    assert table is not None
    return table


def _rows(runs: list[Run]) -> list[TransformerRow]:
    return list(_table(runs).rows)


def test_a_transformer_has_one_row_for_all_its_trainings() -> None:
    deit, pit = _rows(_runs())
    assert (deit.student, deit.teacher) == ("deit_tiny", "resnet56_guide")
    assert (deit.baseline.mean, deit.locality.mean, deit.kd.mean, deit.standardized.mean) == (
        65,
        77,
        75,
        78.5,
    )
    assert (deit.gain.n, deit.gain.mean) == (2, 13.5)
    published = (deit.published_baseline, deit.published_locality, deit.published_standardized)
    assert published == (65.08, 78.15, 78.55)
    assert (pit.student, pit.teacher, pit.standardized) == ("pit_tiny", None, None)
    assert pit.published_standardized == 78.76


def test_the_columns_read_as_the_published_table() -> None:
    table = _table(_runs())
    assert [column.heading for column in table.columns] == [
        "Student", "Teacher", "top-1", "Epochs", "n", "Baseline", "Locality", "KD", "KD+Ours", "Δ",
        "Published baseline", "Locality", "KD+Ours",
    ]  # fmt: skip
    assert table.cells()[0][4:10] == [
        "2/1",
        "65.00 ± 1.41",
        "77.00",
        "75.00",
        "78.50 ± 0.71",
        "+13.50 [+7.15, +19.85]",
    ]


def test_other_settings_of_a_method_have_a_row_with_the_same_other_methods() -> None:
    warmer = made_run(
        "kd-r56g-deit-tiny", True, 0, [60.0], "done", "stand.temperature=4", "name=warm"
    )
    rows = [row for row in _rows([*_runs(), warmer]) if row.standardized]
    assert [row.name for row in rows] == ["kd-r56g-deit-tiny", "warm"]
    assert [row.standardized.mean for row in rows] == [78.5, 60.0]
    assert [row.baseline.mean for row in rows] == [65.0, 65.0]
    assert [row.locality.mean for row in rows] == [77.0, 77.0]
    assert [row.kd.mean if row.kd else None for row in rows] == [75.0, None]
    assert _table([*_runs(), warmer]).columns[0].heading == "Preset"


def test_runs_of_two_teachers_are_not_mixed() -> None:
    other = made_run("kd-r56g-deit-tiny", True, 3, [60.0])
    change_info(other, teacher_sha256="other", teacher_top1=50.0)
    rows = [row for row in _rows([*_runs(), other]) if row.standardized]
    found = sorted((row.teacher_top1, row.standardized.mean) for row in rows)
    assert found == [(50.0, 60.0), (79.42, 78.5)]
    assert [row.baseline.mean for row in rows] == [65.0, 65.0]


def test_short_runs_are_not_mixed_with_long_ones() -> None:
    short = made_run("kd-r56g-deit-tiny", True, 0, [9.0], "done", "schedule.epochs=21")
    rows = _rows([*_runs(), short])
    assert sorted(row.epochs for row in rows) == [21, 300, 300]


def test_the_same_run_twice_is_refused() -> None:
    with pytest.raises(RequestError, match="the same run as"):
        _rows([*_runs(), _runs()[0]])


def test_transformers_have_a_table_of_their_own() -> None:
    runs = [
        *_runs(),
        made_run("kd-r32x4-r8x4", True, 0, [76.0]),
        made_run("dkd-r56g-deit-tiny", True, 0, [7.0]),
    ]
    tables = make_tables(runs, "best")
    assert [len(table.rows) for table in tables] == [2, 2]
    assert tables[0].rows[0].name == "dkd-r56g-deit-tiny"
    assert tables[1].title.startswith("Vision transformers")
    for name, write in TEXT_FORMATS.items():
        assert "deit_tiny" in write(tables).replace("\\", ""), name
    header, *lines = as_csv(tables).splitlines()
    assert len(lines) == 4
    assert {"standardized_mean", "plain_mean", "baseline_mean", "published_locality"} <= set(
        header.split(",")
    )
    json.dumps([record for table in tables for record in table.records])


def test_the_page_has_both_tables_and_one_figure_per_transformer() -> None:
    runs = [*_runs(), made_run("kd-r32x4-r8x4", True, 0, [76.0])]
    sections = [ReportSection(group, run_figures(group)) for group in group_runs(runs)]
    page = render_page(sections, "best")
    assert page.count('<table class="results">') == 2 + 3
    # the forest plot, and curves of accuracy and loss for each transformer
    assert page.count("<figure ") == 1 + 2 * 3
    assert "deit_tiny, cifar100" in page


def test_a_figure_has_a_panel_for_each_kind_of_teaching_over_the_released_curve() -> None:
    runs = [run for run in _runs() if run.preset.student == "deit_tiny"]
    first, second = training_curves(runs, "test_top1").panels
    assert (first.title, second.title) == ("KD", "locality guidance")
    assert _roles(first) == ["published +Ours", "baseline", "plain", "+Ours"]
    assert _roles(second) == ["baseline", "locality"]
