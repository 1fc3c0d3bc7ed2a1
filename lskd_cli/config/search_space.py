"""The search space of ``lskd tune``: which keys of a preset are searched, and in which ranges."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import pydantic.dataclasses
from pydantic import FiniteFloat

from lskd_cli.config.loading import change_preset
from lskd_cli.config.overrides import Override
from lskd_cli.config.schema import Preset, Published
from lskd_cli.config.types import Text
from lskd_cli.config.yaml_io import parse
from lskd_cli.errors import RequestError
from lskd_cli.io.printable import shorten

Form = Literal["plain", "standardized"]
Value = bool | int | FiniteFloat | str

METHOD = "method"  # the dimension that selects the method
_FORMAT = "expected KEY=LOW:HIGH, KEY=LOW:HIGH:log or KEY=V1,V2,..."
_DEFAULT_FACTOR = 4  # between the value of a preset and the bounds of its default range
_MAX_NUMBER = 1e15
# Keys that decide what a search is, or that its trials must have in common.
_FIXED = {
    "name": "use --set name=NEW",
    "seed": "use --seeds",
    "published": "nothing is trained differently",
    "stand.enabled": "both forms are searched",
    "method.name": "search method=M1,M2,...",
    "schedule.epochs": "use --epochs",
    "data.name": "all trials have the same images",
    "data.num_classes": "all trials have the same images",
    "data.seed": "all trials have the same images",
    "data.val_split": "use --val-split",
    "data.limit_train": "use --limit-train",
}


@pydantic.dataclasses.dataclass(frozen=True)
class Dimension:
    """A key of a preset that is searched, as ``search.json`` contains it.

    Attributes:
        key: dotted key.
        low: lowest value of a range.
        high: highest value of a range.
        is_log: whether the range is logarithmic.
        is_integer: whether the range contains integers only.
        values: the values of a list; empty for a range.
        name: what tables call it; that of the key, if it is empty.
    """

    key: Text
    low: int | FiniteFloat = 0.0
    high: int | FiniteFloat = 0.0
    is_log: bool = False
    is_integer: bool = False
    values: tuple[Value, ...] = ()
    name: Text = ""

    @property
    def label(self) -> str:
        """The name, which is unique in a search space."""
        return self.name or self.key

    @property
    def ends(self) -> tuple[Value, ...]:
        """The values that decide whether all values are valid."""
        return self.values or (self.low, self.high)

    def contains(self, value: object) -> bool:
        """Whether a value belongs to the range or list."""
        if self.values:
            return value in self.values
        return isinstance(value, (int, float)) and self.low <= value <= self.high

    def describe(self) -> str:
        """The dimension as ``--space`` takes it."""
        if self.values:
            return f"{self.label}={','.join(map(str, self.values))}"
        return f"{self.label}={self.low:g}:{self.high:g}{':log' if self.is_log else ''}"

    @classmethod
    def parse(cls, text: str) -> "Dimension":
        """The dimension that ``--space`` describes.

        Raises:
            RequestError: the text has another form, or a range or list is empty.
        """
        key, separator, spec = text.partition("=")
        key, option = key.strip(), f"--space {shorten(text)}"
        if not separator or not key or not spec.strip():
            raise RequestError(f"{option}: {_FORMAT}")
        if key in _FIXED:
            raise RequestError(f"{option}: cannot be searched; {_FIXED[key]}")
        parts = spec.split(":")
        bounds = [_parse_value(part, option) for part in parts[:2] if len(parts) in (2, 3)]
        numbers = [b for b in bounds if isinstance(b, (int, float)) and not isinstance(b, bool)]
        if bounds and len(numbers) == len(bounds):
            low, high = numbers
            if parts[2:] not in ([], ["log"]):
                raise RequestError(f"{option}: {_FORMAT}")
            if not low < high:
                raise RequestError(f"{option}: the range is empty; LOW must be below HIGH")
            if parts[2:] and low <= 0:
                raise RequestError(f"{option}: LOW must be above 0 in a logarithmic range")
            is_integer = isinstance(low, int) and isinstance(high, int)
            return cls(key, low, high, bool(parts[2:]), is_integer)
        values = [_parse_value(value, option) for value in spec.split(",")]
        if len(set(values)) < max(len(values), 2):
            raise RequestError(f"{option}: {_FORMAT}, with at least two different values")
        return cls(key, values=tuple(values))


def _parse_value(text: str, option: str) -> Value:
    """A value of a range or list.

    Raises:
        RequestError: it is no number or word, or not a number that floats represent.
    """
    value = parse(text, option)
    if not isinstance(value, (int, float, str)):
        raise RequestError(f"{option}: values must be numbers, words, true or false")
    if not isinstance(value, str) and not abs(value) <= _MAX_NUMBER:
        raise RequestError(
            f"{option}: numbers must be between -{_MAX_NUMBER:g} and {_MAX_NUMBER:g}"
        )
    return value


@dataclass(frozen=True)
class FormSpace:
    """The search space of the plain or the standardized form.

    Attributes:
        form: the form.
        bases: preset of each method, whose other keys all trials have.
        dimensions: what is searched, for each method.
    """

    form: Form
    bases: Mapping[str, Preset]
    dimensions: Mapping[str, Sequence[Dimension]]

    @property
    def methods(self) -> list[str]:
        """Names of the methods."""
        return list(self.bases)

    def all_dimensions(self) -> list[Dimension]:
        """The dimensions of all methods, with that of the method if there are several."""
        selection = [Dimension(METHOD, values=tuple(self.bases))] if len(self.bases) > 1 else []
        found = (item for items in self.dimensions.values() for item in items)
        return list(dict.fromkeys([*selection, *found]))

    def method_of(self, settings: Mapping[str, Any]) -> str:
        """The method of a trial with these settings, by label."""
        return str(settings.get(METHOD, self.methods[0]))

    def overrides(self, settings: Mapping[str, Any]) -> list[Override]:
        """The keys that settings change in the preset of their method."""
        dimensions = self.dimensions[self.method_of(settings)]
        return [Override(d.key, settings[d.label], f"--space {d.key}") for d in dimensions]

    def trial_preset(self, settings: Mapping[str, Any], name: str, seed: int) -> Preset:
        """The preset of a trial.

        Raises:
            RequestError: the settings do not fit together.
        """
        base = self.bases[self.method_of(settings)]
        update = {"name": name, "seed": seed, "published": Published()}
        return change_preset(base.model_copy(update=update), self.overrides(settings))

    def preset_settings(self, method: str) -> dict[str, Value] | None:
        """The settings of the preset of a method; None if the space does not contain them."""
        raw = self.bases[method].model_dump()
        settings: dict[str, Value] = {METHOD: method} if len(self.bases) > 1 else {}
        for dimension in self.dimensions[method]:
            value = _lookup(raw, dimension.key)
            if not dimension.contains(value):
                return None
            settings[dimension.label] = value
        return settings


def search_spaces(bases: Mapping[str, Preset], texts: Sequence[str]) -> list[FormSpace]:
    """The search spaces of both forms, or of the form to which all keys belong.

    Keys of ``stand`` belong to the standardized form, hyper-parameters that it replaces to the
    plain one, and all other keys to both. Without keys, both forms have default ranges: from a
    quarter to four times the value of the preset for temperatures and weights of losses.

    Args:
        bases: presets of the methods to search, by name.
        texts: arguments of ``--space``, without that of the method.

    Raises:
        RequestError: a range or list is wrong, no method has a key, or a value is outside the
            bounds of the key.
    """
    dimensions = [Dimension.parse(text) for text in texts]
    keys = [dimension.key for dimension in dimensions]
    for key in keys:
        if keys.count(key) > 1:
            raise RequestError(f"--space {key}: given twice")
    spaces = []
    for form in ("plain", "standardized"):
        presets = {
            name: preset.with_stand(form == "standardized") if preset.stand else preset
            for name, preset in bases.items()
            if form == "plain" or preset.can_standardize
        }
        if not dimensions:
            chosen = {name: _defaults(preset, len(bases) > 1) for name, preset in presets.items()}
        else:
            chosen = {
                name: [item for item in dimensions if _belongs(item.key, preset)]
                for name, preset in presets.items()
            }
        chosen = {name: items for name, items in chosen.items() if items}
        if chosen:
            presets = {name: presets[name] for name in chosen}
            spaces.append(FormSpace(form, presets, chosen))
    used = {item.key for space in spaces for item in space.all_dimensions()}
    for dimension in dimensions:
        if dimension.key not in used:
            raise _unknown_key(dimension, bases)
    only_one = [space for space in spaces if _has_own_key(space)]
    return [_checked(space) for space in only_one or spaces]


def _belongs(key: str, preset: Preset) -> bool:
    """Whether a key changes the training of a preset in its form."""
    group, _, field = key.partition(".")
    has_field = field in type(preset.method).model_fields
    if group == "stand":
        return preset.standardized and has_field
    if group == METHOD:
        is_replaced = preset.standardized and preset.stand and field in preset.stand.overrides()
        return has_field and not is_replaced
    return True


def _has_own_key(space: FormSpace) -> bool:
    """Whether a key belongs to this form only."""
    for dimension in space.all_dimensions():
        group, _, field = dimension.key.partition(".")
        if group == "stand":
            return True
        stands = [preset.stand for preset in space.bases.values() if preset.stand]
        if group == METHOD and any(field in stand.overrides() for stand in stands):
            return True
    return False


def _unknown_key(dimension: Dimension, bases: Mapping[str, Preset]) -> RequestError:
    """The error for a key that no preset has, with the nearest key."""
    preset = next(iter(bases.values()))
    option = f"--space {dimension.key}"
    if dimension.key.startswith("stand.") and not preset.can_standardize:
        return RequestError(f"{option}: preset {preset.name} has no standardized form")
    try:
        change_preset(preset, [Override(dimension.key, dimension.ends[0], option)])
    except RequestError as error:
        return error
    return RequestError(f"{option}: has no effect on preset {preset.name}")


def _defaults(preset: Preset, has_methods: bool) -> list[Dimension]:
    dimensions = []
    for field in preset.method.searched_fields:
        values = preset.stand.overrides() if preset.standardized and preset.stand else {}
        value = values.get(field, getattr(preset.method, field))
        key = f"stand.{field}" if field in values else f"method.{field}"
        if value > 0:
            name = f"{key} ({preset.method.name})" if has_methods else ""
            low, high = value / _DEFAULT_FACTOR, value * _DEFAULT_FACTOR
            dimensions.append(Dimension(key, low, high, is_log=True, name=name))
    return dimensions


def _checked(space: FormSpace) -> FormSpace:
    """The space with valid bounds; ranges of keys that take any number are not of integers.

    Raises:
        RequestError: a bound or value is wrong.
    """
    dimensions = {
        method: [_check(item, space.bases[method]) for item in items]
        for method, items in space.dimensions.items()
    }
    return replace(space, dimensions=dimensions)


def _check(dimension: Dimension, preset: Preset) -> Dimension:
    option = f"--space {dimension.describe()}"
    for value in dimension.ends:
        change_preset(preset, [Override(dimension.key, value, option)])
    if dimension.is_integer:
        try:
            middle = dimension.low + 0.5
            change_preset(preset, [Override(dimension.key, middle, option)])
        except RequestError:
            return dimension
        return replace(dimension, is_integer=False)
    return dimension


def _lookup(raw: Mapping[str, Any], key: str) -> Any:
    node: Any = raw
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node
