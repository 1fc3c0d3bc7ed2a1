"""The table of transformers: four arms in one row, the published values beside."""

import json

import pytest
from matplotlib.axes import Axes

from lskd_cli.errors import RequestError
from lskd_cli.results.figures.curves import training_curves
from lskd_cli.results.gallery import section
from lskd_cli.results.guided import guided_columns, make_guided_rows
from lskd_cli.results.page import render_page
from lskd_cli.results.runs import Run
from lskd_cli.results.settings import by_setting
from lskd_cli.results.table import TEXT_FORMATS, as_csv
from lskd_cli.results.tables import make_tables
from tests.results.helpers import made_run


def _labels(axes: Axes) -> list[str]:
    return [label.split("\n")[0] for label in axes.get_legend_handles_labels()[1]]


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


def test_a_transformer_has_one_row_for_all_its_arms() -> None:
    deit, pit = make_guided_rows(_runs(), "best")
    assert (deit.student, deit.teacher) == ("deit_tiny", "resnet56_guide")
    assert (deit.alone.mean, deit.locality.mean, deit.kd.mean, deit.stand.mean) == (
        65,
        77,
        75,
        78.5,
    )
    assert (deit.gain.n, deit.gain.mean) == (2, 13.5)
    published = (deit.published_alone, deit.published_locality, deit.published_stand)
    assert published == (65.08, 78.15, 78.55)
    assert (pit.student, pit.teacher, pit.stand) == ("pit_tiny", None, None)
    assert pit.published_stand == 78.76


def test_the_columns_read_as_the_published_table() -> None:
    rows = make_guided_rows(_runs(), "best")
    assert [column.heading for column in guided_columns(rows)] == [
        "Student", "Teacher", "top-1", "Epochs", "n", "Base", "Locality", "KD", "KD+Ours", "Δ",
        "Published base", "Locality", "KD+Ours",
    ]  # fmt: skip
    texts = [column.text(rows[0]) for column in guided_columns(rows)]
    assert texts[4:10] == [
        "2/1",
        "65.00 ± 1.41",
        "77.00",
        "75.00",
        "78.50 ± 0.71",
        "+13.50 [+7.15, +19.85]",
    ]


def test_other_settings_of_an_arm_have_a_row_beside_the_same_other_arms() -> None:
    warmer = made_run(
        "kd-r56g-deit-tiny", True, 0, [60.0], "done", "stand.temperature=4", "name=warm"
    )
    rows = [row for row in make_guided_rows([*_runs(), warmer], "best") if row.stand]
    assert [row.name for row in rows] == ["kd-r56g-deit-tiny", "warm"]
    assert [row.stand.mean for row in rows] == [78.5, 60.0]
    assert [row.alone.mean for row in rows] == [65.0, 65.0]
    assert [row.locality.mean for row in rows] == [77.0, 77.0]
    assert [row.kd.mean if row.kd else None for row in rows] == [75.0, None]
    assert guided_columns(rows)[0].heading == "Preset"


def test_runs_of_two_teachers_are_not_mixed() -> None:
    other = made_run("kd-r56g-deit-tiny", True, 3, [60.0])
    other.info |= {"teacher_sha256": "other", "teacher_top1": 50.0}
    rows = [row for row in make_guided_rows([*_runs(), other], "best") if row.stand]
    found = sorted((row.teacher_top1, row.stand.mean) for row in rows)
    assert found == [(50.0, 60.0), (79.42, 78.5)]
    assert [row.alone.mean for row in rows] == [65.0, 65.0]


def test_short_runs_are_not_mixed_with_long_ones() -> None:
    short = made_run("kd-r56g-deit-tiny", True, 0, [9.0], "done", "schedule.epochs=21")
    rows = make_guided_rows([*_runs(), short], "best")
    assert sorted(row.epochs for row in rows) == [21, 300, 300]


def test_the_same_run_twice_is_refused() -> None:
    with pytest.raises(RequestError, match="the same run as"):
        make_guided_rows([*_runs(), _runs()[0]], "best")


def test_transformers_have_their_own_table_beside_the_others() -> None:
    runs = [
        *_runs(),
        made_run("kd-r32x4-r8x4", True, 0, [76.0]),
        made_run("dkd-r56g-deit-tiny", True, 0, [7.0]),
    ]
    tables = make_tables(runs, "best")
    assert [len(table.rows) for table in tables] == [2, 2]
    assert tables[0].rows[0].name == "dkd-r56g-deit-tiny"
    assert tables[1].caption.startswith("Vision transformers")
    for name, write in TEXT_FORMATS.items():
        assert "deit_tiny" in write(tables).replace("\\", ""), name
    header, *lines = as_csv(tables).splitlines()
    assert len(lines) == 4
    assert {"stand_mean", "base_mean", "alone_mean", "published_locality"} <= set(header.split(","))
    json.dumps([record for table in tables for record in table.records])


def test_the_page_has_both_tables_and_one_figure_a_transformer() -> None:
    runs = [*_runs(), made_run("kd-r32x4-r8x4", True, 0, [76.0])]
    page = render_page([section(setting) for setting in by_setting(runs)], "best")
    assert page.count('<table class="comparison">') == 2 + 3
    assert page.count("<figure>") == 3
    assert "deit_tiny, cifar100" in page


def test_a_figure_has_a_panel_for_each_kind_of_teaching_over_the_released_curve() -> None:
    runs = [run for run in _runs() if run.preset.student == "deit_tiny"]
    first, second, *_ = training_curves(runs).axes
    assert (first.get_title(), second.get_title()) == ("KD", "locality guidance")
    assert _labels(first) == ["KD+Ours, published", "alone", "KD", "KD+Ours"]
    assert _labels(second) == ["alone", "locality guidance"]
