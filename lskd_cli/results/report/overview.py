"""The overview of a report: what standardization changes, and which runs are unfinished."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from lskd_cli.results.figures.forest import ForestRow
from lskd_cli.results.grouping import (
    MethodRuns,
    RunGroup,
    has_published_settings,
    method_name,
)
from lskd_cli.results.runs import EpochName, Run
from lskd_cli.results.seed_stats import paired_difference, top1_by_seed
from lskd_cli.results.tables.table_format import format_duration
from lskd_cli.wording import counted, value_text

_MAX_NAMES = 8  # of unfinished runs in one line


def forest_rows(groups: Sequence[tuple[RunGroup, str]], epoch: EpochName) -> list[ForestRow]:
    """A row for every method that was trained with and without standardization.

    Args:
        groups: groups of finished and unfinished runs, with the identifiers of their sections.
        epoch: the best or the last epoch.

    Raises:
        RequestError: two runs have the same settings and seed.
    """
    return [
        _row(group, method, section, epoch)
        for group, section in groups
        for method in group.methods
        if method.preset.standardized and method.plain
    ]


def _row(group: RunGroup, method: MethodRuns, section: str, epoch: EpochName) -> ForestRow:
    plain, standardized = (
        top1_by_seed([run for run in runs if run.is_finished], epoch)
        for runs in (method.plain, method.runs)
    )
    difference = paired_difference(plain, standardized)
    runs = [*method.plain, *method.runs]
    epochs = method.preset.schedule.epochs
    if difference:
        result, seeds = difference.difference_text(), f", n = {difference.n}"
    elif all(run.is_finished for run in runs):
        result, seeds = "no common seed", ""
    else:
        result, seeds = f"epoch {min(len(run.history) for run in runs)} of {epochs}", ""
    name = method_name(method.runs[0])
    published = method.preset.published
    published_difference = None
    if published.top1 is not None and published.top1_stand is not None:
        published_difference = round(published.top1_stand - published.top1, 2)
    is_same = all(has_published_settings(run) for run in runs)
    return ForestRow(
        label=f"{name}{_settings(group, method)} · {group.title}{seeds}",
        section=section,
        method=name,
        pair=group.pair,
        result=result,
        difference=difference.mean if difference else None,
        ci_low=difference.ci_low if difference else None,
        ci_high=difference.ci_high if difference else None,
        sign=difference.sign if difference else "unclear",
        published=published_difference,
        published_for=None
        if published_difference is None
        else ("these settings" if is_same else "other settings"),
        state="finished" if all(run.is_finished for run in runs) else "unfinished",
    )


def _settings(group: RunGroup, method: MethodRuns) -> str:
    """What distinguishes a method from others of the group with the same label; may be empty.

    These are settings of the standardization, or the name of the preset if they are equal.
    """
    others = [_overrides(other) for other in group.methods if other.label == method.label]
    if len(others) == 1:
        return ""
    values = {
        key: value
        for key, value in _overrides(method).items()
        if any(other.get(key) != value for other in others)
    }
    texts = [f"{key}={value_text(value)}" for key, value in values.items()]
    texts = texts or [method.preset.name]
    return f" ({', '.join(texts)})"


def _overrides(method: MethodRuns) -> dict[str, Any]:
    stand = method.preset.stand
    return stand.overrides() if stand else {}


def progress_lines(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """Unfinished runs with equal progress, and how far they are.

    Returns:
        Names of runs, and a text, for example ``epoch 47 of 240, 10:37:05 of training left
        (interrupted)``.
    """
    names: dict[str, list[str]] = {}
    for run in runs:
        text = f"epoch {len(run.history)} of {run.preset.schedule.epochs}"
        if run.seconds_left is not None:
            text += f", {format_duration(run.seconds_left)} of training left"
        names.setdefault(f"{text} ({run.info.state})", []).append(run.preset.run_name)
    return [(_count_names(found), text) for text, found in names.items()]


def _count_names(names: Sequence[str]) -> str:
    """Names with their numbers of seeds; only some of them if there are many."""
    counts = Counter(names)
    texts = [f"{name} ({n} seeds)" if n > 1 else name for name, n in counts.items()]
    if len(texts) > _MAX_NAMES:
        texts[_MAX_NAMES:] = [counted(len(texts) - _MAX_NAMES, "other")]
    return ", ".join(texts)
