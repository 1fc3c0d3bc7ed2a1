"""The folder of the cache."""

import tempfile
from pathlib import Path

import pytest

from lskd_cli.io.cache import cache_folder


def test_without_a_home_directory_the_cache_is_a_temporary_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    assert cache_folder() == Path(tempfile.gettempdir()) / "lskd-cache"


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cache_folder() == Path("/caches/lskd")
