"""Creates networks by their published names."""

import importlib
from dataclasses import replace
from difflib import get_close_matches
from functools import cache

import torch

from lskd_cli.errors import RequestError
from lskd_cli.models.custom import custom_models, load_custom_model, wrap_custom
from lskd_cli.models.entries import MODELS, ModelEntry
from lskd_cli.models.libraries import split_external
from lskd_cli.models.output import FeatureShapes, Network

# Modules of the built-in networks, which are imported when a network is created.
_FAMILIES = {
    "resnet": (
        "resnet8", "resnet14", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110",
        "resnet8x4", "resnet32x4",
    ),
    "resnet_4stage": ("ResNet18", "ResNet50"),
    "wrn": ("wrn_16_1", "wrn_16_2", "wrn_40_1", "wrn_40_2"),
    "vgg": ("vgg8", "vgg11", "vgg13", "vgg16", "vgg19"),
    "mobilenet_v2": ("MobileNetV2",),
    "shufflenet": ("ShuffleV1", "ShuffleV2"),
    "resnet_guide": ("resnet56_guide",),
    "deit": ("deit_tiny",),
    "t2t": ("t2t_vit_7", "t2t_vit_14"),
    "pit": ("pit_tiny",),
    "pvt": ("pvt_tiny",),
    "pvt_v2": ("pvt_v2_b0",),
    "convit": ("convit_tiny",),
    "cvt": ("cvt_13",),
    "resnet_imagenet": ("resnet18", "resnet34", "resnet50"),
    "mobilenet_v1": ("mobilenet_v1",),
}  # fmt: skip
_MODULES = {name: module for module, names in _FAMILIES.items() for name in names}
_SIMKD = "simkd:"  # names of students of SimKD: simkd:STUDENT:TEACHER:FACTOR
_EXTERNAL_SIZE = 224  # pixels, of networks of a library that accept several sizes


def list_models() -> list[str]:
    """Names of the built-in networks, family by family."""
    return list(_MODULES)


def find_model(name: str) -> ModelEntry | None:
    """The entry of a built-in or registered network; None for all other names.

    Raises:
        RequestError: the package of a registered network cannot be imported.
    """
    if name.startswith(_SIMKD):
        parts = _simkd_parts(name)
        return None if parts is None else _simkd_entry(*parts)
    if name not in MODELS and name in _MODULES:
        importlib.import_module(f"lskd_cli.models.{_MODULES[name]}")
    elif name not in MODELS and name in custom_models():
        load_custom_model(name)
    return MODELS.get(name)


def is_model(name: str) -> bool:
    """Whether a name is that of a built-in or registered network, torchvision/NAME or timm/NAME."""
    if name in _MODULES or name in custom_models():
        return True
    if name.startswith(_SIMKD):
        parts = _simkd_parts(name)
        return parts is not None and all(map(is_model, parts[:2]))
    library, external_name = split_external(name)
    if not library:
        return False
    from lskd_cli.models.external import is_external_model

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
    if not is_model(name):
        raise RequestError(f"unknown model {name!r}; {suggest_models(name)}")
    entry = find_model(name)
    if entry is not None and entry.max_size is not None and (image_size or 0) > entry.max_size:
        raise RequestError(
            f"data.image_size: {name} supports images of at most {entry.max_size} pixels, not "
            f"{image_size}"
        )
    if drop_path > 0 and not (entry and entry.takes("drop_path")):
        raise RequestError(f"drop_path: {name} does not support it; only transformers do")
    if entry is None:
        from lskd_cli.models.external import ExternalModel, fixed_input_size

        library, external_name = split_external(name)
        size = image_size or fixed_input_size(library, external_name) or _EXTERNAL_SIZE
        return ExternalModel(library, external_name, num_classes, size)
    size = image_size or entry.default_size
    given = {"num_classes": num_classes, "image_size": size, "drop_path": drop_path}
    options = {key: given[key] for key in given if key == "num_classes" or entry.takes(key)}
    if entry.file is not None:
        return wrap_custom(name, entry, options, size)
    network: Network = entry.create(**options)
    network.image_size = size
    return network


def teacher_image_size(name: str, image_size: int) -> int:
    """The size of the images that a teacher gets whose weights do not store it.

    Args:
        name: the teacher's network.
        image_size: size of the student's images in pixels.

    Returns:
        The size in pixels. CIFAR networks get the images of a transformer at 32 pixels.
    """
    entry = find_model(name)
    if entry is None:
        from lskd_cli.models.external import fixed_input_size

        library, external_name = split_external(name)
        return fixed_input_size(library, external_name) or image_size
    is_supported = entry.max_size is None or image_size <= entry.max_size
    return image_size if entry.is_resizable and is_supported else entry.default_size


def suggest_models(name: str) -> str:
    """The names nearest to an unknown one, for an error message."""
    library, _, external_name = name.partition("/")
    if external_name:
        from lskd_cli.models.external import list_external_models

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
        None if output.final_map is None else tuple(output.final_map.shape[1:]),
    )


def simkd_name(student: str, teacher: str, factor: int) -> str:
    """Name of the network that SimKD trains; ``factor`` is that of ``SimKDProjector``."""
    return f"{_SIMKD}{student}:{teacher}:{factor}"


def _simkd_parts(name: str) -> tuple[str, str, int] | None:
    parts = name.removeprefix(_SIMKD).split(":")
    if len(parts) != 3 or not parts[2].isdecimal() or int(parts[2]) < 1:
        return None
    return parts[0], parts[1], int(parts[2])


def _simkd_entry(student: str, teacher: str, factor: int) -> ModelEntry:
    def create(num_classes: int, image_size: int, drop_path: float = 0.0) -> Network:
        from lskd_cli.models.simkd import SimKDNetwork

        own = _final_map_shape(student, image_size)
        other = _final_map_shape(teacher, teacher_image_size(teacher, image_size))
        backbone = create_model(student, num_classes, image_size, drop_path)
        return SimKDNetwork(backbone, own, other, factor, num_classes)

    entry = find_model(student) or ModelEntry(create, _EXTERNAL_SIZE)
    return replace(entry, create=create, file=None, source=None)


def _final_map_shape(name: str, image_size: int) -> tuple[int, ...]:
    shape = feature_shapes(name, image_size).final_map
    if shape is None:
        raise RequestError(f"method simkd: {name} has no feature map before the pooling")
    return shape
