"""The figures of a report, with their words."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from matplotlib.figure import Figure

from lskd_cli.errors import RequestError, RunError
from lskd_cli.outputs import Exhibit
from lskd_cli.results.comparison import experiment, method_name
from lskd_cli.results.figures.ablation import ablation
from lskd_cli.results.figures.classes import class_differences
from lskd_cli.results.figures.curves import accuracy_curves
from lskd_cli.results.figures.embedding import embedded
from lskd_cli.results.figures.moments import moments
from lskd_cli.results.figures.sample import sample_logits
from lskd_cli.results.figures.shared_temperature import misjudged, toy_case, two_students
from lskd_cli.results.figures.style import FORMATS, save
from lskd_cli.results.runs import Run


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
    """Accuracy by epoch of the runs of a setting, which all have history."""
    unfinished = [run.preset.run_path for run in setting if not run.finished]
    caption = "Test accuracy by epoch; dotted: the released log of the standardized method."
    if unfinished:
        caption += f" Not finished: {', '.join(unfinished)}."
    return _shown("curves", setting, "Accuracy by epoch", caption, accuracy_curves(setting))


def ablations(setting: Sequence[Run]) -> list[Shown]:
    """Accuracy over base temperature and weight, of each method that was run with several."""
    by_method: dict[str, list[Run]] = {}
    for run in setting:
        if run.finished and run.preset.stand:
            by_method.setdefault(experiment(run), []).append(run)
    shown = []
    for runs in by_method.values():
        grid: dict[tuple[float, float], list[float]] = {}
        for run in runs:
            if run.preset.standardized and run.preset.stand:
                stand = run.preset.stand
                grid.setdefault((stand.temperature, stand.kd_weight), []).append(run.top1("best"))
        if len(grid) < 2:
            continue
        plain = [run for run in runs if not run.preset.standardized]
        baseline = mean(run.top1("best") for run in plain) if plain else None
        own = next((run.preset.stand for run in plain), None)
        figure = ablation(
            {place: mean(accuracies) for place, accuracies in grid.items()},
            baseline,
            (own.temperature, own.kd_weight) if own else None,
        )
        method = method_name(runs[0].preset)
        caption = f"Best epoch of {method}+Ours, mean over seeds."
        if baseline is not None:
            caption += f" In the scale: {method} alone, {baseline:.2f} %; framed: the preset's own."
        title = f"{method}+Ours by base temperature and weight"
        shown.append(_shown(f"ablation-{method}", setting, title, caption, figure))
    return shown


def portraits(
    setting: Sequence[Run], exhibit: Exhibit, sample: int, classes: Sequence[int], points: int
) -> list[Shown]:
    """What the networks of a setting say of test images.

    Args:
        setting: the runs.
        exhibit: their outputs, the teacher's first.
        sample: which image's logits are drawn.
        classes: in the t-SNE; all if empty.
        points: in the t-SNE, at most.

    Raises:
        RequestError: there is no such sample or class.
    """
    teacher, *students = exhibit.networks
    images, found = teacher.logits.shape
    if not 0 <= sample < images:
        raise RequestError(f"--sample {sample}: the images are 0 to {images - 1}")
    if wrong := [number for number in classes if not 0 <= number < found]:
        raise RequestError(f"--classes {wrong[0]}: the classes are 0 to {found - 1}")
    shown = []
    for method in dict.fromkeys(one.name.removesuffix("+Ours") for one in students):
        of_method = [one for one in students if one.name in (method, f"{method}+Ours")]
        if of_method[0].kind == "alone":
            continue
        networks = [teacher, *of_method]
        caption = (
            f"Test image {sample}: logits as they are and standardized; the mark is its class."
        )
        figure = sample_logits(networks, sample, int(exhibit.targets[sample]))
        title = f"{method}: logits of one image"
        shown.append(_shown(f"sample-{method}", setting, title, caption, figure))
        figure, told = class_differences(teacher, of_method, exhibit.targets)
        caption = f"Mean |teacher - student| by class of the image and logit. {told}."
        title = f"{method}: difference of logits"
        shown.append(_shown(f"classes-{method}", setting, title, caption, figure))
    caption = (
        "Images by mean and deviation of their logits (colour: their number, logarithmic), before "
        "and after standardization."
    )
    title = "Mean and deviation of logits"
    shown.append(_shown("moments", setting, title, caption, moments(exhibit.networks)))
    if any(network.pooled is not None for network in exhibit.networks):
        figure, drawn = embedded(exhibit.networks, exhibit.targets, classes or range(found), points)
        of = f"{len(classes)} classes" if classes else "all classes"
        caption = f"t-SNE of the pooled features of {drawn} test images of {of}; colour: class."
        shown.append(_shown("tsne", setting, "Features", caption, figure))
    shown.append(_shared_temperature(setting, exhibit))
    return shown


def _shared_temperature(setting: Sequence[Run], exhibit: Exhibit) -> Shown:
    title = "One temperature for teacher and student"
    pair = misjudged(exhibit.networks)
    if pair is None:
        caption = (
            "A toy case, made up: student 1 gives the wrong answer and seems nearer to the teacher "
            "at a shared temperature, student 2 has the teacher's relations. No two students of "
            "this setting show it."
        )
        return _shown("temperature-toy", setting, title, caption, toy_case())
    worse, better = pair
    caption = (
        f"Measured: by the KL at a shared temperature {worse.name} is nearer to the teacher than "
        f"{better.name}, which is more accurate; by the KL of standardized logits {better.name} is."
    )
    return _shown("temperature", setting, title, caption, two_students(pair, exhibit))


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
