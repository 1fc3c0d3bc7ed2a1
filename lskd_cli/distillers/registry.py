"""From a method's name to its distiller."""

import inspect
import tokenize
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from lskd_cli.config import MethodSettings, Preset, extend
from lskd_cli.distillers.at import AT
from lskd_cli.distillers.base import Distiller
from lskd_cli.distillers.crd import CRD
from lskd_cli.distillers.ctkd import CTKD
from lskd_cli.distillers.dist import DIST
from lskd_cli.distillers.dkd import DKD
from lskd_cli.distillers.features import FeatureDistiller, Pair
from lskd_cli.distillers.fitnet import FitNet
from lskd_cli.distillers.guidance import Guidance
from lskd_cli.distillers.kd import KD
from lskd_cli.distillers.kdsvd import KDSVD
from lskd_cli.distillers.luminet import LumiNet
from lskd_cli.distillers.mlkd import MLKD
from lskd_cli.distillers.normkd import NormKD
from lskd_cli.distillers.nst import NST
from lskd_cli.distillers.ofd import OFD
from lskd_cli.distillers.pkt import PKT
from lskd_cli.distillers.reviewkd import ReviewKD
from lskd_cli.distillers.rkd import RKD
from lskd_cli.distillers.rld import RLD
from lskd_cli.distillers.sp import SP
from lskd_cli.distillers.ttm import TTM
from lskd_cli.distillers.vanilla import Vanilla
from lskd_cli.distillers.vid import VID
from lskd_cli.errors import RequestError
from lskd_cli.models import Network, Shapes, feature_shapes, teacher_size

_DISTILLERS: dict[str, type[Distiller]] = {
    "none": Vanilla,
    "fitnet": FitNet,
    "at": AT,
    "nst": NST,
    "pkt": PKT,
    "kdsvd": KDSVD,
    "ofd": OFD,
    "rkd": RKD,
    "vid": VID,
    "sp": SP,
    "crd": CRD,
    "reviewkd": ReviewKD,
    "kd": KD,
    "dkd": DKD,
    "mlkd": MLKD,
    "ctkd": CTKD,
    "normkd": NormKD,
    "ttm": TTM,
    "wttm": TTM,
    "rld": RLD,
    "luminet": LumiNet,
    "dist": DIST,
    "guidance": Guidance,
}
_NAMES = {
    "feats": "features of stages",
    "preacts": "features of stages",
    "pooled": "pooled features",
}
_sources: dict[str, str] = {}  # of methods that are not shipped, as they were when loaded

Kind = TypeVar("Kind", bound=type[Distiller])


def register(
    settings: type[MethodSettings], stand: dict[str, float] | None = None
) -> Callable[[Kind], Kind]:
    """Make a method that is not shipped known by its name, for ``--preset NAME-PAIR``.

    Args:
        settings: its hyper-parameters, all with defaults.
        stand: the base temperature and the kd_weight of standardization, and what else it changes
            in them; None if there is nothing to standardize.

    Returns:
        A decorator of its ``Distiller``.

    Raises:
        RequestError: the name or the hyper-parameters are not such as a preset may have.
    """

    def known(kind: Kind) -> Kind:
        missing = [key for key in kind.settings if key not in settings.model_fields]
        if missing:
            raise RequestError(
                f"{settings.__name__}: {kind.__name__} needs {', '.join(missing)} among its keys"
            )
        if not set(kind.reads) <= set(_NAMES) or (
            issubclass(kind, FeatureDistiller) and not kind.reads
        ):
            raise RequestError(f"{kind.__name__}: reads is a tuple of {', '.join(_NAMES)}")
        path = Path(inspect.getfile(kind))
        extend(settings, stand, path)
        _DISTILLERS[settings.named()] = kind
        with tokenize.open(path) as file:
            _sources[settings.named()] = file.read()
        return kind

    return known


def method_source(preset: Preset) -> str | None:
    """The Python file that defines the method of a preset, if it is not shipped."""
    return _sources.get(preset.method.name)


def reads_features(preset: Preset) -> bool:
    """Whether the method of a preset reads more of its teacher than logits."""
    return bool(_DISTILLERS[preset.method.name].reads)


def create_distiller(
    preset: Preset, teacher: Network | None = None, targets: Tensor | None = None
) -> Distiller:
    """The method of a preset, with the hyper-parameters that its standardization asks for.

    Args:
        preset: its method, its networks.
        teacher: its network, where the method reads features.
        targets: (N,) classes of the training images on the CPU, likewise.

    Raises:
        RequestError: it reads features that the preset's networks do not have.
    """
    method = preset.applied_method()
    kind: Any = _DISTILLERS[method.name]
    distiller: Distiller
    if not kind.reads:
        distiller = kind(method, preset.standardized)
        return distiller
    assert preset.teacher is not None
    assert teacher is not None
    assert targets is not None
    size = preset.data.image_size
    of_student = feature_shapes(preset.student, size)
    of_teacher = feature_shapes(preset.teacher, teacher_size(preset.teacher, size))
    for name, shapes in ((preset.student, of_student), (preset.teacher, of_teacher)):
        missing = [_NAMES[field] for field in kind.reads if not _has(shapes, field)]
        if missing:
            raise RequestError(f"method {method.name} reads {missing[0]}; {name} gives none")
    distiller = kind(method, preset.standardized, Pair(of_student, of_teacher, teacher, targets))
    return distiller


def _has(shapes: Shapes, field: str) -> bool:
    if field == "pooled":
        return shapes.pooled > 0
    return len(shapes.feats) > 1  # a stem and stages; those without preacts end unactivated
