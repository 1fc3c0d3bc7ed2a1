"""Curves of runs, and the files of figures."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from lskd_cli.config import list_presets, load_preset
from lskd_cli.errors import RunError
from lskd_cli.results.figures.chart import Panel, paper_spec
from lskd_cli.results.figures.curves import (
    CurvePanel,
    curve_rows,
    published_curves,
    published_losses,
    training_curves,
)
from lskd_cli.results.figures.forest import forest_plot
from lskd_cli.results.grouping import RunGroup, group_runs
from lskd_cli.results.report.overview import forest_rows
from lskd_cli.results.report.report_figures import curves, make_names_unique, run_figures, write
from lskd_cli.results.runs import Run
from tests.results.helpers import change_info, made_run


def _runs() -> list[Run]:
    return [
        made_run("kd-r56-r20", False, 0, [60.0, 69.0]),
        made_run("kd-r56-r20", True, 0, [61.0, 70.0]),
        made_run("dkd-r56-r20", True, 0, [62.0, 71.0], "running"),
        made_run("alone-r20", False, 0, [59.0, 68.0]),
    ]


def _group(runs: list[Run]) -> RunGroup:
    (group,) = group_runs(runs)
    return group


def test_every_published_log_has_a_curve() -> None:
    logs = {load_preset(name).published.log for name in list_presets()} - {None}
    assert logs == set(published_curves())
    assert len(logs) == 59
    for preset in map(load_preset, list_presets()):
        log = preset.published.log
        for released in (published_curves(), published_losses()):
            assert log not in released or len(released[log]) == preset.schedule.epochs
    assert set(published_losses()) < logs
    assert len(published_losses()) == 45


def _curves(panel: Panel) -> dict[str, list[float]]:
    """Values by role."""
    curves: dict[str, list[float]] = {}
    for row in panel.rows:
        curves.setdefault(row["role"], []).append(row["value"])
    return curves


def test_losses_are_drawn_without_that_of_the_baseline() -> None:
    kd = training_curves(_runs(), "train_loss").panels[0]
    curves = _curves(kd)
    assert list(curves) == ["published +Ours", "plain", "+Ours"]
    assert curves["plain"] == [2.0, 1.0]
    assert curves["published +Ours"] == published_losses()["kd,resnet56,resnet20,2,9"]


def test_losses_that_can_be_negative_have_a_linear_scale() -> None:
    positive = training_curves(_runs(), "train_loss").panels[0]
    runs = _runs()
    runs[0].history[0]["train_loss"] = -1.0
    negative = training_curves(runs, "train_loss").panels[0]
    assert isinstance(positive, CurvePanel)
    assert isinstance(negative, CurvePanel)
    assert (positive.is_log, negative.is_log) == (True, False)
    assert '"type": "log"' in json.dumps(positive.spec())
    assert '"type": "log"' not in json.dumps(negative.spec())


def test_every_curve_starts_at_epoch_one() -> None:
    panel = training_curves(_runs(), "test_top1").panels[0]
    epochs: dict[str, list[int]] = {}
    for row in panel.rows:
        epochs.setdefault(row["run"], []).append(row["epoch"])
    published = epochs.pop("published, 240 epochs")
    assert published == list(range(1, len(published) + 1))
    assert len(epochs) == 3
    assert all(found == [1, 2] for found in epochs.values())


def test_curves_have_a_panel_a_method_over_the_released_curve_of_it() -> None:
    kd, dkd = training_curves(_runs(), "test_top1").panels
    assert (kd.title, dkd.title) == ("KD", "DKD")
    curves = _curves(kd)
    assert list(curves) == ["published +Ours", "baseline", "plain", "+Ours"]
    assert curves["+Ours"] == [61.0, 70.0]
    assert curves["published +Ours"] == published_curves()["kd,resnet56,resnet20,2,9"]


def test_panels_have_the_same_limits() -> None:
    panels = training_curves(_runs(), "test_top1").panels
    limits = [
        {param["name"]: param.get("value") for param in panel.spec()["params"]} for panel in panels
    ]
    assert limits[0] == limits[1]
    assert (limits[0]["x_min"], limits[0]["x_max"]) == (1, 240)
    values = [row["value"] for panel in panels for row in panel.rows]
    assert limits[0]["y_min"] < min(values) < max(values) < limits[0]["y_max"]


def test_the_last_epoch_of_an_unfinished_run_is_marked() -> None:
    _, dkd = training_curves(_runs(), "test_top1").panels
    marked = [(row["run"], row["epoch"]) for row in dkd.rows if "unfinished" in row]
    assert marked == [("runs/dkd-r56-r20+stand/seed0", 2)]
    assert "Circles" in curves(_group(_runs()), "test_top1").caption
    assert "Circles" not in curves(_group(_runs()[:2]), "test_top1").caption


def test_a_released_curve_ends_where_shorter_runs_do_and_says_so() -> None:
    run = made_run("kd-r56-r20", True, 0, [61.0])
    short = Run(run.path, run.preset.with_epochs(24), run.history, run.info)
    (panel,) = training_curves([short], "test_top1").panels
    released = [row for row in panel.rows if row["role"] == "published +Ours"]
    assert len(released) == 24
    assert released[0]["run"] == "published, 240 epochs"


def test_a_caption_mentions_a_released_curve_and_several_seeds_if_there_are_any() -> None:
    caption = curves(_group(_runs()), "test_top1").caption
    assert "Dashed: the released log" in caption
    assert "range" not in caption
    alone = curves(_group([made_run("alone-r20", False, 0, [60.0])]), "test_top1").caption
    assert "Dashed" not in alone
    seeds = [made_run("alone-r20", False, seed, [60.0]) for seed in (0, 1)]
    assert "and the range from the lowest" in curves(_group(seeds), "test_top1").caption


def test_every_group_has_a_figure_with_a_unique_name() -> None:
    other = made_run("kd-r56-r20", True, 1, [61.0])
    change_info(other, teacher_sha256="bb")
    runs = [*_runs(), other, made_run("alone-r32", False, 0, [60.0])]
    figures = [figure for group in group_runs(runs) for figure in run_figures(group, "best")]
    make_names_unique(figures)
    assert [figure.name for figure in figures] == [
        "accuracy-resnet56-resnet20-cifar100-240", "loss-resnet56-resnet20-cifar100-240",
        "accuracy-resnet56-resnet20-cifar100-240-2", "loss-resnet56-resnet20-cifar100-240-2",
        "accuracy-resnet32-cifar100-240", "loss-resnet32-cifar100-240",
    ]  # fmt: skip


def test_figures_become_files_of_all_formats_and_the_same_pictures_again(tmp_path: Path) -> None:
    files = [
        write([curves(_group(_runs()), "test_top1")], tmp_path / name)
        for name in ("first", "second")
    ]
    assert [path.suffix for path in files[0]] == [".pdf", ".svg", ".png"]
    starts = (b"%PDF", b"<svg", b"\x89PNG")
    for first, second, start in zip(*files, starts, strict=True):
        assert first.read_bytes().startswith(start)
        if first.suffix == ".png":
            assert first.read_bytes() == second.read_bytes()


def test_a_figure_on_paper_has_the_width_of_a_column(tmp_path: Path) -> None:
    one_column = curves(_group([made_run("kd-r56-r20", True, 0, [61.0, 62.0])]), "test_top1")
    for figure, inches in ((one_column, 3.3), (curves(_group(_runs()), "test_top1"), 6.9)):
        (_, svg, png) = write([figure], tmp_path / str(inches))
        (width,) = re.findall(r'^<svg[^>]* width="([\d.]+)"', svg.read_text("utf-8"))
        assert 0.9 * inches <= float(width) / 72 <= 1.02 * inches
        assert "<text" in svg.read_text("utf-8")
        with Image.open(png) as image:
            assert image.width == pytest.approx(float(width) * 300 / 72, rel=0.01)


def test_the_forest_plot_has_a_row_for_each_comparison_with_its_state() -> None:
    runs = [
        *_runs(),
        *(
            made_run("kd-r32x4-r8x4", stand, seed, [70.0 + seed + 2 * stand + 0.1 * stand * seed])
            for stand in (False, True)
            for seed in (0, 1, 2)
        ),
        made_run("dkd-r56-r20", False, 0, [62.0], "running"),
    ]
    groups = [(group, f"section-{index}") for index, group in enumerate(group_runs(runs))]
    rows = {(row.method, row.pair): row for row in forest_rows(groups, "best")}
    kd = rows["KD", "resnet56 → resnet20"]
    assert (kd.result, kd.sign, kd.state, kd.ci_low) == ("+1.00", "unclear", "finished", None)
    dkd = rows["DKD", "resnet56 → resnet20"]
    assert (dkd.result, dkd.difference, dkd.state) == ("epoch 1 of 240", None, "unfinished")
    several = rows["KD", "resnet32x4 → resnet8x4"]
    assert (several.sign, several.published, several.published_for) == (
        "higher", 3.29, "these settings",
    )  # fmt: skip
    assert several.label.endswith("240 epochs, n = 3")
    assert several.ci_low == pytest.approx(2.1 - 0.1 * 4.3027 / 3**0.5, abs=1e-3)
    spec = paper_spec(forest_plot(list(rows.values())))
    assert len(spec["datasets"]["rows0"]) == 3


def test_a_figure_that_cannot_be_written_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "figures").write_text("in the way")
    with pytest.raises(RunError, match=r"figures: cannot be written: "):
        write([curves(_group(_runs()), "test_top1")], tmp_path / "figures")


def test_each_kind_of_teaching_has_a_panel_over_the_released_curve() -> None:
    runs = [
        made_run("alone-deit-tiny", False, 0, [50.0, 64.0]),
        made_run("guidance-r56g-deit-tiny", False, 0, [70.0, 77.0]),
        made_run("kd-r56g-deit-tiny", False, 0, [70.0, 75.0]),
        made_run("kd-r56g-deit-tiny", True, 0, [71.0, 78.0]),
    ]
    first, second = training_curves(runs, "test_top1").panels
    assert (first.title, second.title) == ("KD", "locality guidance")
    roles = [list(dict.fromkeys(row["role"] for row in panel.rows)) for panel in (first, second)]
    assert roles == [["published +Ours", "baseline", "plain", "+Ours"], ["baseline", "locality"]]


def test_runs_of_other_settings_are_curves_of_their_own() -> None:
    first, second = (made_run("kd-r56-r20", False, seed, [50.0, 60.0]) for seed in (0, 1))
    other = made_run("kd-r56-r20", False, 2, [50.0, 60.0])
    change_info(other, precision="bf16")
    rows = curve_rows([first, second, other], "test_top1", [], 2)
    keys = {row["run"]: row["curve"] for row in rows}
    assert keys[first.path.as_posix()] == keys[second.path.as_posix()]
    assert keys[first.path.as_posix()] != keys[other.path.as_posix()]
