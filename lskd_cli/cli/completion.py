"""Completion of names in a shell, after ``lskd --install-completion``."""

from collections.abc import Iterator

from lskd_cli.config import list_presets
from lskd_cli.config.datasets import DATASETS


def presets(incomplete: str) -> Iterator[str]:
    """Names of built-in presets."""
    return (name for name in list_presets() if name.startswith(incomplete))


def models(incomplete: str) -> Iterator[str]:
    """Names of built-in networks, and of timm's after ``timm/``."""
    if incomplete.startswith("timm/"):
        import timm

        yield from (f"timm/{name}" for name in timm.list_models(incomplete[5:] + "*"))
        return
    from lskd_cli.models import list_models

    names = [*list_models(), "timm/", "torchvision/"]
    yield from (name for name in names if name.startswith(incomplete))


def custom_datasets(incomplete: str) -> Iterator[str]:
    """Formats of custom images."""
    for name, dataset in DATASETS.items():
        if dataset.is_custom and name.startswith(incomplete):
            yield f"{name}/" if name == "hfds" else name
