"""Creates networks by their published names."""

from collections.abc import Callable
from difflib import get_close_matches
from functools import cache

import torch

from lskd_cli.errors import RequestError
from lskd_cli.models import (
    convit,
    cvt,
    deit,
    mobilenet_v1,
    mobilenet_v2,
    pit,
    pvt,
    pvt_v2,
    resnet,
    resnet_4stage,
    resnet_guide,
    resnet_imagenet,
    shufflenet,
    t2t,
    vgg,
    wrn,
)
from lskd_cli.models.custom import create_custom_model, custom_models, reserved_names
from lskd_cli.models.external import (
    ExternalModel,
    fixed_input_size,
    is_external_model,
    list_external_models,
)
from lskd_cli.models.output import FeatureShapes, Network

_CIFAR: dict[str, Callable[..., Network]] = {
    **resnet.FAMILY,
    **resnet_4stage.FAMILY,
    **wrn.FAMILY,
    **vgg.FAMILY,
    **mobilenet_v2.FAMILY,
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
_IMAGENET: dict[str, Callable[..., Network]] = {**resnet_imagenet.FAMILY, **mobilenet_v1.FAMILY}
reserved_names.update([*_CIFAR, *_TRANSFORMERS, *_IMAGENET])
DEFAULT_SIZE = 224  # pixels, of transformers and ImageNet networks
MAX_CIFAR_SIZE = 64  # pixels; the CIFAR networks end with global average pooling


def list_models() -> list[str]:
    """Names of the built-in networks, family by family."""
    return [*_CIFAR, *_TRANSFORMERS, *_IMAGENET]


def is_model(name: str) -> bool:
    """Whether a name is that of a built-in or registered network, torchvision/NAME or timm/NAME."""
    library, _, external_name = name.partition("/")
    if name in list_models() or name in custom_models():
        return True
    return is_external_model(library, external_name)


def create_model(
    name: str, num_classes: int = 100, image_size: int | None = None, drop_path: float = 0.0
) -> Network:
    """A newly initialized network, float32, in training mode.

    Args:
        name: one of ``list_models()``, ``torchvision/NAME`` or ``timm/NAME``, or the name of a
            registered network.
        num_classes: number of outputs of the classifier.
        image_size: size of the images in pixels; None selects the published size, which is 32 for
            CIFAR networks and 224 for transformers and ImageNet networks.
        drop_path: stochastic depth rate of the last layer of a transformer, which increases
            linearly from 0 in the first layer (arXiv:1603.09382).

    Raises:
        RequestError: no network has this name (the message gives the nearest names), or the network
            does not support the size or stochastic depth.
    """
    if name in _TRANSFORMERS:
        size = image_size or DEFAULT_SIZE
        return _TRANSFORMERS[name](num_classes=num_classes, image_size=size, drop_path=drop_path)
    if not is_model(name):
        raise RequestError(f"unknown model {name!r}; {suggest_models(name)}")
    if name in _CIFAR and image_size is not None and image_size > MAX_CIFAR_SIZE:
        raise RequestError(
            f"data.image_size: {name} supports images of at most {MAX_CIFAR_SIZE} pixels, not "
            f"{image_size}"
        )
    if drop_path > 0:
        raise RequestError(f"drop_path: {name} does not support it; only transformers do")
    if name in custom_models():
        return create_custom_model(name, num_classes, image_size or Network.image_size)
    if name in _CIFAR:
        network = _CIFAR[name](num_classes=num_classes)
        network.image_size = image_size or Network.image_size
        return network
    if name in _IMAGENET:
        return _IMAGENET[name](num_classes=num_classes, image_size=image_size or DEFAULT_SIZE)
    library, _, external_name = name.partition("/")
    size = image_size or fixed_input_size(library, external_name) or DEFAULT_SIZE
    return ExternalModel(library, external_name, num_classes, size)


def teacher_image_size(name: str, image_size: int) -> int:
    """The size of the images that a teacher gets whose weights do not store it.

    Args:
        name: the teacher's network.
        image_size: size of the student's images in pixels.

    Returns:
        The size in pixels. CIFAR networks get the images of a transformer at 32 pixels.
    """
    library, _, external_name = name.partition("/")
    if (
        name in _IMAGENET
        or name in custom_models()
        or (name in _CIFAR and image_size <= MAX_CIFAR_SIZE)
    ):
        return image_size
    if external_name:
        return fixed_input_size(library, external_name) or image_size
    return Network.image_size if name in _CIFAR else DEFAULT_SIZE


def suggest_models(name: str) -> str:
    """The names nearest to an unknown one, for an error message."""
    library, _, external_name = name.partition("/")
    if external_name:
        known = [f"{library}/{other}" for other in list_external_models(library)]
    else:
        known = [*list_models(), *custom_models()]
    near = get_close_matches(name, known, n=3, cutoff=0.5)
    if external_name:
        return f"nearest: {', '.join(near)}" if near else f"{library} has no such model"
    hint = f"nearest: {', '.join(near)}" if near else f"choose from {', '.join(known)}"
    return f"{hint}; or torchvision/NAME, timm/NAME"


@cache
def classifier_parameters(name: str, image_size: int | None = None) -> frozenset[str]:
    """Names of the parameters whose shapes depend on the number of classes.

    Raises:
        RequestError: the network does not exist or does not support the size.
    """
    with torch.device("meta"):
        few, many = (create_model(name, classes, image_size).state_dict() for classes in (2, 3))
    return frozenset(key for key in few if few[key].shape != many[key].shape)


@cache
def feature_shapes(name: str, image_size: int | None = None) -> FeatureShapes:
    """Shapes of the features of a network for one image.

    Raises:
        RequestError: the network does not exist or does not support the size.
    """
    # A registered network may read values, which meta tensors do not have.
    with torch.device("cpu" if name in custom_models() else "meta"), torch.no_grad():
        network = create_model(name, image_size=image_size).eval()
        if not network.enable_features():
            return FeatureShapes([], [], 0)
        images = torch.empty(1, 3, network.image_size, network.image_size)
        output = network.forward_features(images)
    return FeatureShapes(
        [tuple(feat.shape[1:]) for feat in output.feats],
        [tuple(preact.shape[1:]) for preact in output.preacts],
        0 if output.pooled is None else output.pooled.shape[1],
    )
