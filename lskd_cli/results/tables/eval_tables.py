"""Results of ``lskd eval``: lines for one network, a table for several."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lskd_cli.results.tables.table_format import Column, Table
from lskd_cli.run_paths import STUDENT

_LOGITS = "over the classes; mean ± standard deviation over the images"

# Label, format and unit of each value.
_LINES = {
    "checkpoint": ("checkpoint", "", ""),
    "model": ("network", "", ""),
    "dataset": ("test images", "", ""),
    "top1": ("top-1", ".2f", "%"),
    "top5": ("top-5", ".2f", "%"),
    "loss": ("cross entropy", ".4f", "nats"),
    "ece": ("expected calibration error", ".2f", "% (15 bins)"),
    "logit_mean": ("mean of logits", ".2f", _LOGITS),
    "logit_std": ("standard deviation of logits", ".2f", _LOGITS),
    "recorded_top1": ("top-1 stored in the checkpoint", "", "%"),
    "teacher": ("teacher", "", ""),
    "teacher_top1": ("teacher top-1", ".2f", "%"),
    "teacher_logit_mean": ("mean of teacher logits", ".2f", _LOGITS),
    "teacher_logit_std": ("standard deviation of teacher logits", ".2f", _LOGITS),
    "agreement": ("agreement with the teacher", ".2f", "%"),
    "kl": ("KL from the teacher", ".4f", "nats at temperature {:g}"),
    "kl_standardized": ("KL of standardized logits", ".4f", "nats at base temperature {:g}"),
}

_HEADINGS = {
    "checkpoint": "Network",
    "top1": "top-1",
    "top5": "top-5",
    "loss": "Loss",
    "ece": "ECE",
    "logit_mean": "Logit mean",
    "logit_std": "Logit std",
    "agreement": "Agreement",
    "kl": "KL",
    "kl_standardized": "KL (standardized)",
}


def result_lines(result: Mapping[str, Any], temperature: float) -> Iterator[tuple[str, str, str]]:
    """Label, value and unit of all results of one network.

    Args:
        result: one result of ``lskd_cli.engine.inference.network_evaluation.evaluate_networks``.
        temperature: temperature of the KL divergence.
    """
    for key, (label, format_spec, unit) in _LINES.items():
        if key in result:
            yield label, _text(result, key, format_spec), unit.format(temperature)


def result_table(results: Sequence[Mapping[str, Any]], temperature: float) -> Table:
    """A row for each network, after that of the teacher if there is one."""
    first, rows = results[0], list(results)
    title = "Outputs on the test images"
    caption = (
        "Top-1, top-5, agreement with the teacher and expected calibration error (ECE) in %; mean "
        f"and standard deviation (std) of logits {_LOGITS}"
    )
    if "teacher" in first:
        prefix = "teacher_"
        teacher = {key.removeprefix(prefix): first[key] for key in first if key.startswith(prefix)}
        rows.insert(0, {"checkpoint": first["teacher"], **teacher})
        caption += (
            f"; KL from the teacher in nats at temperature {temperature:g}, of standardized logits "
            f"at base temperature {temperature:g}"
        )
    columns = [
        Column(heading, "number" if _LINES[key][1] else "text", _cell(key))
        for key, heading in _HEADINGS.items()
        if key in first
    ]
    return Table(title, f"{caption}.", "", columns, rows, [dict(result) for result in results])


def _cell(key: str) -> Callable[[Mapping[str, Any]], str]:
    def text(row: Mapping[str, Any]) -> str:
        if key == "checkpoint":
            path = Path(row[key])
            return str(path.parent if path.name == STUDENT else path)
        return _text(row, key, _LINES[key][1])

    return text


def _text(result: Mapping[str, Any], key: str, format_spec: str) -> str:
    if result.get(key) is None:
        return ""
    spread = result.get(f"{key}_spread")
    suffix = "" if spread is None else f" ± {spread:{format_spec}}"
    return f"{result[key]:{format_spec}}{suffix}"
