"""Base classes of the hyper-parameters of distillation methods."""

from typing import ClassVar, get_args

from pydantic import ConfigDict, NonNegativeFloat, PositiveFloat

from lskd_cli.config.types import ConfigModel, View
from lskd_cli.errors import RequestError


class MethodConfig(ConfigModel):
    """Hyper-parameters of a method; ``name`` is a literal in every subclass.

    Attributes:
        title: label of the method in tables; built-in methods have it in their YAML file.
        views: views of each image that the method uses.
        needs_teacher: whether the method uses outputs of a teacher.
        epoch_fields: hyper-parameters that count epochs, which ``--epochs`` rescales.
        uses_batch_relations: whether the loss of an image depends on the other images of its batch.
        uses_image_index: whether the method remembers single training images.
        search_fields: hyper-parameters that ``lskd tune`` searches by default, if they exist.
    """

    title: ClassVar[str] = ""
    views: ClassVar[tuple[View, ...]] = ("weak",)
    needs_teacher: ClassVar[bool] = True
    epoch_fields: ClassVar[tuple[str, ...]] = ()
    uses_batch_relations: ClassVar[bool] = False
    uses_image_index: ClassVar[bool] = False
    search_fields: ClassVar[tuple[str, ...]] = ("temperature", "kd_weight")
    name: str

    @classmethod
    def method_name(cls) -> str:
        """The only value that ``name`` allows.

        Raises:
            RequestError: ``name`` is not a literal with one value.
        """
        names = get_args(cls.model_fields["name"].annotation)
        if len(names) != 1 or not isinstance(names[0], str):
            raise RequestError(f'{cls.__name__}: name must be a literal, such as Literal["mine"]')
        return names[0]

    @property
    def uses_logits(self) -> bool:
        """Whether the loss has a term of the teacher's logits."""
        return self.needs_teacher

    @property
    def searched_fields(self) -> tuple[str, ...]:
        """The ``search_fields`` that have an effect; all are positive numbers."""
        return tuple(field for field in self.search_fields if field in type(self).model_fields)

    def student_model(self, student: str, teacher: str | None) -> str:
        """Name of the network that is trained, which a method may extend."""
        return student

    def data_problem(self, num_classes: int, on_disk: bool) -> str | None:
        """Which hyper-parameter does not fit the data, and why; None if all do.

        Args:
            num_classes: number of classes.
            on_disk: whether the images are read from files instead of memory.
        """
        return None

    def rescale_epochs(self, before: int, after: int) -> dict[str, int]:
        """Values of ``epoch_fields`` when training lasts ``after`` instead of ``before`` epochs.

        Every value keeps its fraction of the training, rounded up.
        """
        return {key: -(-getattr(self, key) * after // before) for key in self.epoch_fields}


class FeatureMethodConfig(MethodConfig):
    """Hyper-parameters of a feature method; with a positive kd_weight, the KD loss is added."""

    ce_weight: NonNegativeFloat = 1.0
    feature_weight: NonNegativeFloat
    kd_weight: NonNegativeFloat = 0.0
    temperature: PositiveFloat = 4.0  # of the KD loss

    @property
    def uses_logits(self) -> bool:
        """Whether the KD loss is added."""
        return self.kd_weight > 0

    @property
    def searched_fields(self) -> tuple[str, ...]:
        """The weight of the feature loss, and temperature and weight of an added KD loss."""
        return ("feature_weight", *(super().searched_fields if self.uses_logits else ()))


class UnknownMethod(MethodConfig):
    """A method that is not loaded in this process, of a run that is only read."""

    model_config = ConfigDict(extra="allow")
