"""Safe reading and writing of YAML; numbers such as 5e-4 are floats."""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from lskd_cli.errors import RequestError
from lskd_cli.io.atomic import regular_file

_MAX_SIZE = 1 << 20  # characters; a preset has about 1,000
_MAX_DEPTH = 20  # levels of nesting; a preset has three


# The loader of libyaml is many times faster; a build of PyYAML may lack it.
_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_SafeLoader):  # type: ignore[misc]
    """The safe loader with the floats of YAML 1.2; YAML 1.1 reads 5e-4 as a string.

    Repeated keys are refused: the last value would be used silently.
    """

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                line = key_node.start_mark.line + 1
                raise yaml.YAMLError(f"line {line}: key {key!r} is given twice")
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_scalar(self, node: Any) -> Any:
        value = super().construct_scalar(node)
        value.encode()  # a lone surrogate cannot be written or printed
        return value


class _Dumper(yaml.SafeDumper):
    """The safe dumper without aliases, which the loader refuses."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.\d+|\d+(\.\d*)?)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def _check_structure(text: str) -> None:
    """Refuse aliases, a few bytes of which can describe gigabytes, and deep nesting."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError(f"alias *{event.anchor}: aliases are not supported")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _MAX_DEPTH:
            raise yaml.YAMLError(f"more than {_MAX_DEPTH} levels of nesting")


def parse(text: str, source: str) -> Any:
    """The value of a YAML text.

    Raises:
        RequestError: the text is not valid YAML; the message names ``source``.
    """
    try:
        if len(text) > _MAX_SIZE:
            raise ValueError(f"longer than {_MAX_SIZE} characters")
        _check_structure(text)
        value = yaml.load(text, Loader=_Loader)
    # PyYAML raises ValueError for impossible dates, ArithmeticError for base-60 numbers, and other
    # errors for keys that are lists and for tags that do not fit their values.
    except (
        yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError,
    ) as error:  # fmt: skip
        problem = " ".join(str(error).split())
        raise RequestError(f"{source}: not valid YAML: {problem}") from None
    return value


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        RequestError: the file cannot be read, is not YAML, or is not a mapping.
    """
    try:
        with regular_file(path).open(encoding="utf-8") as file:
            text = file.read(_MAX_SIZE + 1)
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
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
