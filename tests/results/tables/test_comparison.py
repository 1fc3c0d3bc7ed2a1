"""The comparison table: means, standard deviations, paired differences, published values."""

import csv
import io
import math
from dataclasses import replace

import pytest

from lskd_cli.errors import RequestError
from lskd_cli.results.grouping import group_runs
from lskd_cli.results.report.overview import forest_rows
from lskd_cli.results.report.page import ReportSection, render_page
from lskd_cli.results.report.report_figures import run_figures
from lskd_cli.results.runs import Run
from lskd_cli.results.sweeps import find_sweeps, without_sweeps
from lskd_cli.results.tables.comparison import ComparisonRow, make_comparison
from lskd_cli.results.tables.sweep_table import make_sweep_table
from lskd_cli.results.tables.table_format import as_csv, as_latex, as_markdown
from tests.results.helpers import change_info, comparison_of, made_run


def _runs() -> list[Run]:
    name = "kd-r32x4-r8x4"
    return [
        made_run(name, False, 0, [70.0, 73.0]),
        made_run(name, False, 1, [74.0, 72.0]),
        made_run(name, False, 2, [71.0, 73.5]),
        # Not in the order of the plain runs, which are paired with them by seed.
        made_run(name, True, 1, [74.0, 78.0]),
        made_run(name, True, 0, [75.0, 76.0]),
    ]


def _rows(runs: list[Run], accuracy: str) -> list[ComparisonRow]:
    return list(comparison_of(runs, accuracy).rows)


def test_a_row_has_means_deviations_and_paired_differences() -> None:
    (row,) = _rows(_runs(), "best")
    assert (row.plain.n, row.standardized.n, row.difference.n) == (3, 2, 2)
    assert row.plain.mean == pytest.approx((73 + 74 + 73.5) / 3)
    assert row.standardized.std == pytest.approx(2**0.5)
    # seed by seed: 76 - 73 and 78 - 74
    assert row.difference.mean == pytest.approx(3.5)
    assert row.difference.std == pytest.approx(0.5**0.5)
    # Student's t for one degree of freedom is tan(0.475 pi) at 97.5 %
    half = math.tan(0.475 * math.pi) * 0.5
    assert (row.difference.ci_low, row.difference.ci_high) == pytest.approx(
        (3.5 - half, 3.5 + half)
    )
    assert (row.standardized.ci_low, row.standardized.ci_high) == pytest.approx(
        (77 - 2 * half, 77 + 2 * half)
    )


def test_the_last_epoch_is_not_the_best() -> None:
    (row,) = _rows(_runs(), "last")
    assert row.plain.mean == pytest.approx((73 + 72 + 73.5) / 3)


def test_a_row_has_the_published_values() -> None:
    table = comparison_of(_runs())
    assert table.cells()[0] == [
        "resnet32x4", "79.42", "resnet8x4", "KD", "240", "3/2", "73.50 ± 0.50", "77.00 ± 1.41",
        "+3.50 [-2.85, +9.85]", "73.33", "76.62", "+3.29",
    ]  # fmt: skip


def test_one_run_has_no_standard_deviation() -> None:
    (row,) = _rows(_runs()[:1], "best")
    assert (row.plain.std, row.standardized, row.difference) == (None, None, None)
    assert (row.plain.ci_low, row.plain.ci_high) == (None, None)
    assert [column.heading for column in comparison_of(_runs()[:1]).columns][6:] == [
        "Plain", "Published", "+Ours", "Δ",
    ]  # fmt: skip


def test_runs_with_other_settings_are_other_rows() -> None:
    short = made_run("kd-r32x4-r8x4", False, 0, [50.0], "done", "schedule.epochs=3")
    other = made_run("dkd-r32x4-r8x4", True, 0, [50.0])
    warmer = made_run("kd-r32x4-r8x4", True, 0, [50.0], "done", "stand.temperature=3")
    rows = _rows([*_runs(), short, other, warmer], "best")
    assert [(row.method, row.epochs) for row in rows] == [
        ("DKD", 240), ("KD", 240), ("KD", 240), ("KD", 3),
    ]  # fmt: skip


def test_a_limited_number_of_training_images_is_named() -> None:
    few = made_run("kd-digits100", False, 0, [50.0])
    table = comparison_of([few])
    assert table.title.startswith("Top-1 test accuracy (%) on digits (100 training images) of")
    table = comparison_of([few, made_run("kd-digits", False, 0, [60.0])])
    assert table.title.startswith("Top-1 test accuracy (%) on digits of")
    assert [cells[0] for cells in table.cells()] == ["all", "100"]
    assert group_runs([few])[0].title == (
        "resnet20 → resnet8, digits (100 training images), 60 epochs"
    )


