"""The registered methods, as a new process has them."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from lskd_cli.config.methods import registry as method_registry
from lskd_cli.distillers import registry


@contextmanager
def own_registries() -> Iterator[None]:
    """Forget the methods that are registered within."""
    method_registry._entry_points.cache_clear()
    with (
        patch.dict(method_registry._configs),
        patch.dict(method_registry._plugin_defaults),
        patch.dict(registry._distillers),
        patch.dict(registry._sources),
    ):
        yield
    method_registry._entry_points.cache_clear()
