"""What ``lskd eval`` measured, as lines of one network and as a table of several."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lskd_cli.layout import STUDENT
from lskd_cli.results.table import Column, Table

_LOGITS = "over the classes; average ± deviation over the images"

# Label, format and unit of each value, in their order.
_LINES = {
    "checkpoint": ("checkpoint", "", ""),
    "model": ("network", "", ""),
    "dataset": ("test images of", "", ""),
    "top1": ("top-1", ".2f", "%"),
    "top5": ("top-5", ".2f", "%"),
    "loss": ("cross entropy", ".4f", "nats"),
    "calibration_error": ("expected calibration error", ".2f", "% (15 bins)"),
    "logit_mean": ("mean of logits", ".2f", _LOGITS),
    "logit_deviation": ("deviation of logits", ".2f", _LOGITS),
    "recorded_top1": ("top-1 in the file's metadata", "", "%"),
    "teacher": ("teacher", "", ""),
    "teacher_top1": ("teacher's top-1", ".2f", "%"),
    "teacher_logit_mean": ("mean of its logits", ".2f", _LOGITS),
    "teacher_logit_deviation": ("deviation of its logits", ".2f", _LOGITS),
    "agreement": ("same answer as the teacher", ".2f", "%"),
    "kl": ("KL from the teacher", ".4f", "nats at temperature {:g}"),
    "kl_standardized": ("KL of standardized logits", ".4f", "nats at base temperature {:g}"),
}

_HEADINGS = {
    "checkpoint": "Network",
    "top1": "top-1",
    "top5": "top-5",
    "loss": "Loss",
    "calibration_error": "ECE",
    "logit_mean": "Logit mean",
    "logit_deviation": "Logit deviation",
    "agreement": "Agreement",
    "kl": "KL",
    "kl_standardized": "KL std.",
}


def lines(result: Mapping[str, Any], temperature: float) -> Iterator[tuple[str, str, str]]:
    """Label, value and unit of everything that was measured of one network.

    Args:
        result: of ``lskd_cli.engine.inspect.examine``.
        temperature: of the KL.
    """
    for key, (label, form, unit) in _LINES.items():
        if key in result:
            yield label, _text(result, key, form), unit.format(temperature)


def side_by_side(results: Sequence[Mapping[str, Any]], temperature: float) -> Table:
    """A row for each network, their teacher's before them if there is one."""
    first, rows = results[0], list(results)
    caption = (
        "Top-1, top-5, agreement with the teacher and expected calibration error (ECE) in %; "
        f"mean and deviation of logits {_LOGITS}"
    )
    if "teacher" in first:
        name = "teacher_"
        of_teacher = {key.removeprefix(name): first[key] for key in first if key.startswith(name)}
        rows.insert(0, {"checkpoint": first["teacher"], **of_teacher})
        caption += (
            f"; KL from the teacher in nats at temperature {temperature:g}, of standardized logits "
            f"at base temperature {temperature:g}"
        )
    columns = [
        Column(heading, "number" if _LINES[key][1] else "text", _cell(key))
        for key, heading in _HEADINGS.items()
        if key in first
    ]
    return Table(f"{caption}.", columns, rows, [dict(result) for result in results])


def _cell(key: str) -> Callable[[Mapping[str, Any]], str]:
    def text(row: Mapping[str, Any]) -> str:
        if key == "checkpoint":
            path = Path(row[key])
            return str(path.parent if path.name == STUDENT else path)
        return _text(row, key, _LINES[key][1])

    return text


def _text(result: Mapping[str, Any], key: str, form: str) -> str:
    if result.get(key) is None:
        return ""
    spread = result.get(f"{key}_spread")
    return f"{result[key]:{form}}" + ("" if spread is None else f" ± {spread:{form}}")
