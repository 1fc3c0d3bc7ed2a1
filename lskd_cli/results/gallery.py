"""The figures of a report, with their words."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np
from matplotlib.figure import Figure

from lskd_cli.errors import RunError
from lskd_cli.outputs import Exhibit, Outputs
from lskd_cli.results.comparison import experiment, method_name
from lskd_cli.results.figures.ablation import ablation
from lskd_cli.results.figures.classes import class_differences
from lskd_cli.results.figures.curves import published_curves, training_curves
from lskd_cli.results.figures.embedding import embedded
from lskd_cli.results.figures.moments import moments
from lskd_cli.results.figures.sample import sample_logits
from lskd_cli.results.figures.shared_temperature import misjudged, toy_case, two_students
from lskd_cli.results.figures.style import FORMATS, save
from lskd_cli.results.runs import Run

_FEWEST = 4  # images that a t-SNE takes


@dataclass
class Shown:
    """A figure with its words.

    Attributes:
        name: of its files, without suffix.
        title: what it is of.
        caption: what there is to see.
    """

    name: str
    title: str
    caption: str
    figure: Figure


@dataclass
class Section:
    """What is shown of a setting."""

    title: str
    runs: Sequence[Run]
    figures: list[Shown]


def section(setting: Sequence[Run]) -> Section:
    """A setting, of whose runs all have history, with what their folders alone show."""
    return Section(_title_of(setting), setting, [curves(setting), *ablations(setting)])


def curves(setting: Sequence[Run]) -> Shown:
    """Accuracy and loss by epoch of the runs of a setting, which all have history."""
    caption = "Test accuracy and training loss, whose parts are weighted by the method."
    if any(run.preset.published.log in published_curves() for run in setting):
        caption += " Dotted: the released log of the standardized method."
    unfinished = [run.preset.run_path for run in setting if not run.finished]
    if unfinished:
        caption += f" Not finished: {', '.join(unfinished)}."
    return _shown(
        "curves", setting, "Accuracy and loss by epoch", caption, training_curves(setting)
    )


def ablations(setting: Sequence[Run]) -> list[Shown]:
    """Accuracy over base temperature and weight, of each method that was run with several."""
    plain: dict[str, list[Run]] = {}
    grids: dict[tuple[str, str], list[Run]] = {}
    for run in (run for run in setting if run.finished):
        stand = run.preset.stand
        if run.preset.standardized and stand:
            others = stand.model_dump(exclude={"enabled", "temperature", "kd_weight"})
            grids.setdefault((experiment(run), str(others)), []).append(run)
        else:
            plain.setdefault(experiment(run), []).append(run)
    shown = []
    for (key, _), runs in grids.items():
        accuracies: dict[tuple[float, float], list[float]] = {}
        for run in runs:
            accuracies.setdefault(_point(run), []).append(run.top1("best"))
        if len(accuracies) > 1:
            means = {point: mean(values) for point, values in accuracies.items()}
            shown.append(_ablation(setting, runs[0], means, plain.get(key, [])))
    return shown


def _point(run: Run) -> tuple[float, float]:
    """Base temperature and weight, which a plain run has too: those of its preset."""
    stand = run.preset.stand
    assert stand is not None
    return stand.temperature, stand.kd_weight


def _ablation(
    setting: Sequence[Run],
    example: Run,
    means: dict[tuple[float, float], float],
    plain: Sequence[Run],
) -> Shown:
    stand = example.preset.stand
    assert stand is not None
    method = method_name(example.preset)
    others = stand.model_dump(exclude={"enabled", "temperature", "kd_weight"}, exclude_none=True)
    caption = f"Best epoch of {method}+Ours, mean over seeds"
    caption += "".join(f", {key} {value:g}" for key, value in others.items()) + "."
    baseline = own = None
    if plain:
        baseline, own = mean(run.top1("best") for run in plain), _point(plain[0])
        caption += f" Line in the scale: {method} alone, {baseline:.2f} %."
    if own in means:
        caption += " Framed: the preset's own."
    title = f"{method}+Ours by base temperature and weight"
    return _shown(f"ablation-{method}", setting, title, caption, ablation(means, baseline, own))


def portraits(
    setting: Sequence[Run],
    exhibit: Exhibit,
    sample: int,
    classes: Sequence[int],
    points: int,
    complain: Callable[[str], None],
) -> list[Shown]:
    """What the networks of a setting say of test images.

    Args:
        setting: the runs.
        exhibit: their outputs, the teacher's first.
        sample: which image's logits are drawn.
        classes: in the t-SNE; all if empty.
        points: in the t-SNE, at most.
        complain: told which figure is left out, and why.
    """
    teacher, *students = exhibit.networks
    found = teacher.logits.shape[1]
    of = f"{len(exhibit.targets):,} test images, last epochs of {_runs_of(students)}"
    place = np.flatnonzero(exhibit.images == sample)
    if not len(place):
        complain(f"--sample {sample}: no such test image; {_title_of(setting)} is without")
    shown = []
    for method in dict.fromkeys(one.name.removesuffix("+Ours") for one in students):
        of_method = [one for one in students if one.name in (method, f"{method}+Ours")]
        if of_method[0].kind == "alone":
            continue
        if len(place):
            at = int(place[0])
            caption = (
                f"Logits of test image {sample}, as they are and standardized; the mark is its "
                f"class. Last epochs of {_runs_of(of_method)}."
            )
            figure = sample_logits([teacher, *of_method], at, int(exhibit.targets[at]))
            title = f"{method}: logits of one image"
            shown.append(_shown(f"sample-{method}", setting, title, caption, figure))
        figure, told = class_differences(teacher, of_method, exhibit.targets)
        caption = (
            f"Mean |teacher - student| by class of the image and logit. {told}. "
            f"{len(exhibit.targets):,} test images, last epochs of {_runs_of(of_method)}."
        )
        title = f"{method}: difference of logits"
        shown.append(_shown(f"classes-{method}", setting, title, caption, figure))
    caption = (
        "Images by mean and deviation of their logits (colour: their number, logarithmic), before "
        f"and after standardization. {of}."
    )
    title = "Mean and deviation of logits"
    shown.append(_shown("moments", setting, title, caption, moments(exhibit.networks)))
    shown += _features(setting, exhibit, classes or range(found), points, complain)
    shown.append(_shared_temperature(setting, exhibit, of))
    return shown


def _features(
    setting: Sequence[Run],
    exhibit: Exhibit,
    classes: Sequence[int],
    points: int,
    complain: Callable[[str], None],
) -> list[Shown]:
    """The t-SNE, where networks tell features of enough images of these classes."""
    if all(network.pooled is None for network in exhibit.networks):
        return []
    images = int(np.isin(exhibit.targets, classes).sum())
    if images < _FEWEST:
        complain(f"--classes: {images} images of these in {_title_of(setting)}; no t-SNE of it")
        return []
    figure, drawn = embedded(exhibit.networks, exhibit.targets, classes, points)
    caption = (
        f"t-SNE of the pooled features of {drawn:,} test images of {len(classes)} classes; colour: "
        f"class. Accuracy: on {len(exhibit.targets):,} test images, last epochs."
    )
    return [_shown("tsne", setting, "Features", caption, figure)]


def _shared_temperature(setting: Sequence[Run], exhibit: Exhibit, of: str) -> Shown:
    title = "One temperature for teacher and student"
    shared, standardized, pairs = exhibit.in_order
    counted = (
        f"The more accurate student is nearer to the teacher in {shared} of {pairs} pairs by the "
        f"KL at the shared temperature, in {standardized} by that of standardized logits ({of})."
    )
    pair = misjudged(exhibit.networks)
    if pair is None:
        caption = (
            "A toy case, made up: student 1 gives the wrong answer and seems nearer to the teacher "
            "at a shared temperature, student 2 has the teacher's relations. No two students of "
            f"this setting show it. {counted}"
        )
        return _shown("temperature-toy", setting, title, caption, toy_case())
    worse, better = pair
    caption = (
        f"Measured: by the KL at a shared temperature {worse.name} is nearer to the teacher than "
        f"{better.name}, which is more accurate; by the KL of standardized logits {better.name} "
        f"is. {counted}"
    )
    return _shown("temperature", setting, title, caption, two_students(pair, exhibit))


def _runs_of(networks: Sequence[Outputs]) -> str:
    return ", ".join(network.run for network in networks)


def _shown(kind: str, setting: Sequence[Run], title: str, caption: str, figure: Figure) -> Shown:
    preset = setting[-1].preset
    pair = [preset.teacher, preset.student] if preset.teacher else [preset.student]
    parts = [kind, *pair, preset.data.name, str(preset.schedule.epochs)]
    name = re.sub(r"[^\w.-]+", "-", "-".join(parts)).lower()
    return Shown(name, title, caption, figure)


def _title_of(setting: Sequence[Run]) -> str:
    """A setting in words."""
    preset = setting[-1].preset
    pair = f"{preset.teacher} → {preset.student}" if preset.teacher else f"{preset.student} alone"
    return f"{pair}, {preset.data.name}, {preset.schedule.epochs} epochs"


def number_names(sections: Sequence[Section]) -> None:
    """Give figures of one name, of settings that differ in other things, names of their own."""
    seen: dict[str, int] = {}
    for one in (figure for section in sections for figure in section.figures):
        seen[one.name] = seen.get(one.name, 0) + 1
        if seen[one.name] > 1:
            one.name += f"-{seen[one.name]}"


def write(figures: Sequence[Shown], folder: Path) -> list[Path]:
    """Write figures as PDF, SVG and PNG.

    Raises:
        RunError: a file cannot be written.
    """
    paths = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for one in figures:
            for form in FORMATS:
                paths.append(folder / f"{one.name}.{form}")
                save(one.figure, paths[-1])
    except OSError as error:
        raise RunError(f"{error.filename or folder}: cannot be written: {error.strerror}") from None
    return paths