def test_plain_runs_are_paired_with_every_setting_of_the_standardization() -> None:
    name = "kd-r32x4-r8x4"
    warmer = made_run(name, True, 0, [77.0], "done", "stand.temperature=3")
    first, second = _rows([*_runs(), warmer], "best")
    assert first.plain == second.plain
    assert {first.standardized.n, second.standardized.n} == {1, 2}


def test_a_standardized_run_of_another_name_is_paired_with_the_plain_ones() -> None:
    warmer = made_run(
        "kd-r32x4-r8x4", True, 0, [77.0], "done", "stand.temperature=3", "name=warmer"
    )
    rows = _rows([*_runs(), warmer], "best")
    assert [(row.name, row.plain.n, row.standardized.n) for row in rows] == [
        ("kd-r32x4-r8x4", 3, 2), ("warmer", 3, 1),
    ]  # fmt: skip
    assert comparison_of([*_runs(), warmer]).columns[0].heading == "Preset"


def test_plain_runs_of_two_names_are_two_rows() -> None:
    other = made_run("kd-r32x4-r8x4", False, 0, [77.0], "done", "name=other")
    assert [row.name for row in _rows([*_runs(), other], "best")] == ["kd-r32x4-r8x4", "other"]


def test_two_runs_of_the_same_seed_are_refused() -> None:
    with pytest.raises(RequestError, match="the same run as"):
        _rows([*_runs(), _runs()[0]], "best")


def test_runs_of_other_teachers_are_other_rows() -> None:
    other = made_run("kd-r32x4-r8x4", True, 2, [70.0])
    change_info(other, teacher_sha256="another")
    assert len(_rows([*_runs(), other], "best")) == 2


def test_unfinished_runs_do_not_count() -> None:
    unfinished = made_run("kd-r32x4-r8x4", False, 0, [50.0], "running")
    assert make_comparison(group_runs([unfinished]), "best") is None
    (row,) = _rows([*_runs(), made_run("kd-r32x4-r8x4", True, 2, [99.0], "running")], "best")
    assert row.standardized.n == 2


def test_markdown_has_a_caption_and_a_line_a_row() -> None:
    lines = as_markdown([comparison_of(_runs())]).splitlines()
    assert "of the best epoch (the papers' convention)" in lines[0]
    assert lines[0].endswith("paired by seed, with its 95 % t interval.")
    assert lines[2].startswith("| Teacher")
    assert "| 77.00 ± 1.41 |" in lines[4]


def test_latex_needs_nothing_beyond_booktabs() -> None:
    text = as_latex([comparison_of(_runs())])
    assert r"77.00 $\pm$ 1.41" in text
    assert r"\toprule" in text
    assert "±" not in text
    assert "Δ" not in text


def test_csv_has_a_column_for_each_number() -> None:
    (record,) = csv.DictReader(io.StringIO(as_csv([comparison_of(_runs())])))
    assert float(record["difference_mean"]) == pytest.approx(3.5)
    assert record["standardized_n"] == "2"
    assert record["published_standardized"] == "76.62"


def test_the_page_escapes_what_comes_from_runs() -> None:
    runs = _runs()
    change_info(runs[0], device="<script>alert(1)</script>")
    sections = [ReportSection(group, run_figures(group, "best")) for group in group_runs(runs)]
    page = render_page(sections, "best")
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page
    assert "77.00 ± 1.41" in page


def test_runs_of_different_precision_are_not_paired() -> None:
    runs = _runs()
    for run in runs[3:]:
        change_info(run, precision="bf16")
    rows = _rows(runs, "best")
    assert [(row.precision, row.difference) for row in rows] == [("bf16", None), ("fp32", None)]
    assert "Precision" in [column.heading for column in comparison_of(runs).columns]


def test_paired_runs_on_different_hardware_are_named() -> None:
    runs = _runs()
    change_info(runs[4], device="NVIDIA H200")
    notes = comparison_of(runs).notes
    assert notes.endswith(
        "Different hardware of plain and +Ours: kd-r32x4-r8x4 (cpu and NVIDIA H200, cpu)."
    )
    assert "hardware" not in comparison_of(_runs()).notes


