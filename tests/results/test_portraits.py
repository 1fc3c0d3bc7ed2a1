"""Figures of what networks say of test images."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from lskd_cli.outputs import Outputs
from lskd_cli.results.figures.ablation import ablation
from lskd_cli.results.figures.classes import class_differences
from lskd_cli.results.figures.embedding import embedded
from lskd_cli.results.figures.moments import moments
from lskd_cli.results.figures.sample import sample_logits
from lskd_cli.results.figures.shared_temperature import TOY, misjudged, toy_case, toy_divergences
from lskd_cli.results.gallery import ablations, portraits
from tests.results.helpers import (
    TARGETS,
    made_exhibit,
    made_logits,
    made_run,
    made_setting,
)


def _titles(figure: Figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes]


def test_a_sample_is_drawn_as_it_is_and_standardized_with_its_deviation() -> None:
    networks = made_exhibit().networks
    figure = sample_logits(networks, 2, 1)
    deviation = np.std(made_logits(0)[2], ddof=1)
    assert _titles(figure)[0] == f"resnet56, deviation {deviation:.2f}"
    assert _titles(figure)[3] == f"KD+Ours, deviation {deviation / 2:.2f}"
    heights = [[bar.get_height() for bar in axes.patches] for axes in figure.axes]  # type: ignore[attr-defined]
    assert heights[0] == pytest.approx(list(made_logits(0)[2]))
    # half the range and another mean: the same relations
    assert heights[7] == pytest.approx(heights[4])


def test_class_differences_are_means_over_the_images_of_a_class_on_one_scale() -> None:
    teacher, _, kd, ours = made_exhibit().networks
    figure, told = class_differences(teacher, [kd, ours], TARGETS)
    values = [np.asarray(axes.images[0].get_array()) for axes in figure.axes[:4]]
    difference = np.abs(teacher.logits - kd.logits)
    assert values[0][1] == pytest.approx((difference[2] + difference[5]) / 2)
    assert values[3] == pytest.approx(np.zeros((3, 3)), abs=1e-6)
    scales = [axes.images[0].get_clim() for axes in figure.axes[:4]]
    assert scales[0] == scales[1] == (0, max(values[0].max(), values[1].max()))
    assert scales[2] == scales[3]
    assert f"KD, logits: max {values[0].max():.2f}, mean {values[0].mean():.2f}" in told


def test_a_class_without_images_is_left_blank() -> None:
    teacher, _, kd, _ = made_exhibit().networks
    figure, _ = class_differences(teacher, [kd], np.where(TARGETS == 2, 0, TARGETS))
    values = np.ma.filled(np.ma.asarray(figure.axes[0].images[0].get_array()), np.nan)
    assert np.isnan(values[2]).all()
    assert np.isfinite(values[:2]).all()


def test_moments_have_a_column_a_network_and_the_same_scale_in_a_row() -> None:
    figure = moments(made_exhibit().networks)
    assert _titles(figure)[:4] == ["resnet56", "alone", "KD", "KD+Ours"]
    limits = [(axes.get_xlim(), axes.get_ylim()) for axes in figure.axes]
    assert len(set(limits[:4])) == len(set(limits[4:])) == 1
    (low, high), (_, top) = limits[4]
    assert low < 0 < high
    assert top > 1


def test_features_of_chosen_classes_alone_are_drawn_and_the_same_again() -> None:
    networks = made_exhibit().networks
    first, second = (embedded(networks, TARGETS, [0, 2], 100) for _ in range(2))
    assert first[1] == 4
    points = [
        np.asarray(figure.axes[0].collections[0].get_offsets()) for figure, _ in (first, second)
    ]
    assert points[0].shape == (4, 2)
    assert np.array_equal(points[0], points[1])
    assert embedded(networks, TARGETS, [0, 1, 2], 5)[1] == 5


def test_two_students_are_misjudged_where_only_standardized_divergence_ranks_them_rightly() -> None:
    networks = made_exhibit().networks
    pair = misjudged(networks)
    assert pair is not None
    assert [one.name for one in pair] == ["KD", "KD+Ours"]
    assert misjudged(networks[:3]) is None


def test_the_toy_case_shows_what_it_claims() -> None:
    teacher, wrong, right = (np.array(logits) for logits in TOY.values())
    assert wrong.argmax() != teacher.argmax() == right.argmax()
    of_wrong, of_right = toy_divergences(teacher, wrong), toy_divergences(teacher, right)
    assert of_wrong[0] < of_right[0]
    assert of_wrong[1] > of_right[1] == pytest.approx(0, abs=1e-12)
    assert f"KL {of_wrong[0]:.3f} at temperature 4" in toy_case().axes[1].get_xlabel()


def test_an_ablation_is_a_grid_with_the_baseline_in_its_scale() -> None:
    grid = {(1.0, 3.0): 70.0, (1.0, 9.0): 71.0, (2.0, 9.0): 72.0}
    heat, bar = ablation(grid, 69.0, (2.0, 9.0)).axes
    assert [text.get_text() for text in heat.texts] == ["70.00", "71.00", "72.00"]
    assert heat.images[0].get_clim() == (69.0, 72.0)
    assert [label.get_text() for label in heat.get_yticklabels()] == ["1", "2"]
    (frame,) = heat.patches
    assert frame.get_xy() == (0.5, 0.5)  # type: ignore[attr-defined]
    assert bar.get_lines()[0].get_ydata()[0] == 69.0  # type: ignore[index]


def test_runs_of_several_temperatures_and_weights_are_an_ablation() -> None:
    assert ablations(made_setting()) == []
    other = ["stand.temperature=3", "name=kd-r56-r20-temperature3"]
    more = [made_run("kd-r56-r20", True, seed, [71.0 + seed], "done", *other) for seed in (0, 1)]
    (shown,) = ablations([*made_setting(), *more])
    assert shown.name == "ablation-kd-resnet56-resnet20-cifar100-240"
    assert [text.get_text() for text in shown.figure.axes[0].texts] == ["72.00", "71.50"]
    assert shown.caption.endswith("KD alone, 70.00 %. Framed: the preset's own.")


def test_a_setting_has_all_its_portraits_and_says_which_case_is_made_up() -> None:
    shown = portraits(made_setting(), made_exhibit(), 0, [], 100, print)
    ending = "-resnet56-resnet20-cifar100-240"
    assert [one.name.removesuffix(ending) for one in shown] == [
        "sample-kd", "classes-kd", "moments", "tsne", "temperature",
    ]  # fmt: skip
    assert shown[-1].caption.startswith("Measured: by the KL at a shared temperature KD is nearer")
    teacher, alone, *_ = made_exhibit().networks
    shown = portraits(
        made_setting(), replace(made_exhibit(), networks=[teacher, alone]), 0, [], 100, print
    )
    assert shown[-1].name == "temperature-toy" + ending
    assert shown[-1].caption.startswith("A toy case, made up")


def test_a_teacher_that_tells_no_features_is_left_out_of_them() -> None:
    teacher, *students = made_exhibit().networks
    blind = Outputs(
        "timm/resnet10t", "t.pth", "teacher", 70.0, teacher.logits, teacher.standardized
    )
    shown = portraits(
        made_setting(), replace(made_exhibit(), networks=[blind, *students]), 0, [], 100, print
    )
    assert [axes.get_title() for axes in shown[3].figure.axes] == [
        "alone (60.00 %)", "KD (70.00 %)", "KD+Ours (72.00 %)",
    ]  # fmt: skip


def test_what_is_not_there_is_left_out_and_told() -> None:
    told: list[str] = []
    shown = portraits(made_setting(), made_exhibit(), 7, [1], 100, told.append)
    assert not [one.name for one in shown if one.name.startswith(("sample", "tsne"))]
    assert [message.partition(":")[0] for message in told] == ["--sample 7", "--classes"]
    assert "2 images of these in resnet56 → resnet20, cifar100, 240 epochs" in told[1]


def test_a_sample_is_found_by_its_number_in_the_test_set() -> None:
    shown = portraits(made_setting(), made_exhibit(), 20, [], 100, print)
    deviation = np.std(made_logits(0)[2], ddof=1)
    assert shown[0].figure.axes[0].get_title() == f"resnet56, deviation {deviation:.2f}"
    assert shown[0].caption.startswith("Logits of test image 20, ")
    assert shown[0].caption.endswith("Last epochs of KD/seed0, KD+Ours/seed0.")


def test_the_caption_of_a_misjudged_pair_counts_all_pairs() -> None:
    shown = portraits(made_setting(), made_exhibit(), 0, [], 100, print)
    assert "in 2 of 3 pairs by the KL at the shared temperature, in 3 by" in shown[-1].caption


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
    first, second = ablations([plain, *runs])
    texts = [[text.get_text() for text in one.figure.axes[0].texts] for one in (first, second)]
    assert texts == [["73.00", "76.00"], ["79.00", "82.00"]]
    assert "beta 2." in first.caption
    assert "Line in the scale: DKD alone, 60.00 %." in first.caption
    assert "Framed" not in first.caption
    assert not first.figure.axes[0].patches
