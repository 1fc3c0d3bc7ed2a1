"""Curves of runs, and the files of figures."""

import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from lskd_cli.config import list_presets, load_preset
from lskd_cli.errors import RunError
from lskd_cli.results.figures.curves import published_curves, published_losses, training_curves
from lskd_cli.results.figures.style import as_svg, save, styled
from lskd_cli.results.grouping import RunGroup, group_runs
from lskd_cli.results.report_figures import curves, make_names_unique, run_figures, write
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
    assert {len(curve) for curve in published_curves().values()} == {100, 240, 300, 480, 960}
    assert set(published_losses()) < logs
    assert len(published_losses()) == 45


def test_losses_are_drawn_without_that_of_the_baseline() -> None:
    kd = training_curves(_runs()).axes[2]
    lines = {str(line.get_label()): np.asarray(line.get_ydata()) for line in kd.get_lines()}
    assert list(lines) == ["KD+Ours, published", "KD", "KD+Ours"]
    assert list(lines["KD"]) == [2.0, 1.0]
    assert list(lines["KD+Ours, published"]) == published_losses()["kd,resnet56,resnet20,2,9"]


def test_curves_have_a_panel_a_method_over_the_released_curve_of_it() -> None:
    kd, dkd, *_ = training_curves(_runs()).axes
    assert (kd.get_title(), dkd.get_title()) == ("KD", "DKD")
    lines = {str(line.get_label()): np.asarray(line.get_ydata()) for line in kd.get_lines()}
    assert list(lines) == ["KD+Ours, published", "baseline", "KD", "KD+Ours"]
    assert list(lines["KD+Ours"]) == [61.0, 70.0]
    assert list(lines["KD+Ours, published"]) == published_curves()["kd,resnet56,resnet20,2,9"]


def test_a_released_curve_ends_where_shorter_runs_do_and_says_so() -> None:
    run = made_run("kd-r56-r20", True, 0, [61.0])
    axes, _ = training_curves(
        [Run(run.path, run.preset.with_epochs(24), run.history, run.info)]
    ).axes
    released = axes.get_lines()[0]
    assert len(np.asarray(released.get_xdata())) == 24
    assert "(240 epochs)" in str(released.get_label())


def test_a_caption_mentions_a_released_curve_if_there_is_one() -> None:
    assert "Dotted: the released log" in curves(_group(_runs())).caption
    assert "Dotted" not in curves(_group([made_run("alone-r20", False, 0, [60.0])])).caption


def test_every_group_has_a_figure_with_a_unique_name() -> None:
    other = made_run("kd-r56-r20", True, 1, [61.0])
    change_info(other, teacher_sha256="bb")
    runs = [*_runs(), other, made_run("alone-r32", False, 0, [60.0])]
    figures = [figure for group in group_runs(runs) for figure in run_figures(group)]
    make_names_unique(figures)
    assert [figure.name for figure in figures] == [
        "curves-resnet56-resnet20-cifar100-240", "curves-resnet56-resnet20-cifar100-240-2",
        "curves-resnet32-cifar100-240",
    ]  # fmt: skip


def test_figures_become_the_same_files_again(tmp_path: Path) -> None:
    files = [write([curves(_group(_runs()))], tmp_path / name) for name in ("first", "second")]
    assert [path.suffix for path in files[0]] == [".pdf", ".svg", ".png"]
    starts = (b"%PDF", b"<?xml", b"\x89PNG")
    for first, second, start in zip(*files, starts, strict=True):
        assert first.read_bytes().startswith(start)
        assert first.read_bytes() == second.read_bytes()


def test_in_a_page_black_is_the_text_color_and_figures_have_alternative_text() -> None:
    svg = as_svg(training_curves(_runs()), "curves", "Test accuracy")
    assert svg.startswith('<svg role="img" aria-label="Test accuracy" ')
    assert "#000000" not in svg
    assert "currentColor" in svg


def test_figures_of_a_page_share_no_identifier() -> None:
    figure = training_curves(_runs())
    one, two = (as_svg(figure, name, "") for name in ("one", "two"))
    first, second = (set(re.findall(r'\bid="([^"]*)"', svg)) for svg in (one, two))
    assert first
    assert not first & second
    used = re.findall(r'url\(#([^)]*)\)|href="#([^"]*)"', one)
    assert {clip or glyph for clip, glyph in used} <= first


def test_a_figure_that_cannot_be_written_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "figures").write_text("in the way")
    with pytest.raises(RunError, match=r"figures: cannot be written: "):
        write([curves(_group(_runs()))], tmp_path / "figures")


def test_the_style_is_of_these_figures_alone(tmp_path: Path) -> None:
    with styled():
        styled_figure = Figure()
    assert (styled_figure.get_layout_engine() is None, Figure().get_layout_engine() is None) == (
        False,
        True,
    )
    save(styled_figure, tmp_path / "empty.png")
    assert (tmp_path / "empty.png").exists()
