"""The hyper-parameters of each method."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from lskd_cli.config.parts import Count, NonNegative, Part, Positive

Layers = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


class _Method(Part):
    """What the hyper-parameters of all methods have in common.

    Attributes:
        in_epochs: names of those that count epochs.
    """

    in_epochs: ClassVar[tuple[str, ...]] = ()

    def rescaled(self, before: int, after: int) -> dict[str, int]:
        """What changes where ``before`` epochs become ``after``: the same shares, rounded up."""
        return {key: -(-getattr(self, key) * after // before) for key in self.in_epochs}


class VanillaMethod(_Method):
    """Cross entropy alone."""

    name: Literal["none"]
    ce_weight: Positive = 1.0


class KDMethod(_Method):
    """Hinton's distillation."""

    name: Literal["kd"]
    temperature: Positive
    ce_weight: NonNegative
    kd_weight: NonNegative


class DKDMethod(_Method):
    """Decoupled distillation; kd_weight multiplies alpha and beta."""

    in_epochs = ("warmup",)
    name: Literal["dkd"]
    temperature: Positive
    ce_weight: NonNegative
    kd_weight: NonNegative = 1.0
    alpha: NonNegative
    beta: NonNegative
    warmup: Count  # epochs over which the distillation loss grows to its weight


class MLKDMethod(_Method):
    """Multi-level logit distillation."""

    name: Literal["mlkd"]
    temperature: Positive
    ce_weight: NonNegative
    kd_weight: NonNegative


class CTKDMethod(_Method):
    """Curriculum temperature: from temperature to temperature + temperature_range."""

    in_epochs = ("ramp_epochs",)
    name: Literal["ctkd"]
    temperature: Positive
    temperature_range: NonNegative
    ramp_epochs: Count  # over which the gradient of the temperature is reversed
    ce_weight: NonNegative
    kd_weight: NonNegative


class GuidanceMethod(_Method):
    """Locality guidance: layers of the student that imitate stages of the teacher."""

    name: Literal["guidance"]
    ce_weight: NonNegative
    guidance_weight: NonNegative
    teacher_stages: Layers  # counted from 0, after the stem
    student_layers: Layers  # one for each of the stages

    @model_validator(mode="after")
    def _in_pairs(self) -> "GuidanceMethod":
        if len(self.teacher_stages) != len(self.student_layers):
            raise ValueError(
                f"student_layers: {len(self.student_layers)} layers for "
                f"{len(self.teacher_stages)} teacher_stages; name one for each"
            )
        return self


class NormKDMethod(_Method):
    """KD at a multiple of the teacher's deviation."""

    name: Literal["normkd"]
    t_norm: Positive
    ce_weight: NonNegative
    kd_weight: NonNegative


class TTMMethod(_Method):
    """Transformed teacher matching."""

    name: Literal["ttm"]
    gamma: Positive  # power of the teacher's probabilities
    ce_weight: NonNegative
    kd_weight: NonNegative


class WTTMMethod(_Method):
    """Transformed teacher matching, each sample weighted by its teacher's smoothness."""

    name: Literal["wttm"]
    gamma: Positive
    ce_weight: NonNegative
    kd_weight: NonNegative


class RLDMethod(_Method):
    """Refined logit distillation; kd_weight multiplies alpha and beta."""

    in_epochs = ("warmup",)
    name: Literal["rld"]
    temperature: Positive
    alpha_temperature: Positive
    ce_weight: NonNegative
    kd_weight: NonNegative = 1.0
    alpha: NonNegative
    beta: NonNegative
    warmup: Count


class LumiNetMethod(_Method):
    """Distillation of classes' perception over the batch."""

    in_epochs = ("warmup",)
    name: Literal["luminet"]
    temperature: Positive
    alpha: Positive  # its square is the weight
    ce_weight: NonNegative
    kd_weight: NonNegative = 1.0
    warmup: Count


class DISTMethod(_Method):
    """Distillation of correlations."""

    name: Literal["dist"]
    beta: NonNegative  # of the classes of a sample
    gamma: NonNegative  # of the samples for a class
    ce_weight: NonNegative
    kd_weight: NonNegative = 1.0


Method = Annotated[
    VanillaMethod
    | KDMethod
    | DKDMethod
    | MLKDMethod
    | CTKDMethod
    | GuidanceMethod
    | NormKDMethod
    | TTMMethod
    | WTTMMethod
    | RLDMethod
    | LumiNetMethod
    | DISTMethod,
    Field(discriminator="name"),
]
