"""The hyper-parameters of each method."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lskd_cli.config.parts import Count, NonNegative, Part, Positive

Layers = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


class VanillaMethod(Part):
    """Cross entropy alone."""

    name: Literal["none"]
    ce_weight: Positive = 1.0


class KDMethod(Part):
    """Hinton's distillation."""

    name: Literal["kd"]
    temperature: Positive
    ce_weight: NonNegative
    kd_weight: NonNegative


class DKDMethod(Part):
    """Decoupled distillation; kd_weight multiplies alpha and beta."""

    name: Literal["dkd"]
    temperature: Positive
    ce_weight: NonNegative
    kd_weight: NonNegative = 1.0
    alpha: NonNegative
    beta: NonNegative
    warmup: Count  # epochs over which the distillation loss grows to its weight


class MLKDMethod(Part):
    """Multi-level logit distillation."""

    name: Literal["mlkd"]
    temperature: Positive
    ce_weight: NonNegative
    kd_weight: NonNegative


class CTKDMethod(Part):
    """Curriculum temperature: from temperature to temperature + temperature_range."""

    name: Literal["ctkd"]
    temperature: Positive
    temperature_range: NonNegative
    ramp_epochs: Count  # over which the gradient of the temperature is reversed
    ce_weight: NonNegative
    kd_weight: NonNegative


class GuidanceMethod(Part):
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


Method = Annotated[
    VanillaMethod | KDMethod | DKDMethod | MLKDMethod | CTKDMethod | GuidanceMethod,
    Field(discriminator="name"),
]
