"""Figures of the outputs of networks on test images."""

import json
from dataclasses import replace

import numpy as np
import pytest

from lskd_cli.network_outputs import NetworkOutputs
from lskd_cli.results.figures import classes
from lskd_cli.results.figures.ablation import ablation_figure
from lskd_cli.results.figures.chart import Figure, Panel
from lskd_cli.results.figures.classes import class_differences
from lskd_cli.results.figures.moments import logit_moments
from lskd_cli.results.figures.sample import sample_logits
from lskd_cli.results.figures.shared_temperature import (
    misranked_pair,
)
from lskd_cli.results.figures.tsne import tsne_figure
from lskd_cli.results.grouping import group_runs
from lskd_cli.results.report.report_figures import (
    TsneOptions,
    ablations,
    logit_figures,
)
from tests.results.helpers import (
    TARGETS,
    made_group,
    made_logits,
    made_outputs,
    made_run,
)


def _titles(figure: Figure) -> list[str]:
    return [panel.title for panel in figure.panels]


def _values(panel: Panel, name: str) -> list[float]:
    return [row[name] for row in panel.rows]


def _texts(shown: Figure) -> list[str]:
    return [f"{value:.2f}" for value in _values(shown.panels[0], "accuracy")]


def test_a_sample_is_drawn_plain_and_standardized_with_its_std() -> None:
    networks = made_outputs().networks
    figure = sample_logits(networks, 2, 1)
    std = np.std(made_logits(0)[2], ddof=1)
    assert _titles(figure)[0] == f"resnet56, std {std:.2f}"
    assert _titles(figure)[3] == f"KD+Ours, std {std / 2:.2f}"
    heights = [_values(panel, "logit") for panel in figure.panels]
    assert heights[0] == pytest.approx(list(made_logits(0)[2]), abs=1e-4)
    for panel in figure.panels:  # no bar touches the frame
        (left, right), (low, high) = (
            panel.spec()["encoding"][axis]["scale"]["domain"] for axis in ("x", "y")
        )
        bars = [*_values(panel, "logit"), 0]
        assert left < -0.5 < 2.5 < right
        assert low < min(bars) < max(bars) < high
    # half the range and another mean: the same relations
    assert heights[7] == pytest.approx(heights[4], abs=1e-4)


def test_class_differences_are_those_of_means_with_an_empty_diagonal_on_one_scale() -> None:
    teacher, _, kd, standardized = made_outputs().networks
    figure, summary = class_differences(teacher, [kd, standardized], TARGETS)
    values = [np.reshape(_values(panel, "difference"), (3, 3)) for panel in figure.panels]
    means = (kd.logits[[2, 5]].mean(axis=0), teacher.logits[[2, 5]].mean(axis=0))
    expected = np.abs(means[0] - means[1]) * [1, 0, 1]
    assert values[0][1] == pytest.approx(expected, abs=1e-4)
    assert expected.max() > 0.1
    assert values[3] == pytest.approx(np.zeros((3, 3)), abs=1e-4)
    scales = [panel.spec()["encoding"]["color"]["scale"]["domain"] for panel in figure.panels]
    assert scales[0] == scales[1]
    assert scales[0] == pytest.approx([0, max(values[0].max(), values[1].max())], abs=1e-4)
    assert scales[2] == scales[3]
    assert f"KD, logits: max {values[0].max():.2f}, mean {values[0].mean():.2f}" in summary


def test_many_classes_are_averaged_in_squares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classes, "_MAX_CELLS", 2)
    teacher, _, kd, _ = made_outputs().networks
    figure, summary = class_differences(teacher, [kd], TARGETS)
    rows = figure.panels[0].rows
    assert [(row["target"], row["logit"]) for row in rows] == [(0, 0), (0, 2), (2, 0), (2, 2)]
    assert summary.endswith("each cell is the mean of a square of 2 classes")


