"""The keys of a preset with their types and bounds."""

from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from lskd_cli.config.data_settings import Data
from lskd_cli.config.methods.base import UnknownMethod
from lskd_cli.config.methods.registry import Method
from lskd_cli.config.types import (
    ConfigModel,
    Fraction,
    ModelName,
    Percent,
    Seed,
)
from lskd_cli.errors import RequestError
from lskd_cli.io.printable import short_repr

# Why two classes cannot be standardized.
TWO_CLASSES = (
    "with two classes, standardized logits are always -0.71 and 0.71, so that nothing is learned "
    "from them"
)
MAX_EPOCHS = 100_000
_MAX_NAME = 100  # characters
_AND = "+"  # between the names of several teachers
_EQUAL_BUDGET = "-equal"  # end of the name of a preset with fewer epochs than its recipe


def no_logits_message(method: Method) -> str:
    """Why a method without the teacher's logits has no temperature and cannot be standardized."""
    message = f"method {method.name} uses no logits"
    if "kd_weight" in type(method).model_fields:
        message += "; add a KD term with --set method.kd_weight=0.9"
    return message


class Optimizer(ConfigModel):
    """Stochastic gradient descent, DOT, or AdamW (arXiv:1711.05101, PyTorch's betas and epsilon).

    DOT (arXiv:2307.08436) is stochastic gradient descent with a smaller momentum of the gradients
    of the cross entropy and a larger one of those of all other losses.
    AdamW applies no weight decay to one-dimensional parameters, class tokens and position
    embeddings.
    """

    name: Literal["sgd", "adamw", "dot"] = "sgd"
    lr: PositiveFloat
    momentum: Fraction = 0.0
    # Difference of the two momenta of dot from momentum; the paper has 0.075, and 0.09 on ImageNet.
    delta: Fraction | None = None
    nesterov: bool = False
    weight_decay: NonNegativeFloat
    # Largest norm of the gradient of all parameters together.
    clip_grad_norm: PositiveFloat | None = None
    # Micro-batches per step, which save memory; each has its own batch-norm statistics.
    grad_accum_steps: PositiveInt = 1  # at most data.batch_size
    # Learning rate of all layers but the classifier, as a fraction of lr.
    backbone_lr_scale: Annotated[float, Field(ge=0, le=1)] = 1.0
    # Every layer has this fraction of the rate of the layer above it, as in timm; adamw only.
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = None
    # Decay per step of an exponential moving average of the weights, evaluated and saved too; it
    # is lower in the first steps.
    ema_decay: Fraction | None = None

    @model_validator(mode="after")
    def _check_momentum(self) -> "Optimizer":
        if self.name == "adamw" and (self.momentum or self.nesterov):
            raise ValueError("momentum, nesterov: only valid with sgd")
        if self.nesterov and self.name == "dot":
            raise ValueError("nesterov: only valid with sgd")
        if self.delta is not None and self.name != "dot":
            raise ValueError("delta: only valid with dot")
        if self.name == "dot" and not self.dot_delta <= self.momentum < 1 - self.dot_delta:
            raise ValueError(
                f"momentum: must be from delta ({self.dot_delta:g}) to below 1 - delta with dot"
            )
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov: requires momentum above 0")
        if self.layer_decay is not None and self.name != "adamw":
            raise ValueError("layer_decay: only valid with adamw")
        if self.layer_decay is not None and self.backbone_lr_scale != 1:
            raise ValueError("backbone_lr_scale: must be 1 with layer_decay")
        return self

    @property
    def dot_delta(self) -> float:
        """``delta``, or the value of the paper for CIFAR-100."""
        return 0.075 if self.delta is None else self.delta


