"""From a method's name to its distiller."""

from typing import Any

from lskd_cli.config import Preset
from lskd_cli.distillers.base import Distiller
from lskd_cli.distillers.ctkd import CTKD
from lskd_cli.distillers.dist import DIST
from lskd_cli.distillers.dkd import DKD
from lskd_cli.distillers.guidance import Guidance
from lskd_cli.distillers.kd import KD
from lskd_cli.distillers.luminet import LumiNet
from lskd_cli.distillers.mlkd import MLKD
from lskd_cli.distillers.normkd import NormKD
from lskd_cli.distillers.rld import RLD
from lskd_cli.distillers.ttm import TTM
from lskd_cli.distillers.vanilla import Vanilla
from lskd_cli.errors import RequestError
from lskd_cli.models import feature_shapes, teacher_size

_DISTILLERS: dict[str, Any] = {
    "none": Vanilla,
    "kd": KD,
    "dkd": DKD,
    "mlkd": MLKD,
    "ctkd": CTKD,
    "guidance": Guidance,
    "normkd": NormKD,
    "ttm": TTM,
    "wttm": TTM,
    "rld": RLD,
    "luminet": LumiNet,
    "dist": DIST,
}


def reads_features(preset: Preset) -> bool:
    """Whether the method of a preset reads more of its teacher than logits."""
    return bool(_DISTILLERS[preset.method.name].needs_features)


def create_distiller(preset: Preset) -> Distiller:
    """The method of a preset, with the hyper-parameters that its standardization asks for.

    Raises:
        RequestError: it reads features that the preset's networks do not have.
    """
    method = preset.applied_method()
    kind = _DISTILLERS[method.name]
    if not reads_features(preset):
        distiller: Distiller = kind(method, preset.standardized)
        return distiller
    assert preset.teacher is not None
    size = preset.data.image_size
    of_student = feature_shapes(preset.student, size)
    of_teacher = feature_shapes(preset.teacher, teacher_size(preset.teacher, size))
    for name, shapes_of in ((preset.student, of_student), (preset.teacher, of_teacher)):
        if not shapes_of:
            raise RequestError(f"method {method.name} reads features; {name} gives no features")
    shapes = of_student, of_teacher
    of_features: Distiller = kind(method, preset.standardized, *shapes)
    return of_features