def test_a_class_without_images_is_left_blank() -> None:
    teacher, _, kd, _ = made_outputs().networks
    figure, _ = class_differences(teacher, [kd], np.where(TARGETS == 2, 0, TARGETS))
    assert set(_values(figure.panels[0], "target")) == {0, 1}
    assert len(figure.panels[0].rows) == 6


def test_moments_have_a_column_a_network_and_one_scale() -> None:
    figure = logit_moments(made_outputs().networks)
    assert _titles(figure) == ["resnet56", "baseline", "KD", "KD+Ours"]
    specs = [panel.spec()["encoding"] for panel in figure.panels]
    limits = [str((spec["x"]["scale"]["domain"], spec["y"]["scale"]["domain"])) for spec in specs]
    assert len(set(limits)) == 1
    for panel in figure.panels:
        assert sum(_values(panel, "images")) == len(TARGETS)


def test_features_of_chosen_classes_alone_are_drawn_and_the_same_again() -> None:
    networks = made_outputs().networks
    first, second = (tsne_figure(networks, TARGETS, [0, 2], 100) for _ in range(2))
    assert first[1] == 4
    points = [figure.panels[0].rows for figure, _ in (first, second)]
    assert sorted(_values(first[0].panels[0], "class")) == [0, 0, 2, 2]
    assert points[0] == points[1]
    assert tsne_figure(networks, TARGETS, [0, 1, 2], 5)[1] == 5


def test_a_pair_is_misranked_if_only_the_standardized_divergence_ranks_it_by_accuracy() -> None:
    networks = made_outputs().networks
    pair = misranked_pair(networks)
    assert pair is not None
    assert [student.name for student in pair] == ["KD", "KD+Ours"]
    assert misranked_pair(networks[:3]) is None


def test_an_ablation_is_a_grid_with_the_baseline_in_its_scale() -> None:
    grid = {(1.0, 3.0): 70.0, (1.0, 9.0): 71.0, (2.0, 9.0): 72.0}
    (panel,) = ablation_figure(grid, 69.0, (2.0, 9.0)).panels
    assert _values(panel, "accuracy") == [70.0, 71.0, 72.0]
    assert _values(panel, "difference") == [1.0, 2.0, 3.0]
    assert _values(panel, "temperature") == ["1", "1", "2"]
    assert _values(panel, "default") == [False, False, True]
    assert '"domain": [69.0, 72.0]' in json.dumps(panel.spec())


def test_runs_of_several_temperatures_and_weights_are_an_ablation() -> None:
    assert ablations(made_group(), "best") == []
    other = ["stand.temperature=3", "name=kd-r56-r20-temperature3"]
    more = [
        made_run("kd-r56-r20", True, seed, [71.0 + seed, 50.0], "done", *other) for seed in (0, 1)
    ]
    (shown,) = ablations(made_group(*more), "best")
    assert shown.name == "ablation-kd-resnet56-resnet20-cifar100-240"
    assert _texts(shown) == ["72.00", "71.50"]
    assert shown.caption.endswith("Plain KD: 70.00 %. Frame: the default of the preset.")
    (last,) = ablations(made_group(*more), "last")
    assert _texts(last) == ["72.00", "50.00"]
    assert last.caption.startswith("Last epoch of KD+Ours")


def test_a_group_has_all_figures_of_logits_that_it_has_networks_for() -> None:
    shown = logit_figures(made_group(), made_outputs(), 0, TsneOptions((), 100), print)
    ending = "-resnet56-resnet20-cifar100-240"
    assert [one.name.removesuffix(ending) for one in shown] == [
        "sample-kd", "classes-kd", "moments", "tsne", "temperature",
    ]  # fmt: skip
    assert shown[-1].caption.startswith("By the KL at a shared temperature, KD is closer")
    teacher, baseline, *_ = made_outputs().networks
    shown = logit_figures(
        made_group(),
        replace(made_outputs(), networks=[teacher, baseline]),
        0,
        TsneOptions((), 100),
        print,
    )
    assert [one.name.removesuffix(ending) for one in shown] == ["moments", "tsne"]


