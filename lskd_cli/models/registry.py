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
    imagenet,
    mobilenet,
    mobilenet_v1,
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
from lskd_cli.models.libraries import LibraryNetwork, fixed_size, list_library
from lskd_cli.models.output import Network, Shapes

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
_ANY_SIZE: dict[str, Callable[..., Network]] = {**imagenet.FAMILY, **mobilenet_v1.FAMILY}
_LARGE = 224  # pixels, where nothing else is asked for


def list_models() -> list[str]:
    """Names of our own networks that ``create_model`` knows, family by family."""
    return [*_CONVOLUTIONAL, *_TRANSFORMERS, *_ANY_SIZE]


def is_model(name: str) -> bool:
    """Whether a name is one of ours, or ``torchvision/NAME`` or ``timm/NAME`` of a library."""
    library, _, inner = name.partition("/")
    return name in list_models() or inner in list_library(library)


def create_model(
    name: str, num_classes: int = 100, image_size: int | None = None, drop_path: float = 0.0
) -> Network:
    """A freshly initialized network, float32, in training mode.

    Args:
        name: one of ``list_models()``, or ``torchvision/NAME`` or ``timm/NAME``.
        num_classes: outputs of its classifier.
        image_size: pixels on each side of its images; None takes the published size: 32, and 224
            for transformers and networks of ImageNet.
        drop_path: share of images that skip a residual branch in training, in the last layer of a
            transformer; it grows linearly from 0 in the first (arXiv:1603.09382).

    Raises:
        RequestError: no network has this name (the message gives the nearest ones), or it cannot
            have this size or drop paths.
    """
    if name in _TRANSFORMERS:
        size = image_size or _LARGE
        return _TRANSFORMERS[name](num_classes=num_classes, image_size=size, drop_path=drop_path)
    if not is_model(name):
        raise RequestError(f"unknown model {name!r}; {nearest_models(name)}")
    is_small = name in _CONVOLUTIONAL
    if is_small and image_size not in (None, Network.image_size):
        raise RequestError(
            f"data.image_size: {name} is made for {Network.image_size} pixels, not {image_size}"
        )
    if drop_path > 0:
        raise RequestError(f"drop_path: {name} has none, of transformers only; leave it out")
    if is_small:
        return _CONVOLUTIONAL[name](num_classes=num_classes)
    if name in _ANY_SIZE:
        return _ANY_SIZE[name](num_classes=num_classes, image_size=image_size or _LARGE)
    library, _, inner = name.partition("/")
    size = image_size or fixed_size(library, inner) or _LARGE
    return LibraryNetwork(library, inner, num_classes, size)


def teacher_size(name: str, image_size: int) -> int | None:
    """The size that a teacher sees images at; None for that which it is made for.

    Args:
        name: of the teacher's network.
        image_size: of the student's images.
    """
    library, _, inner = name.partition("/")
    if name in _ANY_SIZE:
        return image_size
    return (fixed_size(library, inner) or image_size) if inner else None


def nearest_models(name: str) -> str:
    """What a name that is not there may have been meant for, for a message."""
    library, _, inner = name.partition("/")
    known = [f"{library}/{other}" for other in list_library(library)] if inner else list_models()
    near = ", ".join(get_close_matches(name, known, n=3, cutoff=0.5) or list_models())
    return f"nearest: {near}" if inner else f"nearest: {near}; or torchvision/NAME, timm/NAME"


@cache
def feature_shapes(name: str, image_size: int | None = None) -> Shapes:
    """What of one image a network gives to methods of features.

    Raises:
        RequestError: the network does not exist, or not for this size.
    """
    if "/" in name:
        return Shapes([], [], 0)  # those of libraries give logits alone
    with torch.device("meta"):
        network = create_model(name, image_size=image_size).eval()
        images = torch.empty(1, 3, network.image_size, network.image_size)
        output = network.forward_features(images)
    return Shapes(
        [tuple(feat.shape[1:]) for feat in output.feats],
        [tuple(preact.shape[1:]) for preact in output.preacts],
        0 if output.pooled is None else output.pooled.shape[1],
    )
