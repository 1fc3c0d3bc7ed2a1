"""The grid of ``compare --sweep``: presets with every combination of standardization settings."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

from lskd_cli.config.requests import PresetOptions, check_standardizable, requested_preset
from lskd_cli.config.schema import Preset
from lskd_cli.errors import RequestError


def parse_axes(texts: Sequence[str]) -> dict[str, list[float]]:
    """Keys of the standardization with their values, from texts KEY=V1,V2,...

    Raises:
        RequestError: a text has another form, or repeats a key.
    """
    axes: dict[str, list[float]] = {}
    for text in texts:
        key, separator, values = text.partition("=")
        if not separator or not key or key in axes:
            raise RequestError(f"--sweep {text}: expected KEY=V1,V2 with every KEY once")
        try:
            axes[key] = sorted({float(value) for value in values.split(",")})
        except ValueError:
            raise RequestError(f"--sweep {text}: expected KEY=V1,V2 with numbers") from None
    return dict(sorted(axes.items(), key=lambda item: item[0] != "temperature"))


def grid_presets(
    name: str, options: PresetOptions, data_dir: Path, seed: int, axes: dict[str, list[float]]
) -> list[Preset]:
    """The standardized preset with every combination of values.

    The combination that the preset already has keeps its name. The others are named after their
    values and have no published accuracy.

    Raises:
        RequestError: the preset cannot be standardized, or a key or value is wrong.
    """
    base = requested_preset(name, options, data_dir, seed)
    check_standardizable("--sweep", base)
    for key in axes:
        if key not in type(base.method).model_fields:
            keys = ", ".join(sorted(set(type(base.method).model_fields) - {"name"}))
            raise RequestError(
                f"--sweep {key}: method {base.method.name} has no such hyper-parameter; choose "
                f"from {keys}"
            )
    presets = []
    for values in product(*axes.values()):
        pairs = list(zip(axes, values, strict=True))
        suffix = "-".join(f"{key}{_number(value)}".replace("+", "") for key, value in pairs)
        settings = [
            *(options.settings or ()),
            *(f"stand.{key}={_number(value)}" for key, value in pairs),
        ]
        settings += [f"name={base.name}-{suffix}", "published={}"]
        preset = requested_preset(name, replace(options, settings=settings), data_dir, seed)
        presets.append((base if preset.stand == base.stand else preset).with_stand(True))
    return presets


def _number(value: float) -> str:
    """The shortest text of a number that is not rounded."""
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)
