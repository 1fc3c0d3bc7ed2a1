"""Safe reading and writing of YAML; numbers such as 5e-4 are floats."""

import re
from pathlib import Path
from typing import Any

import yaml

from lskd_cli.errors import RequestError


class _Loader(yaml.SafeLoader):
    """The safe loader with the floats of YAML 1.2; YAML 1.1 reads 5e-4 as a string."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.\d+|\d+(\.\d*)?)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def parse(text: str, source: str) -> Any:
    """The value of a YAML text.

    Raises:
        RequestError: the text is not valid YAML; the message names ``source``.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError) as error:  # PyYAML raises ValueError for impossible dates
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
        raise RequestError(
            f"{path}: expected keys and values, in the form that 'lskd presets show NAME' prints"
        )
    return value


def dump(value: dict[str, Any]) -> str:
    """A mapping as YAML, with its keys in their order."""
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
