"""Methods with equal numbers of student passes: schedules, groups and tables."""

import pytest

from lskd_cli.cli.compare import _with_equal_budget
from lskd_cli.config import Preset, load_preset
from lskd_cli.errors import RequestError
from lskd_cli.results.figures.curves import training_curves
from lskd_cli.results.grouping import group_runs
from lskd_cli.results.runs import Run
from lskd_cli.results.tables.details import make_details
from tests.results.helpers import comparison_of, made_run


def _budgets(*presets: Preset) -> list[tuple[str, int, int]]:
    equal = _with_equal_budget(presets)
    assert len({preset.student_passes for preset in equal}) == 1
    return [(preset.name, preset.schedule.epochs, preset.student_passes) for preset in equal]


def test_methods_with_two_views_have_half_the_epochs() -> None:
    kd, mlkd = load_preset("kd-r56-r20"), load_preset("mlkd-r56-r20")
    assert mlkd.student_passes == 960
    assert _budgets(mlkd, kd) == [("mlkd-r56-r20-equal", 120, 240), ("kd-r56-r20", 240, 240)]
    (equal, _) = _with_equal_budget([mlkd, kd])
    assert equal.schedule.milestones == [38, 45, 53]
    assert equal.published.top1 is None
    assert _budgets(mlkd) == [("mlkd-r56-r20", 480, 960)]


def test_a_budget_that_two_views_cannot_share_is_refused() -> None:
    presets = [load_preset(f"{name}-digits").with_epochs(5) for name in ("kd", "crld")]
    with pytest.raises(RequestError, match="crld-digits: 5 is not divisible by 2 views"):
        _with_equal_budget(presets)


def _runs(epochs: str = "schedule.epochs=120") -> list[Run]:
    short = ("schedule.milestones=[]", epochs)
    return [
        made_run("alone-r20", False, 0, [69.0]),
        made_run("kd-r56-r20", False, 0, [70.0]),
        made_run("mlkd-r56-r20", False, 0, [71.0], "done", "name=mlkd-r56-r20-equal", *short),
        made_run("mlkd-r56-r20", False, 0, [72.0]),
    ]


def test_equal_budgets_form_a_group_without_published_values() -> None:
    groups = group_runs(_runs())
    by_title = {group.title: [run.preset.name for run in group.runs] for group in groups}
    equal = "resnet56 → resnet20, cifar100, 240 student passes over the training images"
    assert by_title[equal] == ["alone-r20", "kd-r56-r20", "mlkd-r56-r20-equal"]
    published = {run.preset.name: run.preset.published.top1 for g in groups for run in g.runs}
    assert published["kd-r56-r20"] is None
    assert published["mlkd-r56-r20"] == 72.19  # at 480 epochs, in a group of its own


def test_the_tables_show_what_each_method_cost() -> None:
    table = comparison_of(_runs()[:3])
    assert "after equal numbers of student passes" in table.title
    assert "Published" not in [column.heading for column in table.columns]
    rows = {row.method: row for row in table.rows}
    assert {m: (r.epochs, r.student_passes) for m, r in rows.items()} == {
        "baseline": (240, 240), "KD": (240, 240), "MLKD": (120, 240),
    }  # fmt: skip
    headings = [column.heading for column in table.columns]
    assert headings[-2:] == ["Passes", "Time"]
    assert table.cells()[-1][-2:] == ["240", "1:02:03"]
    (details,) = make_details(group_runs(_runs()[:3]))
    assert "240 student passes over the training images" in details.title
    assert "Epochs" in [column.heading for column in details.columns]


def test_other_tables_are_as_before() -> None:
    headings = [column.heading for column in comparison_of([_runs()[1], _runs()[3]]).columns]
    assert "Passes" not in headings
    assert "Published" in headings


def test_curves_are_as_long_as_the_longest_training() -> None:
    runs = [
        made_run("kd-r56-r20", False, 0, [50.0]),
        made_run("mlkd-r56-r20", False, 0, [50.0], "done", "schedule.epochs=120"),
    ]
    for ordered in (runs, runs[::-1]):
        assert {panel.epochs for panel in training_curves(ordered, "test_top1").panels} == {240}
