"""Registration of distillers by the names of their methods."""

import inspect
import tokenize
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from lskd_cli.config import FeatureMethodConfig, MethodConfig, Preset, register_method
from lskd_cli.distillers.base import Distiller
from lskd_cli.errors import RequestError

# Fields of ``Output`` that a method may require, as messages call them.
FEATURE_FIELDS = {
    "feats": "features of stages",
    "preacts": "features of stages",
    "pooled": "pooled features",
    "final_map": "the feature map before the pooling",
}
_distillers: dict[str, type[Distiller]] = {}
_sources: dict[str, str] = {}  # source code of plug-in methods, as it was when they were loaded

DistillerClass = TypeVar("DistillerClass", bound=type[Distiller])


def register(
    config: type[MethodConfig], stand: Mapping[str, float] | None = None
) -> Callable[[DistillerClass], DistillerClass]:
    """Decorate a ``Distiller`` to make its method known by the name in its config.

    Args:
        config: hyper-parameters of the method; those of a plug-in all have defaults.
        stand: base temperature, kd_weight and all other hyper-parameters that standardization
            changes; None if the method has no standardized form. Built-in methods have it in
            their YAML file.

    Returns:
        The decorator.

    Raises:
        RequestError: the name, the hyper-parameters or ``required_features`` are invalid.
    """

    def decorator(distiller: DistillerClass) -> DistillerClass:
        _check_class(config, distiller)
        path = Path(inspect.getfile(distiller))
        is_builtin = distiller.__module__.startswith(f"{__package__}.")
        register_method(config, stand, path, is_builtin)
        name = config.method_name()
        _distillers[name] = distiller
        if not is_builtin:
            with tokenize.open(path) as file:
                _sources[name] = file.read()
        return distiller

    return decorator


def _check_class(config: type[MethodConfig], distiller: type[Distiller]) -> None:
    missing = [key for key in distiller.required_fields if key not in config.model_fields]
    if missing:
        raise RequestError(
            f"{config.__name__}: {distiller.__name__} requires the fields {', '.join(missing)}"
        )
    features = distiller.required_features
    is_feature_method = issubclass(config, FeatureMethodConfig)
    if not set(features) <= set(FEATURE_FIELDS) or (is_feature_method and not features):
        raise RequestError(
            f"{distiller.__name__}: required_features must name some of {', '.join(FEATURE_FIELDS)}"
        )


def distiller_class(name: str) -> type[Distiller]:
    """The distiller of a registered method."""
    return _distillers[name]


def method_source(preset: Preset) -> str | None:
    """Source code of the file that defines a preset's method; None for built-in methods."""
    return _sources.get(preset.method.name)
