"""Changes of single keys of a preset, from ``--set KEY=VALUE`` or from an option of its own."""

from dataclasses import dataclass
from typing import Any

from lskd_cli.config.yaml_io import parse
from lskd_cli.errors import RequestError


@dataclass(frozen=True)
class Override:
    """A new value of one key.

    Attributes:
        key: dotted key, for example ``method.temperature``.
        value: the new value.
        option: what the user typed, for error messages, for example ``--seed``.
    """

    key: str
    value: Any
    option: str

    @classmethod
    def parse(cls, text: str) -> "Override":
        """The override in ``KEY=VALUE``, whose value is YAML.

        Raises:
            RequestError: the text has another form, or the value is not YAML.
        """
        key, separator, value = text.partition("=")
        key = key.strip()
        if not separator or not key:
            raise RequestError(f"--set {text}: expected KEY=VALUE, e.g. method.temperature=3")
        return cls(key, parse(value, f"--set {key}"), f"--set {key}")

    def apply(self, raw: dict[str, Any]) -> None:
        """Assign the value in nested mappings.

        Raises:
            RequestError: a parent of the key is not a mapping.
        """
        *parents, last = self.key.split(".")
        node = raw
        for parent in parents:
            child = node.setdefault(parent, {})
            if not isinstance(child, dict):
                raise RequestError(f"{self.option}: {parent} is not a mapping")
            node = child
        node[last] = self.value
