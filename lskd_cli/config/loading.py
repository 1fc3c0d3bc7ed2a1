"""Loads presets by name or from a file.

A built-in preset is composed from small files, later ones over earlier ones: the recipe of the
pair, what the method changes in that recipe, the pair, and the pair's entry for the method. A
suffix, as in kd-r56-r20-strong, adds a recipe that changes any other.
"""

from collections.abc import Iterable, Sequence
from copy import deepcopy
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from lskd_cli.config.data_settings import Data
from lskd_cli.config.methods.base import MethodConfig
from lskd_cli.config.methods.builtin import NO_METHOD, PRESETS_DIR, read_preset_file
from lskd_cli.config.methods.registry import method_config, method_names, plugin_defaults
from lskd_cli.config.overrides import Override
from lskd_cli.config.schema import Preset
from lskd_cli.config.validation import validate
from lskd_cli.config.yaml_io import dump, read_mapping
from lskd_cli.errors import RequestError

# Keys of a pair file or network entry that are keys of the preset itself.
_PRESET_KEYS = set(Preset.model_fields) - {"name", "method", "stand"}


def load_preset(
    name_or_path: str | Path,
    overrides: Sequence[str | Override] = (),
    allow_unknown_method: bool = False,
) -> Preset:
    """Load a preset by its name, or from a YAML file that contains a complete one.

    Args:
        name_or_path: a name of ``list_presets()``, or a path that ends in .yaml or .yml.
        overrides: new values of single keys, applied in order; a string is KEY=VALUE with a dotted
            key and a YAML value, for example ``method.temperature=3``.
        allow_unknown_method: do not import the module of the method, which may be missing or slow
            to import; its hyper-parameters are then not checked.

    Raises:
        RequestError: there is no such preset or file, or keys or values are wrong; the message has
            one line for each problem and names the nearest valid key.
    """
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        raw, source = read_mapping(path), str(path)
        _drop_removed_keys(raw)
    else:
        raw, source = _compose(str(name_or_path)), f"preset {name_or_path}"
    options: dict[str, str] = {}
    for item in overrides:
        override = Override.parse(item) if isinstance(item, str) else item
        override.apply(raw)
        options[override.key] = override.option
    return validate(raw, source, options, allow_unknown_method)


def change_preset(preset: Preset, overrides: Sequence[Override]) -> Preset:
    """A preset with new values of single keys.

    Raises:
        RequestError: keys or values are wrong; the message has one line for each problem.
    """
    raw = preset.model_dump(exclude_none=True)
    for override in overrides:
        override.apply(raw)
    options = {override.key: override.option for override in overrides}
    return validate(raw, f"preset {preset.name}", options)


def method_defaults(
    name: str,
) -> tuple[type[MethodConfig], dict[str, Any], dict[str, Any] | None]:
    """The hyper-parameters of a method that no preset changes.

    Returns:
        Their class, their values, and the values that standardization changes; None for these if
        the method cannot be standardized.

    Raises:
        RequestError: there is no such method.
    """
    config = method_config(name)
    if config is None:
        known = ", ".join(method_names())
        raise RequestError(f"method {name!r}: unknown; choose one of {known}")
    defaults = plugin_defaults(name) or read_preset_file("methods", name)
    return config, defaults["method"], defaults.get("stand")


def load_data(name: str, model: str | None = None) -> Data:
    """The data settings of a data set for a model: those of the model's own preset if it has one.

    Args:
        name: name of the data set.
        model: any model; without a preset of its own, the recipe of the data set applies.

    Raises:
        RequestError: there is no such data set.
    """
    for preset_name, entry in _networks().items():
        if entry["student"] == model:
            preset = load_preset(preset_name, allow_unknown_method=True)
            if preset.data.name == name:
                return preset.data
    recipes = [recipe for recipe in _recipe_names() if recipe not in _variants()]
    by_name = {recipe: Data.model_validate(_recipe(recipe)["data"]) for recipe in recipes}
    if name not in by_name or by_name[name].name != name:
        known = ", ".join(recipe for recipe, data in by_name.items() if data.name == recipe)
        raise RequestError(f"unknown data set {name!r}; choose one of {known}")
    return by_name[name]


def list_pairs() -> list[str]:
    """Short names of the teacher-student pairs."""
    return sorted(path.stem for path in (PRESETS_DIR / "pairs").glob("*.yaml"))


def list_networks() -> list[str]:
    """Presets without distillation: teachers and student baselines."""
    return list(_networks())


def list_presets() -> list[str]:
    """All preset names: those without distillation, then every method with every pair."""
    pairs = list_pairs()
    return list_networks() + [
        f"{method}-{pair}" for method in sorted(method_names()) for pair in pairs
    ]


def to_yaml(preset: Preset) -> str:
    """The resolved preset as one complete YAML file, which ``load_preset`` reads back."""
    return dump(preset.model_dump(exclude_none=True))


def _drop_removed_keys(raw: dict[str, Any]) -> None:
    """Drop ``data.augmentation.pipeline``, which saved presets may contain, without effect."""
    data = raw.get("data")
    augmentation = data.get("augmentation") if isinstance(data, dict) else None
    if isinstance(augmentation, dict):
        augmentation.pop("pipeline", None)


@cache
def _networks() -> dict[str, dict[str, Any]]:
    return read_mapping(PRESETS_DIR / "networks.yaml")


def _compose(name: str) -> dict[str, Any]:
    base_name, _, variant = name.rpartition("-")
    if variant in _variants():
        return _merge([_compose(base_name), _recipe(variant), {"name": name}]) | {"published": {}}
    if name in _networks():
        network = _networks()[name]
        base = {"name": name, "method": {"name": NO_METHOD}}
        return _merge([base, _recipe(network["recipe"]), _preset_keys(network)])
    method_name, _, pair_name = name.partition("-")
    if method_name not in method_names() or pair_name not in list_pairs():
        raise RequestError(f"unknown preset {name!r}; {_hint(name, method_name, pair_name)}")
    method = plugin_defaults(method_name) or read_preset_file("methods", method_name)
    pair = read_preset_file("pairs", pair_name)
    return _merge(
        [
            {"name": name},
            _recipe(pair["recipe"]),
            {key: method[key] for key in ("method", "stand") if key in method},
            method.get("recipes", {}).get(pair["recipe"], {}),
            _preset_keys(pair),
            pair.get("entries", {}).get(method_name, {}),
        ]
    )


def _hint(name: str, method_name: str, pair_name: str) -> str:
    near = get_close_matches(name, list_presets(), n=3, cutoff=0.5)
    hint = f"nearest: {', '.join(near)}" if near else "'lskd presets list' shows all presets"
    if method_name not in method_names() and pair_name in list_pairs():
        hint += f"; a method {method_name} of your own needs --method-file FILE"
    return hint


def _recipe_names() -> list[str]:
    return [path.stem for path in sorted((PRESETS_DIR / "recipes").glob("*.yaml"))]


@cache
def _variants() -> list[str]:
    """Recipes that change any other recipe; they name no data set."""
    return [recipe for recipe in _recipe_names() if "name" not in _recipe(recipe).get("data", {})]


def _recipe(name: str) -> dict[str, Any]:
    return read_preset_file("recipes", name)


def _preset_keys(mapping: dict[str, Any]) -> dict[str, Any]:
    return {key: mapping[key] for key in _PRESET_KEYS if key in mapping}


def _merge(layers: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Merge nested mappings key by key; later layers take precedence."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            if isinstance(value, dict) and isinstance(merged.get(key), dict):
                merged[key] = _merge([merged[key], value])
            else:
                merged[key] = deepcopy(value)
    return merged
