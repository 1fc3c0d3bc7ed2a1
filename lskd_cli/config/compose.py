"""From a preset's name, or a file, to a validated ``Preset``.

A shipped preset is composed from small files, later ones over earlier ones: the recipe of the
pair, what the method changes in that recipe, the pair, and the pair's row for the method.
"""

from collections.abc import Iterable, Sequence
from copy import deepcopy
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from lskd_cli.config.extensions import extension_names, layer_of
from lskd_cli.config.problems import validate
from lskd_cli.config.schema import Data, Preset
from lskd_cli.config.yaml import dump, parse, read_mapping
from lskd_cli.errors import RequestError

_PACKAGE = Path(__file__).parents[1]
# In a checkout the folder stands beside the package; a wheel carries it inside.
PRESETS = next(p for p in (_PACKAGE / "presets", _PACKAGE.parent / "presets") if p.is_dir())
# What of a pair or network file is a key of the preset itself.
_PRESET_KEYS = (
    "teacher", "student", "drop_path", "data", "optimizer", "schedule", "published",
)  # fmt: skip


def load_preset(
    name_or_path: str | Path, overrides: Sequence[str] = (), foreign: bool = False
) -> Preset:
    """A preset by its name, or from a YAML file that holds a whole one.

    Args:
        name_or_path: a name of ``list_presets()``, or a path that ends in .yaml or .yml.
        overrides: "KEY=VALUE" each, the key dotted (method.temperature=3), the value YAML.
        foreign: take a method that is not known here, as of somebody's finished run.

    Raises:
        RequestError: no such preset or file, or keys or values that are wrong: all of them, one
            line each, with the nearest right key.
    """
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        raw, source = read_mapping(path), str(path)
        method = raw.get("method")
        if isinstance(method, dict) and not foreign:
            layer_of(method.get("name"))
    else:
        raw, source = _compose(str(name_or_path)), f"preset {name_or_path}"
    changed = set()
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator or not key:
            raise RequestError(f"--set {override}: expected KEY=VALUE, as method.temperature=3")
        _assign(raw, key.strip(), parse(value, f"--set {override}"))
        changed.add(key.strip())
    return validate(raw, source, changed, foreign)


def load_data(name: str, network: str | None = None) -> Data:
    """How the images of a data set are seen by a network: as in its own preset, if it has one.

    Args:
        name: of the data set.
        network: any name; one without a preset sees them as the data set's recipe says.

    Raises:
        RequestError: there is no such data set.
    """
    own = (load_preset(preset) for preset, raw in _networks().items() if raw["student"] == network)
    for preset in own:
        if preset.data.name == name:
            return preset.data
    recipes = [path.stem for path in sorted((PRESETS / "recipes").glob("*.yaml"))]
    by_name = {recipe: Data.model_validate(_recipe(recipe)["data"]) for recipe in recipes}
    if name not in by_name or by_name[name].name != name:
        known = ", ".join(recipe for recipe, data in by_name.items() if data.name == recipe)
        raise RequestError(f"unknown data set {name!r}; one of {known}")
    return by_name[name]


def list_pairs() -> list[str]:
    """Short names of the teacher-student pairs."""
    return sorted(path.stem for path in (PRESETS / "pairs").glob("*.yaml"))


def list_networks() -> list[str]:
    """Presets of one network alone: teachers and students without distillation."""
    return list(_networks())


def list_presets() -> list[str]:
    """Every name that ``load_preset`` knows: networks alone, then each method on each pair."""
    return list_networks() + [f"{method}-{pair}" for method in _methods() for pair in list_pairs()]


def to_yaml(preset: Preset) -> str:
    """The resolved preset as one complete YAML file, which ``load_preset`` takes back."""
    return dump(preset.model_dump(exclude_none=True))


def _methods() -> list[str]:
    shipped = sorted(path.stem for path in (PRESETS / "methods").glob("*.yaml"))
    return shipped + extension_names()


@cache
def _networks() -> dict[str, dict[str, Any]]:
    return read_mapping(PRESETS / "networks.yaml")


def _compose(name: str) -> dict[str, Any]:
    if name in _networks():
        network = _networks()[name]
        base = {"name": name, "method": {"name": "none"}}
        return _merge([base, _recipe(network["recipe"]), _preset_keys(network)])
    method_name, _, pair_name = name.partition("-")
    if method_name not in _methods() or pair_name not in list_pairs():
        near = get_close_matches(name, list_presets(), n=3, cutoff=0.5)
        hint = f"nearest: {', '.join(near)}" if near else "'lskd presets list' shows all"
        if method_name not in _methods() and pair_name in list_pairs():
            hint += f"; --method-file FILE brings {method_name}, if it is your own"
        raise RequestError(f"unknown preset {name!r}; {hint}")
    method = layer_of(method_name) or _shipped("methods", method_name)
    pair = _shipped("pairs", pair_name)
    return _merge(
        [
            {"name": name},
            _recipe(pair["recipe"]),
            {key: method[key] for key in ("method", "stand") if key in method},
            method.get("recipes", {}).get(pair["recipe"], {}),
            _preset_keys(pair),
            pair.get("rows", {}).get(method_name, {}),
        ]
    )


def _recipe(name: str) -> dict[str, Any]:
    return _shipped("recipes", name)


@cache
def _shipped(kind: str, name: str) -> dict[str, Any]:
    return read_mapping(PRESETS / kind / f"{name}.yaml")


def _preset_keys(mapping: dict[str, Any]) -> dict[str, Any]:
    return {key: mapping[key] for key in _PRESET_KEYS if key in mapping}


def _merge(layers: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Mappings laid over each other, key by key and level by level."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            if isinstance(value, dict) and isinstance(merged.get(key), dict):
                merged[key] = _merge([merged[key], value])
            else:
                merged[key] = deepcopy(value)
    return merged


def _assign(raw: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    node = raw
    for parent in parents:
        child = node.setdefault(parent, {})
        if not isinstance(child, dict):
            raise RequestError(f"--set {key}: {parent} is a value, not a group of keys")
        node = child
    node[last] = value
