"""docs/presets.md lists every key of a preset with its default."""

import re
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from lskd_cli.config import Preset

PAGE = Path(__file__).parents[2] / "docs" / "presets.md"
# Listed as a whole; their keys are those of the method.
WHOLE = {"method"}


def _group(field: FieldInfo) -> type[BaseModel] | None:
    """The model of the keys below a key, if there are any."""
    is_union = get_origin(field.annotation) in (Union, UnionType)
    for kind in get_args(field.annotation) if is_union else (field.annotation,):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None or value == []:
        return "none"
    return (
        str(value).lower()
        if isinstance(value, bool)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


def _keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, field in model.model_fields.items():
        key, group = f"{prefix}{name}", _group(field)
        if key in WHOLE:
            continue
        if group is None:
            yield key, _default(field)
        else:
            yield from _keys(group, f"{key}.")


def test_every_key_is_listed_with_its_default() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \| ([\w.]+) \|", PAGE.read_text(), re.MULTILINE)
    groups = {"data.augmentation"}
    listed = {key: default for key, default in rows if key not in groups}
    assert listed == dict(_keys(Preset))
