"""From a published name to a network."""

from collections.abc import Callable
from difflib import get_close_matches

from lskd_cli.errors import RequestError
from lskd_cli.models import mobilenet, resnet, resnet_wide_stem, shufflenet, vgg, wrn
from lskd_cli.models.output import Network

_MODELS: dict[str, Callable[..., Network]] = {
    **resnet.FAMILY,
    **resnet_wide_stem.FAMILY,
    **wrn.FAMILY,
    **vgg.FAMILY,
    **mobilenet.FAMILY,
    **shufflenet.FAMILY,
}


def list_models() -> list[str]:
    """Names that ``create_model`` knows, family by family."""
    return list(_MODELS)


def create_model(name: str, num_classes: int = 100) -> Network:
    """A freshly initialized network, float32, in training mode.

    Args:
        name: one of ``list_models()``.
        num_classes: outputs of its classifier.

    Raises:
        RequestError: no network has this name; the message gives the nearest ones.
    """
    if name not in _MODELS:
        raise RequestError(f"unknown model {name!r}; nearest: {nearest_models(name)}")
    return _MODELS[name](num_classes=num_classes)


def nearest_models(name: str) -> str:
    """The up to three names most like one that is not there, else all, for a message."""
    return ", ".join(get_close_matches(name, _MODELS, n=3, cutoff=0.5) or list_models())
