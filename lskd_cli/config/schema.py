"""The keys of a preset, their types, their bounds."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lskd_cli.config.method import Method
from lskd_cli.config.parts import Count, NonNegative, Part, Percent, Positive, Seed, Share

# Of a method of features alone.
NO_LOGITS = "method {} reads no logits; --set method.kd_weight=0.9 adds KD's loss of them"
CROP_SIZE = 32  # of the images that padded crops are made of, in pixels


class Augmentation(Part):
    """Random crops of any size, enlarged, in place of padded ones; with a policy, as timm does."""

    # Of RandAugment, as timm writes it: m magnitude, mstd its deviation, inc1 for more with more.
    policy: Annotated[str, Field(pattern=r"^rand(-[a-z]+[0-9.]+)*$")] | None = None
    interpolation: Literal["bilinear", "bicubic"]
    erasing: Annotated[float, Field(ge=0, le=1)] = 0.0  # share of images with a patch of noise
    pipeline: Literal["device", "workers"] = "device"  # batches there, or images by timm on CPUs


class Data(Part):
    """The images and how a training view of them is made."""

    name: Literal["cifar100", "digits", "imagenet", "imagefolder"]
    num_classes: Count | None = None  # of an image folder; None where the name says it
    image_size: Annotated[int, Field(ge=8, le=1024)] = CROP_SIZE  # pixels that a student sees
    batch_size: Count
    drop_last: bool = False  # leave the last partial batch of an epoch out
    padding: Annotated[int, Field(ge=0, le=32)] = 0  # black pixels on each side before the crop
    flip: bool  # mirror every second image on average
    augmentation: Augmentation | None = None  # None cuts padded crops
    # Side of a test crop, as a share of the shorter side of the image it is cut from.
    test_crop: Annotated[float, Field(gt=0, le=1)] = 1.0
    mean: Annotated[list[float], Field(min_length=3, max_length=3)]  # per channel, images in 0..1
    std: Annotated[list[Positive], Field(min_length=3, max_length=3)]
    seed: Seed = 0  # of order and augmentation, with the epoch: students of one pass share them
    val_split: Share = 0.0  # share of the training images held out to choose the best epoch
    limit_train: Count | None = None  # so many training images, classes in proportion

    @model_validator(mode="after")
    def _cut_one_way(self) -> "Data":
        if self.augmentation is None and self.image_size != CROP_SIZE:
            raise ValueError(
                f"image_size: padded crops have {CROP_SIZE} pixels; other sizes need augmentation"
            )
        if self.augmentation is not None and self.padding > 0:
            raise ValueError("padding: of padded crops only; with augmentation it is 0")
        return self

    @model_validator(mode="after")
    def _from_files(self) -> "Data":
        if self.name == "imagefolder" and self.num_classes is None:
            raise ValueError("num_classes: needed; --dataset imagefolder --data-dir DIR reads it")
        if self.name != "imagefolder" and self.num_classes is not None:
            raise ValueError(f"num_classes: of name imagefolder only; {self.name} has its own")
        workers = self.augmentation is not None and self.augmentation.pipeline == "workers"
        if self.on_disk and not workers:
            raise ValueError("augmentation.pipeline: workers, for images in files of any size")
        if self.test_crop < 1 and not self.on_disk:
            raise ValueError("test_crop: of images in files only; others are seen whole")
        return self

    @property
    def on_disk(self) -> bool:
        """Whether the images stay in files, which workers read, instead of in memory."""
        return self.name in ("imagenet", "imagefolder")


class Optimizer(Part):
    """Stochastic gradient descent, or AdamW (arXiv:1711.05101, with PyTorch's betas and epsilon).

    AdamW decays neither one-dimensional parameters nor class tokens and positions.
    """

    name: Literal["sgd", "adamw"] = "sgd"
    lr: Positive
    momentum: Share = 0.0
    nesterov: bool = False
    weight_decay: NonNegative
    clip_norm: Positive | None = None  # largest norm of the gradient of all parameters together
    # Parts that a batch is learnt in, for less memory; batch norms see one part at a time.
    accumulate: Count = 1

    @model_validator(mode="after")
    def _of_its_kind(self) -> "Optimizer":
        if self.name == "adamw" and (self.momentum or self.nesterov):
            raise ValueError("momentum, nesterov: of sgd only; adamw has its own")
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov: needs momentum above 0")
        return self


class Schedule(Part):
    """Length of training, and the learning rate on the way.

    steps: it is multiplied by gamma after each milestone epoch. cosine: from a share of lr over the
    warm-up to the curve that falls from lr to min_lr, epoch by epoch.
    """

    name: Literal["steps", "cosine"] = "steps"
    epochs: Count
    milestones: Annotated[list[Count], Field(default_factory=list)]
    gamma: Positive = 0.1
    min_lr: NonNegative = 0.0
    warmup_epochs: Annotated[int, Field(ge=0)] = 0
    warmup_start: Share = 0.0  # share of lr at the start of the warm-up

    @model_validator(mode="after")
    def _of_its_kind(self) -> "Schedule":
        if self.milestones != sorted(self.milestones):
            raise ValueError("milestones must not decrease")
        if self.name == "cosine" and self.milestones:
            raise ValueError("milestones: of steps only; cosine has none")
        if self.name == "steps" and (self.min_lr or self.warmup_epochs or self.warmup_start):
            raise ValueError("min_lr, warmup_epochs, warmup_start: of cosine only")
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs: {self.warmup_epochs} are no part of {self.epochs} epochs; "
                "--epochs brings everything to another length"
            )
        return self

    def rescaled(self, epochs: int) -> "Schedule":
        """The same schedule over another number of epochs: everything at the same shares of it."""
        # Rounded up: a drop comes once its share of training is over.
        milestones = [-(-milestone * epochs // self.epochs) for milestone in self.milestones]
        warmup = self.warmup_epochs * epochs // self.epochs
        changes = {"epochs": epochs, "milestones": milestones, "warmup_epochs": warmup}
        return self.model_copy(update=changes)


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
    drop_path: Share = 0.0  # share of images that skip the last layer of a transformer in training
    data: Data
    optimizer: Optimizer
    schedule: Schedule
    method: Method
    stand: Stand | None = None
    published: Published = Published()
    seed: Seed = 0  # of initial weights
    # Whether batch norms see the whole batch where several processes share it, or each its part.
    sync_batchnorm: bool = False

    @model_validator(mode="after")
    def _fits_together(self) -> "Preset":
        if self.method.name == "none":
            if self.teacher is not None:
                raise ValueError("teacher: method none learns from no teacher; remove it")
            if self.stand is not None:
                raise ValueError("stand: method none has no teacher logits to standardize")
        elif self.teacher is None:
            raise ValueError(f"teacher: method {self.method.name} needs one")
        if self.schedule.min_lr > self.optimizer.lr:
            raise ValueError(f"schedule.min_lr: above optimizer.lr, which is {self.optimizer.lr}")
        if self.method.compares_images and self.optimizer.accumulate > 1:
            raise ValueError(
                f"optimizer.accumulate: {self.method.name} compares the images of a whole batch; 1"
            )
        seen = self.data.augmentation
        by_timm = seen is not None and (seen.policy is not None or seen.erasing > 0)
        if self.method.name == "mlkd" and by_timm and seen and seen.pipeline == "workers":
            raise ValueError(
                "data.augmentation.pipeline: workers make no strong view of a policy or erasing, "
                "which mlkd reads; device"
            )
        if self.stand is not None:
            unknown = set(self.stand.changes()) - set(self.method.model_dump())
            if unknown:
                keys = ", ".join(f"stand.{key}" for key in sorted(unknown))
                raise ValueError(f"{keys}: method {self.method.name} has no such hyper-parameter")
            if self.stand.enabled and not self.method.reads_logits:
                raise ValueError(f"stand.enabled: {NO_LOGITS.format(self.method.name)}")
        return self

    @property
    def can_standardize(self) -> bool:
        """Whether there are logits to standardize, and settings for them."""
        return self.stand is not None and self.method.reads_logits

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

    def rescaled(self, epochs: int) -> "Preset":
        """The same training over another number of epochs: everything at the same shares of it."""
        changes = {
            "schedule": self.schedule.rescaled(epochs),
            "method": self.method.model_copy(
                update=self.method.rescaled(self.schedule.epochs, epochs)
            ),
        }
        return self.model_copy(update=changes)

    def with_stand(self, enabled: bool) -> "Preset":
        """The same preset with logit standardization on or off.

        Raises:
            ValueError: the method has no logits to standardize.
        """
        if self.stand is None:
            raise ValueError(f"method {self.method.name} has no teacher logits to standardize")
        if enabled and not self.can_standardize:
            raise ValueError(NO_LOGITS.format(self.method.name))
        return self.model_copy(update={"stand": self.stand.model_copy(update={"enabled": enabled})})