@pytest.mark.parametrize("override", ["schedule.epochs=3", "data.limit_train=500"])
def test_published_values_of_other_settings_are_marked(override: str) -> None:
    short = made_run("kd-r32x4-r8x4", False, 0, [50.0], "done", override)
    table = comparison_of([short])
    assert table.cells()[0][-3:] == ["73.33*", "76.62*", "+3.29*"]
    assert table.notes.endswith("* Published for other settings, e.g. another number of epochs.")
    assert "*" not in comparison_of(_runs()).full_caption


@pytest.mark.parametrize("override", ["stand.temperature=3", "stand.kd_weight=6"])
def test_published_values_of_another_standardization_are_marked(override: str) -> None:
    other = made_run("kd-r32x4-r8x4", True, 0, [50.0], "done", override)
    assert comparison_of([other]).cells()[0][-3:] == ["73.33*", "76.62*", "+3.29*"]
    same = made_run("kd-r32x4-r8x4", True, 0, [50.0])
    assert comparison_of([same]).cells()[0][-3:] == ["73.33", "76.62", "+3.29"]


def test_text_formats_have_minus_signs_and_bold_differences_on_request() -> None:
    runs = [
        made_run("kd-r56-r20", stand, seed, [70.0 - 3 * stand + seed / 100])
        for stand in (False, True)
        for seed in (0, 1, 2)
    ]
    table = comparison_of(runs)
    assert "$-$3.00 [$-$3.00, $-$3.00]" in as_latex([table])
    assert "textbf" not in as_latex([table])
    bold = replace(table, has_bold=True)
    assert r"\textbf{$-$3.00 [$-$3.00, $-$3.00]}" in as_latex([bold])
    assert "**-3.00 [-3.00, -3.00]**" in as_markdown([bold])


def test_machine_readable_numbers_have_no_rounding_errors() -> None:
    runs = [made_run("kd-r56-r20", stand, 0, [70.44 + 0.77 * stand]) for stand in (False, True)]
    (record,) = comparison_of(runs).records
    assert record["difference_mean"] == 0.77


def _swept() -> list[Run]:
    plain = [made_run("kd-r56-r20", False, seed, [60.0 + seed]) for seed in (0, 1)]
    points = [(2, 9), (2, 3), (4, 3)]
    return plain + [
        made_run(
            "kd-r56-r20", True, seed, [60.0 + temperature + weight + seed], "done",
            f"stand.temperature={temperature}", f"stand.kd_weight={weight}",
            *([] if (temperature, weight) == (2, 9) else [f"name=kd-{temperature}-{weight}"]),
        )
        for temperature, weight in points
        for seed in (0, 1)
    ]  # fmt: skip


def test_a_sweep_is_a_table_of_temperatures_and_weights() -> None:
    (group,) = group_runs(_swept())
    (sweep,) = find_sweeps(group)
    table = make_sweep_table(group, sweep, "best")
    assert [column.heading for column in table.columns] == ["temperature", "weight 3", "weight 9"]
    assert table.cells() == [["2", "65.50 ± 0.71", "71.50 ± 0.71"], ["4", "67.50 ± 0.71", ""]]
    assert table.notes == (
        "Plain KD: 60.50 ± 0.71. The preset has base temperature 2 and weight 9."
    )
    comparison = make_comparison([without_sweeps(group)], "best")
    assert comparison is not None
    assert [(row.name, row.difference.mean) for row in comparison.rows] == [("kd-r56-r20", 11.0)]


def test_without_the_point_of_the_preset_all_points_stay_in_the_table() -> None:
    runs = [run for run in _swept() if run.preset.name != "kd-r56-r20" or not run.preset.teacher]
    (group,) = group_runs(runs)
    assert len(without_sweeps(group).methods) == len(group.methods) == 2


def _tuned() -> list[Run]:
    """A preset and the result of a search of it, whose plain settings are equal."""
    tuned = ("name=kd-r56-r20-tuned", "stand.kd_weight=12")
    return [
        made_run("kd-r56-r20", stand, seed, [60.0 + 2 * stand + seed], "done", *more)
        for more in ((), tuned)
        for stand in (False, True)
        for seed in (0, 1)
    ]


def test_a_preset_with_plain_runs_of_its_own_is_no_point_of_a_sweep() -> None:
    (group,) = group_runs(_tuned())
    assert not find_sweeps(group)
    comparison = make_comparison([without_sweeps(group)], "best")
    assert comparison is not None
    assert [row.name for row in comparison.rows] == ["kd-r56-r20", "kd-r56-r20-tuned"]
    point = ("name=kd-r56-r20-tuned-kd_weight3", "stand.kd_weight=3")
    swept = [made_run("kd-r56-r20", True, 0, [61.0], "done", *point)]
    (group,) = group_runs([*_tuned(), *swept])
    (sweep,) = find_sweeps(group)
    (row,) = (method for method in group.methods if method.runs == swept)
    assert {run.preset.name for run in row.plain} == {"kd-r56-r20-tuned"}
    assert {run.preset.name for run in sweep.plain} == {"kd-r56-r20-tuned"}
    assert list(sweep.points) == [(2.0, 12.0), (2.0, 3.0)]


