"""What the hyper-parameters of all methods have in common, and which methods there are."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, get_args

from pydantic import BeforeValidator, ConfigDict, SerializeAsAny, ValidationInfo
from pydantic_core import PydanticCustomError

from lskd_cli.config.parts import NonNegative, Part, Positive
from lskd_cli.errors import RequestError


class MethodSettings(Part):
    """Hyper-parameters of a method; ``name`` is a literal in every subclass.

    Attributes:
        title: the method as the field's tables name it.
        in_epochs: names of hyper-parameters that count epochs.
        compares_images: whether the loss of an image depends on the others of its batch.
    """

    title: ClassVar[str] = ""
    in_epochs: ClassVar[tuple[str, ...]] = ()
    compares_images: ClassVar[bool] = False
    name: str

    @classmethod
    def named(cls) -> str:
        """The only name that its settings may have.

        Raises:
            RequestError: they may have any, or several.
        """
        names = get_args(cls.model_fields["name"].annotation)
        if len(names) != 1 or not isinstance(names[0], str):
            raise RequestError(f'{cls.__name__}: name is not a literal, as Literal["mine"]')
        return names[0]

    @property
    def label(self) -> str:
        """How tables and figures call it."""
        return self.title or self.name

    @property
    def reads_logits(self) -> bool:
        """Whether the loss has a part of the teacher's logits."""
        return True

    def rescaled(self, before: int, after: int) -> dict[str, int]:
        """What changes where ``before`` epochs become ``after``: the same shares, rounded up."""
        return {key: -(-getattr(self, key) * after // before) for key in self.in_epochs}


class FeatureMethod(MethodSettings):
    """A method of features; with a kd_weight, KD's loss of the logits is added."""

    ce_weight: NonNegative = 1.0
    feature_weight: NonNegative
    kd_weight: NonNegative = 0.0
    temperature: Positive = 4.0  # of KD's loss

    @property
    def label(self) -> str:
        """With KD's loss it is another method."""
        return super().label + ("+KD" if self.reads_logits else "")

    @property
    def reads_logits(self) -> bool:
        """Whether KD's loss is added."""
        return self.kd_weight > 0


class ForeignMethod(MethodSettings):
    """A method that is not known here: of a finished run, to be shown and not to be trained."""

    model_config = ConfigDict(extra="allow")


METHODS: dict[str, type[MethodSettings]] = {}


def add_methods(*kinds: type[MethodSettings]) -> None:
    """Let presets name these methods."""
    METHODS.update({kind.named(): kind for kind in kinds})


def _by_name(value: Any, info: ValidationInfo) -> Any:
    if not isinstance(value, Mapping):
        return value
    name = value.get("name")
    if isinstance(name, str) and name in METHODS:
        return METHODS[name].model_validate(value)
    if isinstance(name, str) and info.context == FOREIGN:
        return ForeignMethod.model_validate(value)
    raise PydanticCustomError("unknown_method", "not a method")


FOREIGN = "foreign"  # context of a validation that takes methods which are not known here
Method = Annotated[SerializeAsAny[MethodSettings], BeforeValidator(_by_name)]
