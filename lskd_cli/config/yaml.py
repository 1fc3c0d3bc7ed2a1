"""YAML, read safely; numbers like 5e-4 are numbers."""

import re
from pathlib import Path
from typing import Any

import yaml

from lskd_cli.errors import RequestError


class _Loader(yaml.SafeLoader):
    """The safe loader, with YAML 1.2's floats: 1.1 takes 5e-4 for a string."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.\d+|\d+(\.\d*)?)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def parse(text: str, source: str) -> Any:
    """The value of a YAML text; a syntax error becomes a RequestError that names ``source``."""
    try:
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError) as error:  # PyYAML lets impossible dates through
        problem = " ".join(str(error).split())
        raise RequestError(f"{source}: not valid YAML: {problem}") from None


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        RequestError: the file cannot be read, is not YAML, or is not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise RequestError(f"{path}: cannot be read: {reason}") from None
    value = parse(text, str(path))
    if not isinstance(value, dict):
        raise RequestError(f"{path}: expected keys and values, as 'lskd presets show NAME' prints")
    return value


def dump(value: dict[str, Any]) -> str:
    """A mapping as YAML, keys in their order."""
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