def test_a_plain_preset_without_standardization_has_no_point_in_a_sweep() -> None:
    plain = [made_run("kd-r56-r20", False, 0, [60.0], "done", "stand=null")]
    (group,) = group_runs([*plain, *(run for run in _swept() if run.preset.standardized)])
    (sweep,) = find_sweeps(group)
    assert sweep.default is None
    assert make_sweep_table(group, sweep, "best").notes == "Plain KD: 60.00."


def test_n_is_that_of_the_runs_and_of_the_pairs() -> None:
    runs = [made_run("kd-r56-r20", False, seed, [60.0 + seed]) for seed in (0, 1, 2)]
    runs += [made_run("kd-r56-r20", True, seed, [61.0 + 2 * seed]) for seed in (1, 2, 3)]
    table = comparison_of(runs)
    n = [column.heading for column in table.columns].index("n")
    assert table.cells()[0][n] == "3/2"


def test_a_mean_over_pairs_does_not_mix_settings() -> None:
    runs = [
        made_run(name, stand, 0, [60.0 + stand * gain], "done", *more)
        for name, gain, more in (
            ("kd-r56-r20", 1.0, ()),
            ("kd-r56-r20", 50.0, ("name=other", "stand.kd_weight=1")),
            ("kd-v13-v8", 3.0, ()),
            ("kd-w40-2-w16-2", 50.0, ("data.limit_train=100",)),
        )
        for stand in (False, True)
    ]
    notes = comparison_of(runs).notes
    assert "Mean Δ of KD over 2 pairs (cifar100, 240 epochs, fp32): +2.00 [" in notes
    assert notes.count("Mean Δ") == 1


def test_several_pairs_have_a_mean_difference_for_each_method() -> None:
    gains = {"kd-r56-r20": 1.0, "kd-v13-v8": 3.0, "dkd-v13-v8": 5.0}
    runs = [
        made_run(name, stand, 0, [60.0 + stand * gain])
        for name, gain in gains.items()
        for stand in (False, True)
    ]
    table = make_comparison(group_runs(runs), "best")
    assert table is not None
    assert table.notes.endswith("Mean Δ of KD over 2 pairs: +2.00 [-10.71, +14.71].")
    assert "Mean Δ" not in comparison_of(_runs()).notes


def test_settings_of_a_standardization_can_be_words() -> None:
    runs = [
        made_run("wkd-r56-r20", stand, 0, [50.0], "done", f"stand.cost={cost}")
        for stand, cost in ((False, "cka"), (True, "cka"), (True, "classifier"))
    ]
    (group,) = group_runs(runs)
    assert len(group.methods) == 3
    labels = [row.label for row in forest_rows([(group, "section")], "best")]
    assert [text.split(" · ")[0] for text in labels] == ["WKD (cost=cka)", "WKD (cost=classifier)"]


def test_groups_of_other_data_settings_or_teachers_have_other_titles() -> None:
    runs = [
        made_run("kd-r56-r20", False, 0, [50.0], "done", *settings)
        for settings in ((), ("data.val_split=0.1",), ())
    ]
    change_info(runs[2], teacher_sha256="bbbbbbbbbbbb")
    titles = {group.title.removeprefix("resnet56 → resnet20, ") for group in group_runs(runs)}
    assert titles == {
        "cifar100, 240 epochs, data.val_split 0, teacher aa",
        "cifar100, 240 epochs, data.val_split 0.1, teacher aa",
        "cifar100, 240 epochs, data.val_split 0, teacher bbbbbbbb",
    }


def test_a_title_names_the_images_that_selected_the_epoch() -> None:
    runs = [
        made_run("kd-r56-r20", stand, 0, [50.0], "done", "data.val_split=0.1")
        for stand in (False, True)
    ]
    table = make_comparison(group_runs(runs), "best")
    assert table is not None
    assert "of the best epoch on held-out training images" in table.title
    both = make_comparison(group_runs([*runs, made_run("dkd-r56-r20", True, 0, [50.0])]), "best")
    assert both is not None
    assert "the best epoch (on test images; val: on held-out training images)" in both.title
