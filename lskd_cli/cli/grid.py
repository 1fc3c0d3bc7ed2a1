"""Presets with each combination of some values of the standardization."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

from lskd_cli.cli.options import Changes, requested_preset
from lskd_cli.config import Preset
from lskd_cli.errors import RequestError


def listed_axes(texts: Sequence[str]) -> dict[str, list[str]]:
    """Keys of the standardization and their values, from KEY=V1,V2,... each.

    Raises:
        RequestError: a text is not that, or names a key again.
    """
    axes: dict[str, list[str]] = {}
    for text in texts:
        key, _, values = text.partition("=")
        if key in axes or not key or not all(values.split(",")):
            raise RequestError(f"--sweep {text}: expected KEY=V1,V2, each KEY once")
        axes[key] = values.split(",")
    return axes


def combinations(
    name: str, changes: Changes, seed: int, axes: dict[str, list[str]]
) -> list[Preset]:
    """The standardized preset with each combination of values.

    The combination that the preset has anyway keeps its name; others are named after their values.

    Raises:
        RequestError: the preset has nothing to standardize, or a key or value is wrong.
    """
    own = requested_preset(name, changes, seed)
    if own.stand is None:
        raise RequestError(f"--sweep: preset {name} has no logits to standardize")
    found = []
    for values in product(*axes.values()):
        settings = [f"stand.{key}={value}" for key, value in zip(axes, values, strict=True)]
        ending = "-".join(f"{key}{value}" for key, value in zip(axes, values, strict=True))
        settings = [*changes.settings, *settings, f"name={own.name}-{ending}"]
        swept = requested_preset(name, replace(changes, settings=settings), seed)
        is_own = swept.stand == own.stand
        found.append((own if is_own else swept).with_stand(True))
    return found
