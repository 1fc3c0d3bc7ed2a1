"""Methods and networks that installed packages provide as entry points."""

from collections.abc import Container
from importlib.metadata import EntryPoint

from lskd_cli.config.plugin_errors import describe_error
from lskd_cli.errors import RequestError


def load_entry_point(kind: str, entry: EntryPoint, registered: Container[str]) -> None:
    """Import the module of an entry point, which registers a method or network of its name.

    Args:
        kind: what the entry point provides, for error messages: method or model.
        entry: the entry point.
        registered: names that are registered, which the import extends.

    Raises:
        RequestError: the module fails, or does not register the name.
    """
    label = f"{kind} {entry.name}"
    try:
        entry.load()
    except Exception as error:
        raise RequestError(f"{label}, of {entry.value}: {describe_error(error)}") from error
    if entry.name not in registered:
        raise RequestError(f"{label}: {entry.value} registers no {kind} of this name")
