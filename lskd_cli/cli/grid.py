"""Presets with each combination of some values of the standardization."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

from lskd_cli.cli.options import Changes, check_standardizes, requested_preset
from lskd_cli.config import Preset
from lskd_cli.errors import RequestError

_KEYS = ("temperature", "kd_weight", "beta", "temperature_range")


def listed_axes(texts: Sequence[str]) -> dict[str, list[float]]:
    """Keys of the standardization and their values, from KEY=V1,V2,... each.

    Raises:
        RequestError: a text is not that, or names a key again.
    """
    axes: dict[str, list[float]] = {}
    for text in texts:
        key, _, values = text.partition("=")
        if key not in _KEYS or key in axes:
            raise RequestError(f"--sweep {text}: each KEY once, of {', '.join(_KEYS)}")
        try:
            axes[key] = sorted({float(value) for value in values.split(",")})
        except ValueError:
            raise RequestError(f"--sweep {text}: expected KEY=V1,V2 with numbers") from None
    return {key: axes[key] for key in _KEYS if key in axes}


def combinations(
    name: str, changes: Changes, seed: int, axes: dict[str, list[float]]
) -> list[Preset]:
    """The standardized preset with each combination of values.

    The combination that the preset has anyway keeps its name; others are named after their values,
    and nothing is published of them.

    Raises:
        RequestError: the preset has nothing to standardize, or a key or value is wrong.
    """
    own = requested_preset(name, changes, seed)
    check_standardizes("--sweep", own)
    found = []
    for values in product(*axes.values()):
        pairs = list(zip(axes, values, strict=True))
        ending = "-".join(f"{key}{value:g}" for key, value in pairs)
        settings = [*changes.settings, *(f"stand.{key}={value}" for key, value in pairs)]
        settings += [f"name={own.name}-{ending}", "published={}"]
        swept = requested_preset(name, replace(changes, settings=settings), seed)
        found.append((own if swept.stand == own.stand else swept).with_stand(True))
    return found
