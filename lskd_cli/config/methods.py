"""The hyper-parameters of methods that read logits alone."""

from typing import ClassVar, Literal

from lskd_cli.config.method import MethodSettings
from lskd_cli.config.parts import Count, NonNegative, Positive


class VanillaMethod(MethodSettings):
    """Cross entropy alone."""

    title: ClassVar[str] = "alone"
    name: Literal["none"]
    ce_weight: Positive = 1.0


class KDMethod(MethodSettings):
    """Hinton's distillation."""

    title: ClassVar[str] = "KD"
    name: Literal["kd"]
    temperature: Positive
    ce_weight: NonNegative
    kd_weight: NonNegative


class DKDMethod(MethodSettings):
    """Decoupled distillation; kd_weight multiplies alpha and beta."""

    title: ClassVar[str] = "DKD"
    in_epochs: ClassVar[tuple[str, ...]] = ("warmup",)
    name: Literal["dkd"]
    temperature: Positive
    ce_weight: NonNegative
    kd_weight: NonNegative = 1.0
    alpha: NonNegative
    beta: NonNegative
    warmup: Count  # epochs over which the distillation loss grows to its weight


class MLKDMethod(MethodSettings):
    """Multi-level logit distillation."""

    title: ClassVar[str] = "MLKD"
    compares_images: ClassVar[bool] = True
    name: Literal["mlkd"]
    temperature: Positive
    ce_weight: NonNegative
    kd_weight: NonNegative


class CTKDMethod(MethodSettings):
    """Curriculum temperature: from temperature to temperature + temperature_range."""

    title: ClassVar[str] = "CTKD"
    in_epochs: ClassVar[tuple[str, ...]] = ("ramp_epochs",)
    name: Literal["ctkd"]
    temperature: Positive
    temperature_range: NonNegative
    ramp_epochs: Count  # over which the gradient of the temperature is reversed
    ce_weight: NonNegative
    kd_weight: NonNegative


class NormKDMethod(MethodSettings):
    """KD at a multiple of the teacher's deviation."""

    title: ClassVar[str] = "NormKD"
    name: Literal["normkd"]
    t_norm: Positive
    ce_weight: NonNegative
    kd_weight: NonNegative


class TTMMethod(MethodSettings):
    """Transformed teacher matching."""

    title: ClassVar[str] = "TTM"
    name: Literal["ttm"]
    gamma: Positive  # power of the teacher's probabilities
    ce_weight: NonNegative
    kd_weight: NonNegative


class WTTMMethod(MethodSettings):
    """Transformed teacher matching, each sample weighted by its teacher's smoothness."""

    title: ClassVar[str] = "WTTM"
    name: Literal["wttm"]
    gamma: Positive
    ce_weight: NonNegative
    kd_weight: NonNegative


class RLDMethod(MethodSettings):
    """Refined logit distillation; kd_weight multiplies alpha and beta."""

    title: ClassVar[str] = "RLD"
    in_epochs: ClassVar[tuple[str, ...]] = ("warmup",)
    name: Literal["rld"]
    temperature: Positive
    alpha_temperature: Positive
    ce_weight: NonNegative
    kd_weight: NonNegative = 1.0
    alpha: NonNegative
    beta: NonNegative
    warmup: Count


class LumiNetMethod(MethodSettings):
    """Distillation of classes' perception over the batch."""

    title: ClassVar[str] = "LumiNet"
    in_epochs: ClassVar[tuple[str, ...]] = ("warmup",)
    compares_images: ClassVar[bool] = True
    name: Literal["luminet"]
    temperature: Positive
    alpha: Positive  # its square is the weight
    ce_weight: NonNegative
    kd_weight: NonNegative = 1.0
    warmup: Count


class DISTMethod(MethodSettings):
    """Distillation of correlations."""

    title: ClassVar[str] = "DIST"
    compares_images: ClassVar[bool] = True
    name: Literal["dist"]
    beta: NonNegative  # of the classes of a sample
    gamma: NonNegative  # of the samples for a class
    ce_weight: NonNegative
    kd_weight: NonNegative = 1.0