def test_a_teacher_without_features_is_left_out_of_the_tsne() -> None:
    teacher, *students = made_outputs().networks
    blind = NetworkOutputs(
        "timm/resnet10t", "t.pth", "teacher", 70.0, teacher.logits, teacher.standardized
    )
    shown = logit_figures(
        made_group(),
        replace(made_outputs(), networks=[blind, *students]),
        0,
        TsneOptions((), 100),
        print,
    )
    assert _titles(shown[3]) == [
        "baseline (60.00 %)", "KD (70.00 %)", "KD+Ours (72.00 %)",
    ]  # fmt: skip


def test_figures_without_images_are_left_out_with_a_warning() -> None:
    warnings: list[str] = []
    shown = logit_figures(made_group(), made_outputs(), 7, TsneOptions([1], 100), warnings.append)
    assert not [one.name for one in shown if one.name.startswith(("sample", "tsne"))]
    assert [message.partition(":")[0] for message in warnings] == ["--sample 7", "--classes"]
    assert (
        "only 2 images; the t-SNE is left out of resnet56 → resnet20, cifar100, 240" in warnings[1]
    )


def test_a_sample_is_found_by_its_number_in_the_test_set() -> None:
    shown = logit_figures(made_group(), made_outputs(), 20, TsneOptions((), 100), print)
    std = np.std(made_logits(0)[2], ddof=1)
    assert shown[0].panels[0].title == f"resnet56, std {std:.2f}"
    assert shown[0].caption.startswith("Logits of test image 20, ")
    assert shown[0].caption.endswith("Last epochs of KD/seed0, KD+Ours/seed0.")


def test_the_caption_of_a_misranked_pair_counts_all_pairs() -> None:
    shown = logit_figures(made_group(), made_outputs(), 0, TsneOptions((), 100), print)
    assert (
        "ranks 2 of 3 student pairs in the order of accuracy, the KL of standardized logits 3 of"
        in shown[-1].caption
    )


def test_ablations_of_other_betas_are_apart_and_frame_only_what_is_there() -> None:
    runs = [
        made_run(
            "dkd-r56-r20", True, 0, [70.0 + beta + t], "done",
            f"stand.temperature={t}", f"stand.beta={beta}", f"name=dkd-{t}-{beta}",
        )
        for t in (1, 4)
        for beta in (2, 8)
    ]  # fmt: skip
    plain = made_run("dkd-r56-r20", False, 0, [60.0])
    (group,) = group_runs([plain, *runs])
    first, second = ablations(group, "best")
    texts = [_texts(first), _texts(second)]
    assert texts == [["73.00", "76.00"], ["79.00", "82.00"]]
    assert "beta 2." in first.caption
    assert "Plain DKD: 60.00 %." in first.caption
    assert "Frame" not in first.caption
    assert not any(_values(first.panels[0], "default"))


def test_a_misranked_pair_of_distilled_students_is_preferred_to_one_with_the_baseline() -> None:
    teacher, baseline, kd, standardized = made_outputs().networks
    # The baseline seems closest to the teacher and differs most in accuracy.
    closest = replace(baseline, top1=10.0, kl=0.05, kl_standardized=0.9)
    pair = misranked_pair([teacher, closest, kd, standardized])
    assert pair is not None
    assert [student.name for student in pair] == ["KD", "KD+Ours"]


def test_a_misranked_pair_with_the_baseline_is_named_as_such() -> None:
    teacher, baseline, _, standardized = made_outputs().networks
    closest = replace(baseline, kl=0.05, kl_standardized=0.9)
    outputs = replace(made_outputs(), networks=[teacher, closest, standardized])
    figures = logit_figures(made_group(), outputs, 0, TsneOptions((), 100), print)
    assert "baseline is the student baseline, trained without teacher." in figures[-1].caption
