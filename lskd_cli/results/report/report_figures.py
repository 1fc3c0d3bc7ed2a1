"""The figures of a report with their titles and captions."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

import numpy as np

from lskd_cli.errors import RunError
from lskd_cli.network_outputs import NetworkOutputs, OutputSet
from lskd_cli.results.figures.ablation import ablation_figure
from lskd_cli.results.figures.chart import FORMATS, Figure, save
from lskd_cli.results.figures.classes import class_differences
from lskd_cli.results.figures.curves import CurveMetric, released_curves, training_curves
from lskd_cli.results.figures.forest import ForestRow, forest_plot
from lskd_cli.results.figures.moments import logit_moments
from lskd_cli.results.figures.sample import sample_logits
from lskd_cli.results.figures.search import search_figure
from lskd_cli.results.figures.shared_temperature import misranked_pair, pair_figure
from lskd_cli.results.figures.tsne import tsne_figure
from lskd_cli.results.grouping import RunGroup
from lskd_cli.results.runs import EpochName
from lskd_cli.results.sweeps import Sweep, find_sweeps
from lskd_cli.search_info import SearchInfo
from lskd_cli.wording import counted, value_text

_MIN_TSNE_IMAGES = 4
_MAX_OPEN_METHODS = 2  # with more methods, a page shows the figures of each one on request

Warn = Callable[[str], None]


@dataclass(frozen=True)
class TsneOptions:
    """Options of the t-SNE.

    Attributes:
        classes: class indices; all if empty.
        points: largest number of images.
    """

    classes: Sequence[int] = ()
    points: int = 1000


def overview_figure(rows: Sequence[ForestRow]) -> Figure:
    """The forest plot of all comparisons."""
    caption = (
        "Difference of the top-1 test accuracy with and without standardization, paired by seed: "
        "mean and 95 % t interval. Green: the interval is above zero; red: below zero; gray: it "
        "contains zero, or there is only one seed (hollow)"
    )
    if any(row.published is not None for row in rows):
        caption += ". Diamond: the published difference"
    if any(row.published_for == "other settings" for row in rows):
        caption += ", which for some rows belongs to other settings (the tooltip says which)"
    title = "What standardization changes"
    return replace(forest_plot(rows), name="overview", title=title, caption=f"{caption}.")


def run_figures(group: RunGroup, epoch: EpochName) -> list[Figure]:
    """The figures that need only the run folders of a group: curves and ablations.

    Args:
        group: the runs.
        epoch: the best or the last epoch in ablations.
    """
    return [curves(group, "test_top1"), curves(group, "train_loss"), *ablations(group, epoch)]


def curves(group: RunGroup, metric: CurveMetric) -> Figure:
    """Accuracy or loss by epoch."""
    is_accuracy = metric == "test_top1"
    title = "Test accuracy by epoch" if is_accuracy else "Training loss by epoch"
    caption = "Mean over the seeds"
    if any(len(method.runs) > 1 for method in group.methods):
        caption += ", and the range from the lowest to the highest"
    caption += "." if is_accuracy else "; the loss includes the weights of its terms."
    if any(run.preset.published.log in released_curves(metric) for run in group.runs):
        caption += " Dashed: the released log of the standardized method."
    if any(not run.is_finished for run in group.runs):
        caption += " Circles: the last epochs of unfinished runs."
    prefix = "accuracy" if is_accuracy else "loss"
    return _with_caption(prefix, group, title, caption, training_curves(group.runs, metric))


def ablations(group: RunGroup, epoch: EpochName) -> list[Figure]:
    """Accuracy by base temperature and weight, for each method that was run with several."""
    return [_ablation(group, sweep, epoch) for sweep in find_sweeps(group)]


def _ablation(group: RunGroup, sweep: Sweep, epoch: EpochName) -> Figure:
    method = sweep.method
    means = {point: mean(run.top1(epoch) for run in runs) for point, runs in sweep.points.items()}
    caption = f"{epoch.capitalize()} epoch of {method}+Ours, mean over seeds"
    others = sweep.other_settings.items()
    caption += "".join(f", {key} {value_text(value)}" for key, value in others)
    caption += "."
    reference = None
    if sweep.plain:
        reference = mean(run.top1(epoch) for run in sweep.plain)
        caption += f" Plain {method}: {reference:.2f} %."
    if sweep.default in means:
        caption += " Frame: the default of the preset."
    title = f"{method}+Ours by base temperature and weight"
    figure = ablation_figure(means, reference, sweep.default)
    return _with_caption(f"ablation-{method}", group, title, caption, figure)


def logit_figures(
    group: RunGroup, outputs: OutputSet, sample: int, tsne: TsneOptions, warn: Warn
) -> list[Figure]:
    """The figures of the outputs of networks on test images.

    Args:
        group: runs of the students.
        outputs: outputs of the teacher and the students.
        sample: index of the test image whose logits are drawn.
        tsne: options of the t-SNE.
        warn: called for a figure that is left out.
    """
    teacher, *students = outputs.networks
    images = f"{len(outputs.targets):,} test images, last epochs of {_join_runs(students)}"
    (positions,) = np.nonzero(outputs.indices == sample)
    if not len(positions):
        warn(f"--sample {sample}: no such test image; the figure is left out of {group.title}")
    figures = []
    for method in dict.fromkeys(s.name.removesuffix("+Ours") for s in students):
        pair = [s for s in students if s.name in (method, f"{method}+Ours")]
        if pair[0].role == "baseline":
            continue
        if len(positions):
            figures.append(_sample_figure(group, outputs, method, pair, int(positions[0]), sample))
        differences, extremes = class_differences(teacher, pair, outputs.targets)
        caption = (
            "|Mean of the student - mean of the teacher| by class of the image and class of the "
            f"logit; the diagonal is left out. {extremes}. "
            f"{len(outputs.targets):,} test images, last epochs of {_join_runs(pair)}."
        )
        title = f"{method}: difference of logits"
        figures.append(_with_caption(f"classes-{method}", group, title, caption, differences))
    if len(figures) > 2 * _MAX_OPEN_METHODS:
        for figure in figures:
            figure.is_folded = True
    caption = (
        "Images by mean and standard deviation of their logits (color: number of images, "
        f"logarithmic). Standardized logits all have mean 0 and standard deviation 1. {images}."
    )
    title = "Mean and standard deviation of logits"
    moments = logit_moments(outputs.networks)
    figures.append(_with_caption("moments", group, title, caption, moments))
    figures += _tsne_figures(group, outputs, tsne, warn)
    figures += _shared_temperature(group, outputs, images)
    return figures


def _sample_figure(
    group: RunGroup,
    outputs: OutputSet,
    method: str,
    students: Sequence[NetworkOutputs],
    position: int,
    sample: int,
) -> Figure:
    caption = (
        f"Logits of test image {sample}, plain and standardized; the green bar is its class. "
        f"Last epochs of {_join_runs(students)}."
    )
    networks = [outputs.networks[0], *students]
    figure = sample_logits(networks, position, int(outputs.targets[position]))
    return _with_caption(
        f"sample-{method}", group, f"{method}: logits of one image", caption, figure
    )


def _tsne_figures(
    group: RunGroup, outputs: OutputSet, options: TsneOptions, warn: Warn
) -> list[Figure]:
    """The t-SNE, if networks return features and there are enough images of the classes."""
    if all(network.pooled is None for network in outputs.networks):
        return []
    classes = options.classes or range(outputs.networks[0].logits.shape[1])
    num_images = int(np.isin(outputs.targets, classes).sum())
    if num_images < _MIN_TSNE_IMAGES:
        warn(f"--classes: only {num_images} images; the t-SNE is left out of {group.title}")
        return []
    figure, drawn = tsne_figure(outputs.networks, outputs.targets, classes, options.points)
    caption = (
        f"t-SNE of the pooled features of {drawn:,} test images of {len(classes)} classes; color: "
        f"class. Accuracy: on {len(outputs.targets):,} test images, last epochs."
    )
    return [_with_caption("tsne", group, "Features", caption, figure)]


def _shared_temperature(group: RunGroup, outputs: OutputSet, images: str) -> list[Figure]:
    """Two students that only standardization ranks by their accuracy; empty without such a pair."""
    pair = misranked_pair(outputs.networks)
    if pair is None:
        return []
    worse, better = pair
    shared, standardized, pairs = outputs.concordant
    baseline = next((s for s in pair if s.role == "baseline"), None)
    note = f" {baseline.name} is the student baseline, trained without teacher." if baseline else ""
    caption = (
        f"By the KL at a shared temperature, {worse.name} is closer to the teacher than "
        f"{better.name}, which is more accurate; by the KL of standardized logits, {better.name} "
        f"is closer.{note} The KL at the shared temperature ranks {shared} of {pairs} student "
        "pairs in the order of accuracy, the KL of standardized logits "
        f"{standardized} of {pairs} ({images})."
    )
    title = "One temperature for teacher and student"
    return [_with_caption("temperature", group, title, caption, pair_figure(pair, outputs))]


def _join_runs(networks: Sequence[NetworkOutputs]) -> str:
    return ", ".join(network.run for network in networks)


def _with_caption(prefix: str, group: RunGroup, title: str, caption: str, figure: Figure) -> Figure:
    preset = group.runs[-1].preset
    pair = [preset.teacher, preset.student] if preset.teacher else [preset.student]
    words = [prefix, *pair, preset.data.name, str(preset.schedule.epochs)]
    name = re.sub(r"[^\w.-]+", "-", "-".join(words)).lower()
    return replace(figure, name=name, title=title, caption=caption)


def search_figures(info: SearchInfo) -> list[Figure]:
    """The figure of a search; none before a trial has ended."""
    if not any(trial.state in ("complete", "pruned") for trial in info.trials):
        return []
    trials, epochs = counted(len(info.trials), "trial"), counted(info.epochs, "epoch")
    caption = (
        f"Settings of {trials} and their accuracy on {info.held_out:,} held-out training images "
        f"after {epochs}. Gray: pruned trials, whose lines end before the accuracy. Black, "
        "dashed: the settings of the preset."
    )
    name = re.sub(r"[^\w.-]+", "-", f"search-{info.name}").lower()
    title = "Settings and accuracy of all trials"
    return [replace(search_figure(info), name=name, title=title, caption=caption)]


def make_names_unique(figures: Sequence[Figure]) -> None:
    """Number the figures whose names are equal, because their groups differ in other settings."""
    counts: dict[str, int] = {}
    for figure in figures:
        counts[figure.name] = counts.get(figure.name, 0) + 1
        if counts[figure.name] > 1:
            figure.name += f"-{counts[figure.name]}"


def write(figures: Sequence[Figure], folder: Path) -> list[Path]:
    """Write figures as PDF, SVG and PNG.

    Raises:
        RunError: a file cannot be written.
    """
    paths = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for figure in figures:
            for suffix in FORMATS:
                paths.append(folder / f"{figure.name}.{suffix}")
                save(figure, paths[-1])
    except OSError as error:
        raise RunError(f"{error.filename or folder}: cannot be written: {error.strerror}") from None
    return paths
