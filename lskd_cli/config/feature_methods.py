"""The hyper-parameters of methods that read features."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from lskd_cli.config.method import FeatureMethod, MethodSettings
from lskd_cli.config.parts import Count, NonNegative, Positive, Share

Layers = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


class FitNetMethod(FeatureMethod):
    """A hint of one stage."""

    title: ClassVar[str] = "FitNet"
    name: Literal["fitnet"]
    hint_stage: Count = 2  # from 1 on, after the stem


class ATMethod(FeatureMethod):
    """Attention transfer."""

    title: ClassVar[str] = "AT"
    name: Literal["at"]
    p: Positive = 2.0  # power of the attention


class NSTMethod(FeatureMethod):
    """Neuron selectivity transfer."""

    title: ClassVar[str] = "NST"
    name: Literal["nst"]


class PKTMethod(FeatureMethod):
    """Probabilistic knowledge transfer."""

    title: ClassVar[str] = "PKT"
    compares_images: ClassVar[bool] = True
    name: Literal["pkt"]


class KDSVDMethod(FeatureMethod):
    """Distillation by singular value decomposition."""

    title: ClassVar[str] = "KDSVD"
    name: Literal["kdsvd"]
    k: Count = 1  # singular vectors of a stage


class OFDMethod(FeatureMethod):
    """Overhaul of feature distillation; feature_weight is the last stage's."""

    title: ClassVar[str] = "OFD"
    name: Literal["ofd"]


class RKDMethod(FeatureMethod):
    """Relational distillation."""

    title: ClassVar[str] = "RKD"
    compares_images: ClassVar[bool] = True
    name: Literal["rkd"]
    distance_weight: NonNegative = 25.0
    angle_weight: NonNegative = 50.0


class VIDMethod(FeatureMethod):
    """Variational information distillation."""

    title: ClassVar[str] = "VID"
    name: Literal["vid"]
    initial_variance: Positive = 5.0
    eps: Positive = 1e-5  # smallest variance

    @model_validator(mode="after")
    def _starts_above(self) -> "VIDMethod":
        if self.initial_variance <= self.eps:
            raise ValueError(f"initial_variance: not above eps, which is {self.eps}")
        return self


class SPMethod(FeatureMethod):
    """Similarity-preserving distillation."""

    title: ClassVar[str] = "SP"
    compares_images: ClassVar[bool] = True
    name: Literal["sp"]


class CRDMethod(FeatureMethod):
    """Contrastive representation distillation."""

    title: ClassVar[str] = "CRD"
    name: Literal["crd"]
    embedding: Count = 128  # numbers that features are brought to
    negatives: Count = 16384  # images of other classes that each is contrasted with
    # The exponential of its inverse has to be a number.
    contrast_temperature: Annotated[float, Field(ge=0.02)] = 0.07
    momentum: Share = 0.5  # of the remembered embeddings


class ReviewKDMethod(FeatureMethod):
    """Knowledge review."""

    title: ClassVar[str] = "ReviewKD"
    in_epochs: ClassVar[tuple[str, ...]] = ("warmup",)
    name: Literal["reviewkd"]
    warmup: Count = 20  # epochs over which the loss of the features grows to its weight


class GuidanceMethod(MethodSettings):
    """Locality guidance: layers of the student that imitate stages of the teacher."""

    title: ClassVar[str] = "locality guidance"
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