class Schedule(ConfigModel):
    """Length of training and the learning-rate schedule.

    multistep: the rate is multiplied by gamma after each milestone epoch. cosine: a linear warm-up
    from a fraction of lr, then a cosine from lr to min_lr, changed once per epoch.
    """

    name: Literal["multistep", "cosine"] = "multistep"
    epochs: Annotated[int, Field(ge=1, le=MAX_EPOCHS)]
    milestones: Annotated[list[PositiveInt], Field(default_factory=list)]
    gamma: PositiveFloat = 0.1
    min_lr: NonNegativeFloat = 0.0
    warmup_epochs: NonNegativeInt = 0
    warmup_start: Fraction = 0.0  # fraction of lr at the start of the warm-up

    @model_validator(mode="after")
    def _check_schedule(self) -> "Schedule":
        if self.milestones != sorted(self.milestones):
            raise ValueError("milestones: must be sorted")
        if self.name == "cosine" and self.milestones:
            raise ValueError("milestones: only valid with multistep")
        if self.name == "multistep" and (self.min_lr or self.warmup_epochs or self.warmup_start):
            raise ValueError("min_lr, warmup_epochs, warmup_start: only valid with cosine")
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs: must be smaller than epochs ({self.epochs}), not "
                f"{self.warmup_epochs}; --epochs rescales the whole schedule"
            )
        return self

    def with_epochs(self, epochs: int) -> "Schedule":
        """The same schedule over another number of epochs: all events at the same fractions."""
        # Rounded up, so that a rate drop never comes before its fraction of the training.
        milestones = [-(-milestone * epochs // self.epochs) for milestone in self.milestones]
        warmup = self.warmup_epochs * epochs // self.epochs
        update = {"epochs": epochs, "milestones": milestones, "warmup_epochs": warmup}
        return self.model_copy(update=update)


class Standardization(ConfigModel):
    """Logit standardization: whether it is enabled, and the hyper-parameters that it changes.

    Further keys are hyper-parameters of the method, such as ``beta`` of dkd.
    """

    model_config = ConfigDict(extra="allow")

    enabled: bool = False
    temperature: PositiveFloat  # base temperature, in multiples of a sample's standard deviation
    kd_weight: NonNegativeFloat

    def overrides(self) -> dict[str, Any]:
        """Values that replace hyper-parameters of the method."""
        return self.model_dump(exclude={"enabled"}, exclude_none=True)


class Published(ConfigModel):
    """Published top-1 accuracies in percent, of the best epoch on the test set."""

    top1: Percent | None = None
    top1_stand: Percent | None = None
    # Name of the released log of the standardized run.
    log: Annotated[str, Field(pattern=r"^[\w.,/+-]+$")] | None = None


class Teachers(ConfigModel):
    """How a loss uses several teachers.

    probabilities: one loss of the mean of their softmax outputs at the temperature of the method,
    or of the mean of their standardized logits. losses: the mean of the losses with each of them.
    """

    combine: Literal["probabilities", "losses"] = "probabilities"
    weights: Annotated[list[PositiveFloat], Field(min_length=2)] | None = None  # equal by default


def _join_teachers(value: Any) -> Any:
    """A list of networks as one string."""
    if isinstance(value, list) and value and all(isinstance(name, str) for name in value):
        return _AND.join(value)
    return value


class Preset(ConfigModel):
    """A recipe, a method and a teacher-student pair, fully resolved."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=_MAX_NAME)]
    teacher: Annotated[ModelName | None, BeforeValidator(_join_teachers)] = None  # or a list
    teachers: Teachers | None = None  # how several of them are combined
    student: ModelName
    # Weights from which the student starts: a file or a run folder, or "pretrained" for those of
    # torchvision or timm.
    init: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    label_smoothing: Fraction = 0.0  # of the cross entropy (arXiv:1512.00567)
    drop_path: Fraction = 0.0  # stochastic depth rate of the last layer of a transformer
    data: Data
    optimizer: Optimizer
    schedule: Schedule
    method: Method
    stand: Standardization | None = None
    published: Published = Published()
    seed: Seed = 0  # random seed of weight initialization
    # Batch-norm statistics over all processes of a run, instead of one process's part of the batch.
    sync_batchnorm: bool = False

    @model_validator(mode="after")
    def _check_teacher(self) -> "Preset":
        method = self.method
        if isinstance(method, UnknownMethod):
            return self
        if method.needs_teacher and self.teacher is None:
            raise ValueError(f"teacher: method {method.name} needs one")
        if not method.needs_teacher and self.teacher is not None:
            raise ValueError(f"teacher: method {method.name} uses no teacher; remove it")
        if not method.needs_teacher and self.stand is not None:
            raise ValueError(f"stand: method {method.name} has no teacher logits to standardize")
        if self.teachers is not None:
            count = len(self.teacher_names)
            if count < 2:
                raise ValueError("teachers: only valid with several teachers")
            if len(self.teachers.weights or self.teacher_names) != count:
                raise ValueError(f"teachers.weights: needs {count} values, one for each teacher")
        return self

    @model_validator(mode="after")
    def _check_combination(self) -> "Preset":
        if self.schedule.min_lr > self.optimizer.lr:
            raise ValueError(f"schedule.min_lr: must not exceed optimizer.lr ({self.optimizer.lr})")
        if self.optimizer.grad_accum_steps > self.data.batch_size:
            raise ValueError(
                "optimizer.grad_accum_steps: must not exceed data.batch_size "
                f"({self.data.batch_size})"
            )
        method = self.method
        if method.uses_batch_relations and self.optimizer.grad_accum_steps > 1:
            raise ValueError(
                f"optimizer.grad_accum_steps: must be 1 with method {method.name}, which compares "
                "the images of a whole batch"
            )
        if self.init is not None and self.student_model != self.student:
            raise ValueError(f"init: not supported with method {method.name}")
        data = self.data
        if (problem := method.data_problem(data.class_count, data.on_disk)) is not None:
            raise ValueError(f"method.{problem}")
        if self.data.is_mixed and method.uses_image_index:
            raise ValueError(
                f"data.mixup, data.cutmix: must be 0 with method {method.name}, which remembers "
                "single images"
            )
        return self

    @model_validator(mode="after")
    def _check_standardization(self) -> "Preset":
        if self.stand is None or isinstance(self.method, UnknownMethod):
            return self
        keys = type(self.method).model_fields.keys() - {"name"}
        for key in self.stand.overrides():
            if key not in keys:
                near = get_close_matches(key, keys, n=1, cutoff=0.6) or sorted(keys)
                raise ValueError(
                    f"stand.{key}: method {self.method.name} has no such hyper-parameter; nearest: "
                    + ", ".join(f"stand.{name}" for name in near)
                )
        try:
            type(self.method).model_validate(self.method.model_dump() | self.stand.overrides())
        except ValidationError as error:
            detail = error.errors(include_url=False)[0]
            key = ".".join(map(str, detail["loc"]))
            text = detail["msg"].removeprefix("Input ")
            value = short_repr(detail["input"])
            raise ValueError(f"stand.{key}: {text}, not {value}") from None
        if self.stand.enabled and self.logits_problem is not None:
            raise ValueError(f"stand.enabled: {self.logits_problem}")
        return self

    @property
    def teacher_names(self) -> list[str]:
        """Networks of the teachers, in order; empty without a teacher."""
        return self.teacher.split(_AND) if self.teacher else []

    @property
    def teacher_weights(self) -> list[float]:
        """Weights of the teachers; only their ratios matter."""
        given = self.teachers.weights if self.teachers else None
        return given or [1.0] * len(self.teacher_names)

    def with_teacher(self, name: str) -> "Preset":
        """The same preset with one of its teachers."""
        return self.model_copy(update={"teacher": name, "teachers": None})

    @property
    def student_model(self) -> str:
        """Name of the network that is trained: the student, or what the method makes of it."""
        return self.method.student_model(self.student, self.teacher)

    @property
    def logits_problem(self) -> str | None:
        """Why nothing can be learned from standardized logits; None if it can."""
        if self.data.class_count == 2:
            return TWO_CLASSES
        return None if self.method.uses_logits else no_logits_message(self.method)

    @property
    def can_standardize(self) -> bool:
        """Whether there are settings of the standardization, and logits that it can standardize."""
        return self.stand is not None and self.logits_problem is None

    @property
    def standardized(self) -> bool:
        """Whether logits are standardized."""
        return self.stand is not None and self.stand.enabled

    @property
    def run_name(self) -> str:
        """Folder of its runs: the preset's name, with +dot for this optimizer, and +stand."""
        name = f"{self.name}+dot" if self.optimizer.name == "dot" else self.name
        return f"{name}+stand" if self.standardized else name

    @property
    def run_path(self) -> str:
        """Path of the run below the runs folder: NAME/seedN."""
        return f"{self.run_name}/seed{self.seed}"

    def effective_method(self) -> Method:
        """The method with the hyper-parameters of standardization if it is enabled."""
        if self.stand is None or not self.stand.enabled:
            return self.method
        return type(self.method).model_validate(self.method.model_dump() | self.stand.overrides())

    def with_epochs(self, epochs: int) -> "Preset":
        """The same training over another number of epochs: all events at the same fractions."""
        changed = self.method.rescale_epochs(self.schedule.epochs, epochs)
        update = {
            "schedule": self.schedule.with_epochs(epochs),
            "method": self.method.model_copy(update=changed),
        }
        return self.model_copy(update=update)

    @property
    def student_passes(self) -> int:
        """Passes of the student over the training images: epochs times views."""
        return self.schedule.epochs * len(self.method.views)

    @property
    def has_equal_budget(self) -> bool:
        """Whether its epochs come from ``with_student_passes``."""
        return self.name.endswith(_EQUAL_BUDGET)

    def with_student_passes(self, passes: int) -> "Preset":
        """The same training with another number of passes, under a name of its own.

        Raises:
            RequestError: the new name is too long.
            ValueError: the number is not divisible by that of views.
        """
        epochs, remainder = divmod(passes, len(self.method.views))
        if remainder or not epochs:
            raise ValueError(f"{passes} is not divisible by {len(self.method.views)} views")
        update = {"name": self.name_with(_EQUAL_BUDGET), "published": Published()}
        return self.with_epochs(epochs).model_copy(update=update)

    def name_with(self, suffix: str) -> str:
        """The name of a preset that is made from this one.

        Raises:
            RequestError: it is too long.
        """
        longest = _MAX_NAME - len(suffix)
        if len(self.name) > longest:
            raise RequestError(
                f"name: {self.name}: must have at most {longest} characters, because {suffix} is "
                "added to it; use --set name=SHORTER"
            )
        return self.name + suffix

    def with_stand(self, enabled: bool) -> "Preset":
        """The same preset with logit standardization on or off.

        Raises:
            ValueError: the method has no logits to standardize.
        """
        if self.stand is None:
            raise ValueError(f"method {self.method.name} has no teacher logits to standardize")
        if enabled and self.logits_problem is not None:
            raise ValueError(self.logits_problem)
        return self.model_copy(update={"stand": self.stand.model_copy(update={"enabled": enabled})})
