"""From a preset's method to its distiller."""

from typing import Any

from lskd_cli.config import Preset
from lskd_cli.distillers.base import Distiller
from lskd_cli.distillers.ctkd import CTKD
from lskd_cli.distillers.dkd import DKD
from lskd_cli.distillers.kd import KD
from lskd_cli.distillers.mlkd import MLKD
from lskd_cli.distillers.vanilla import Vanilla

_DISTILLERS: dict[str, Any] = {"none": Vanilla, "kd": KD, "dkd": DKD, "mlkd": MLKD, "ctkd": CTKD}


def create_distiller(preset: Preset) -> Distiller:
    """The method of a preset, with the hyper-parameters that its standardization asks for."""
    method = preset.applied_method()
    distiller: Distiller = _DISTILLERS[method.name](method, preset.standardized)
    return distiller
