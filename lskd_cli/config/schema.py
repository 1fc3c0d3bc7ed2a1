"""The keys of a preset, their types, their bounds."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Percent = Annotated[float, Field(ge=0, le=100)]


class Part(BaseModel):
    """A part of a preset: unknown keys are refused, values are not converted, nothing changes."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Data(Part):
    """The images and how a training view of them is made."""

    name: Literal["cifar100", "digits"]
    batch_size: Count  # the last partial batch of an epoch is kept
    padding: Annotated[int, Field(ge=0, le=32)]  # black pixels on each side before the 32x32 crop
    flip: bool  # mirror every second image on average
    mean: Annotated[list[float], Field(min_length=3, max_length=3)]  # per channel, images in 0..1
    std: Annotated[list[Positive], Field(min_length=3, max_length=3)]
    seed: Seed = 0  # of order and augmentation, with the epoch: students of one pass share them
    val_split: Share = 0.0  # share of the training images held out to choose the best epoch


class Optimizer(Part):
    """Stochastic gradient descent."""

    name: Literal["sgd"] = "sgd"
    lr: Positive
    momentum: Share
    weight_decay: NonNegative


class Schedule(Part):
    """Length of training; the learning rate is multiplied by gamma after each milestone epoch."""

    epochs: Count
    milestones: list[Count]
    gamma: Positive

    @model_validator(mode="after")
    def _in_order(self) -> "Schedule":
        if self.milestones != sorted(self.milestones):
            raise ValueError("milestones must not decrease")
        return self

    def rescaled(self, epochs: int) -> "Schedule":
        """The same schedule over another number of epochs: drops at the same shares of it."""
        # Rounded up: a drop comes once its share of training is over.
        milestones = [-(-milestone * epochs // self.epochs) for milestone in self.milestones]
        return Schedule(epochs=epochs, milestones=milestones, gamma=self.gamma)


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


Method = Annotated[
    VanillaMethod | KDMethod | DKDMethod | MLKDMethod | CTKDMethod, Field(discriminator="name")
]


class Stand(Part):
    """Logit standardization: whether it is on, and what it changes in the method."""

    enabled: bool = False
    temperature: Positive  # the base temperature: multiples of a sample's standard deviation
    kd_weight: NonNegative
    beta: NonNegative | None = None
    temperature_range: NonNegative | None = None

    def changes(self) -> dict[str, float]:
        """Hyper-parameters of the method that standardization replaces."""
        return self.model_dump(exclude={"enabled"}, exclude_none=True)


class Published(Part):
    """Published top-1 accuracies in percent: best epoch on the test set."""

    top1: Percent | None = None
    top1_stand: Percent | None = None
    log: str | None = None  # name of the released log of the standardized run


class Preset(Part):
    """A recipe, a method and a teacher-student pair, fully resolved."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    teacher: str | None = None
    student: str
    data: Data
    optimizer: Optimizer
    schedule: Schedule
    method: Method
    stand: Stand | None = None
    published: Published = Published()
    seed: Seed = 0  # of initial weights

    @model_validator(mode="after")
    def _fits_together(self) -> "Preset":
        if self.method.name == "none":
            if self.teacher is not None:
                raise ValueError("teacher: method none learns from no teacher; remove it")
            if self.stand is not None:
                raise ValueError("stand: method none has no teacher logits to standardize")
        elif self.teacher is None:
            raise ValueError(f"teacher: method {self.method.name} needs one")
        if self.stand is not None:
            unknown = set(self.stand.changes()) - set(type(self.method).model_fields)
            if unknown:
                keys = ", ".join(f"stand.{key}" for key in sorted(unknown))
                raise ValueError(f"{keys}: method {self.method.name} has no such hyper-parameter")
        return self

    @property
    def standardized(self) -> bool:
        """Whether logits are standardized."""
        return self.stand is not None and self.stand.enabled

    @property
    def run_name(self) -> str:
        """Folder of its runs: the preset's name, with +stand where logits are standardized."""
        return f"{self.name}+stand" if self.standardized else self.name

    @property
    def run_path(self) -> str:
        """Where the run is among others: NAME/seedN."""
        return f"{self.run_name}/seed{self.seed}"

    def applied_method(self) -> Method:
        """The method with the hyper-parameters of standardization where it is on."""
        if self.stand is None or not self.stand.enabled:
            return self.method
        return self.method.model_copy(update=self.stand.changes())

    def with_stand(self, enabled: bool) -> "Preset":
        """The same preset with logit standardization on or off.

        Raises:
            ValueError: the method has no logits to standardize.
        """
        if self.stand is None:
            raise ValueError(f"method {self.method.name} has no teacher logits to standardize")
        return self.model_copy(update={"stand": self.stand.model_copy(update={"enabled": enabled})})
