"""The first lines of a report: what was trained, and its three most important numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

from lskd_cli.config import Preset
from lskd_cli.results.grouping import pair_label
from lskd_cli.results.seed_stats import SeedStats
from lskd_cli.results.tables.comparison import ComparisonRow


@dataclass(frozen=True)
class Headline:
    """The first lines of a page.

    Attributes:
        title: networks and data.
        sentence: the best student, and what standardization changes; empty if no run is finished.
        numbers: values with their explanations.
    """

    title: str
    sentence: str
    numbers: Sequence[tuple[str, str]]


def make_headline(presets: Sequence[Preset], rows: Sequence[ComparisonRow]) -> Headline:
    """The first lines of a page; only a title, if accuracies on several data sets are compared.

    Args:
        presets: presets of all runs.
        rows: rows of the comparison table, for finished runs.
    """
    best = max(rows, key=_best_mean, default=None)
    if best is None or len({row.dataset for row in rows}) > 1:
        return Headline(_title(presets), "", [])
    stats, name = _best_form(best)
    assert stats is not None
    sentence = f"The best student is {best.student} with {name}."
    if best.teacher is None:
        sentence = f"The best network is {best.student}, trained without a teacher."
    numbers = [(f"{stats.mean:.2f} %", f"best top-1 accuracy ({name}, n = {stats.n})")]
    gains = [row for row in rows if row.difference is not None]
    gain = best if best in gains else next(iter(gains), None)
    if gain is not None and gain.difference is not None:
        sentence += f" {_effect(gain.difference, gain.method)}"
        explanation = f"points by standardization of {gain.method} (n = {gain.difference.n})"
        numbers.append((gain.difference.difference_text(), explanation))
    if best.teacher_top1 is not None:
        distance = stats.mean - best.teacher_top1
        explanation = f"points from the best student to {best.teacher} ({best.teacher_top1:.2f} %)"
        numbers.append((f"{distance:+.2f}", explanation))
    return Headline(_title(presets), sentence, numbers)


def _title(presets: Sequence[Preset]) -> str:
    distilled = [preset for preset in presets if preset.teacher] or list(presets)
    pairs = list(dict.fromkeys(pair_label(one.teacher, one.student) for one in distilled))
    data = list(dict.fromkeys(preset.data.label for preset in distilled))
    if not pairs:
        return "Searches"
    has_teacher = any(preset.teacher for preset in distilled)
    several = f"{len(pairs)} {'pairs of teacher and student' if has_teacher else 'networks'}"
    networks = pairs[0] if len(pairs) == 1 else several
    return f"{networks} on {', '.join(data)}"


def _best_form(row: ComparisonRow) -> tuple[SeedStats | None, str]:
    """The better one of the plain and the standardized form, with its label."""
    forms = [(row.plain, row.method), (row.standardized, f"{row.method}+Ours")]
    return max(forms, key=lambda form: form[0].mean if form[0] else -1.0)


def _best_mean(row: ComparisonRow) -> float:
    stats, _ = _best_form(row)
    return stats.mean if stats else -1.0


def _effect(difference: SeedStats, method: str) -> str:
    if difference.ci_low is None:
        return f"A single seed does not show whether standardization improves {method}."
    if difference.sign == "unclear":
        return f"Whether standardization improves {method} is open: the interval contains 0."
    verb = "improves" if difference.sign == "higher" else "does not improve"
    return f"Standardization {verb} {method}."
