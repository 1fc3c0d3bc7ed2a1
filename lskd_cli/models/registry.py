"""From a published name to a network."""

from collections.abc import Callable
from difflib import get_close_matches
from functools import cache

import torch

from lskd_cli.errors import RequestError
from lskd_cli.models import (
    convit,
    cvt,
    deit,
    mobilenet,
    pit,
    pvt,
    pvt_v2,
    resnet,
    resnet_guide,
    resnet_wide_stem,
    shufflenet,
    t2t,
    vgg,
    wrn,
)
from lskd_cli.models.output import Network

_CONVOLUTIONAL: dict[str, Callable[..., Network]] = {
    **resnet.FAMILY,
    **resnet_wide_stem.FAMILY,
    **wrn.FAMILY,
    **vgg.FAMILY,
    **mobilenet.FAMILY,
    **shufflenet.FAMILY,
    **resnet_guide.FAMILY,
}
_TRANSFORMERS: dict[str, Callable[..., Network]] = {
    **deit.FAMILY,
    **t2t.FAMILY,
    **pit.FAMILY,
    **pvt.FAMILY,
    **pvt_v2.FAMILY,
    **convit.FAMILY,
    **cvt.FAMILY,
}
_TRANSFORMER_SIZE = 224


def list_models() -> list[str]:
    """Names that ``create_model`` knows, family by family."""
    return [*_CONVOLUTIONAL, *_TRANSFORMERS]


def create_model(
    name: str, num_classes: int = 100, image_size: int | None = None, drop_path: float = 0.0
) -> Network:
    """A freshly initialized network, float32, in training mode.

    Args:
        name: one of ``list_models()``.
        num_classes: outputs of its classifier.
        image_size: pixels on each side of its images; None takes the published size: 32, and 224
            for transformers.
        drop_path: share of images that skip a residual branch in training, in the last layer of a
            transformer; it grows linearly from 0 in the first (arXiv:1603.09382).

    Raises:
        RequestError: no network has this name (the message gives the nearest ones), or it cannot
            have this size or drop paths.
    """
    if name in _TRANSFORMERS:
        size = image_size or _TRANSFORMER_SIZE
        return _TRANSFORMERS[name](num_classes=num_classes, image_size=size, drop_path=drop_path)
    if name not in _CONVOLUTIONAL:
        raise RequestError(f"unknown model {name!r}; nearest: {nearest_models(name)}")
    if image_size not in (None, Network.image_size):
        raise RequestError(
            f"data.image_size: {name} is made for {Network.image_size} pixels, not {image_size}"
        )
    if drop_path > 0:
        raise RequestError(f"drop_path: {name} has none, of transformers only; leave it out")
    return _CONVOLUTIONAL[name](num_classes=num_classes)


def nearest_models(name: str) -> str:
    """The up to three names most like one that is not there, else all, for a message."""
    return ", ".join(get_close_matches(name, list_models(), n=3, cutoff=0.5) or list_models())


@cache
def feature_shapes(name: str, image_size: int | None = None) -> list[tuple[int, ...]]:
    """(C, H, W) of every feature of a network, from the stem's or embedding's on.

    Raises:
        RequestError: the network does not exist, or not for this size.
    """
    with torch.device("meta"):
        network = create_model(name, image_size=image_size).eval()
        images = torch.empty(1, 3, network.image_size, network.image_size)
        return [tuple(feat.shape[1:]) for feat in network.forward_features(images).feats]
