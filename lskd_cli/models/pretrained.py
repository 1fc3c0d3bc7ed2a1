"""Pretrained weights of torchvision and timm, and their preprocessing."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lskd_cli.errors import RequestError, RunError
from lskd_cli.io.hub import offline_if_unreachable
from lskd_cli.models.libraries import split_external
from lskd_cli.preprocessing import INTERPOLATIONS, Preprocessing
from lskd_cli.run_paths import PRETRAINED


def library_preprocessing(model: str) -> Preprocessing | None:
    """How the library prepares the images of a network's pretrained weights.

    Args:
        model: ``torchvision/NAME`` or ``timm/NAME``.

    Returns:
        None for built-in networks, and for networks without pretrained weights.

    Raises:
        RequestError: the library pads images instead of cropping them.
    """
    library, name = split_external(model)
    if library == "timm":
        import timm

        config = timm.get_pretrained_cfg(name)
        return None if config is None else _preprocessing_from_timm(config)
    if library == "torchvision":
        weights = _torchvision_weights(name)
        return None if weights is None else preprocessing_from_torchvision(weights.transforms())
    return None


def load_pretrained(model: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The library's own weights of a network by parameter name, and their metadata.

    The library downloads them into its cache, or finds them there.

    Args:
        model: ``torchvision/NAME`` or ``timm/NAME``.

    Raises:
        RequestError: the network has no pretrained weights.
        RunError: the weights are not in the cache of the library and cannot be downloaded.
    """
    library, name = split_external(model)
    preprocessing = library_preprocessing(model) if library else None
    if preprocessing is None:
        raise RequestError(
            f"{model}: has no pretrained weights; give a file, or train it from random weights"
        )
    try:
        network, details = _LOAD[library](name)
    # The libraries raise errors of several HTTP clients, and others of their own.
    except Exception as error:
        reason = str(error).strip().splitlines()
        raise RunError(
            f"{model}: the pretrained weights are neither in the cache of {library} nor can they "
            f"be downloaded ({reason[0] if reason else type(error).__name__}); download them on a "
            "connected machine, or give a file"
        ) from error
    metadata = {
        "model": model,
        "source": f"{library} {PRETRAINED}",
        "preprocessing": preprocessing.to_json(),
        **details,
    }
    return dict(network.state_dict()), metadata


def _timm_weights(name: str) -> tuple[Any, Mapping[str, str]]:
    import timm

    with offline_if_unreachable():
        network = timm.create_model(name, pretrained=True)
    config = network.pretrained_cfg
    details = {"num_classes": str(network.num_classes)}
    return network, details | ({"license": config["license"]} if config.get("license") else {})


def _torchvision_network(name: str) -> tuple[Any, Mapping[str, str]]:
    from torchvision.models import get_model

    weights = _torchvision_weights(name)
    network = get_model(name, weights=weights)
    return network, {"num_classes": str(len(weights.meta["categories"]))}


_LOAD = {"timm": _timm_weights, "torchvision": _torchvision_network}


def _torchvision_weights(name: str) -> Any:
    """Torchvision's recommended weights of a network; None if it has none."""
    from torchvision.models import get_model_weights

    weights = get_model_weights(name)
    return weights.DEFAULT if len(weights) else None


def _preprocessing_from_timm(config: Any) -> Preprocessing:
    from timm.data import resolve_data_config

    values = resolve_data_config(pretrained_cfg=config.to_dict(), verbose=False)
    if values.get("crop_mode") == "border":
        raise RequestError(
            f"timm/{config.architecture}: pads its images (crop mode border), which lskd does not"
        )
    interpolation = values["interpolation"]
    return Preprocessing(
        image_size=values["input_size"][-1],
        mean=tuple(map(float, values["mean"])),
        std=tuple(map(float, values["std"])),
        interpolation=interpolation if interpolation in INTERPOLATIONS else "bicubic",
        crop=float(values["crop_pct"]),
        squash=values.get("crop_mode") == "squash",
    )


def preprocessing_from_torchvision(transform: Any) -> Preprocessing:
    """The preprocessing of a preset transform of torchvision (``ImageClassification``)."""
    (size,), (resized,) = transform.crop_size, transform.resize_size
    return Preprocessing(
        image_size=size,
        mean=tuple(transform.mean),
        std=tuple(transform.std),
        interpolation=transform.interpolation.value,
        crop=size / resized,
    )
