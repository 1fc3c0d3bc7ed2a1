"""Weights from which a student starts, and which of them fit its network."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from lskd_cli.checkpoints import Checkpoint, load_weights
from lskd_cli.config import Preset
from lskd_cli.errors import RequestError
from lskd_cli.models import (
    Network,
    classifier_parameters,
    create_model,
)


@dataclass
class InitialWeights:
    """Weights from which a student starts.

    Attributes:
        checkpoint: where they come from.
        weights: those that the student takes.
        replaced: parameters of the student's classifier, which start from random values because
            the number of classes differs.
        left_out: weights that the student does not have.
        classifier: names of all parameters of the classifier.
    """

    checkpoint: Checkpoint
    weights: dict[str, Tensor]
    replaced: list[str]
    left_out: list[str]
    classifier: frozenset[str]

    def load(self, network: Network) -> None:
        """Set the weights of a student; its classifier keeps its values if it is replaced."""
        network.load_state_dict({**network.state_dict(), **self.weights})

    def for_classes(self, classes: Sequence[str]) -> "InitialWeights":
        """The same weights; the classifier is replaced if it was trained on other classes."""
        trained = self.checkpoint.class_names()
        if not trained or not classes or trained == list(classes):
            return self
        weights = {k: tensor for k, tensor in self.weights.items() if k not in self.classifier}
        return replace(self, weights=weights, replaced=sorted(self.classifier))

    def describe(self) -> str:
        """What was loaded, in one line."""
        total = len(self.weights) + len(self.replaced)
        text = f"initialized from {self.checkpoint.path}: {len(self.weights)} of {total} tensors"
        for label, names in (("new", self.replaced), ("left out", self.left_out)):
            if names:
                more = f" and {len(names) - 4} more" if len(names) > 4 else ""
                text += f"; {label}: {', '.join(names[:4])}{more}"
        return text


def _architecture(model: str) -> str:
    """The name of a network without timm's tag of pretrained weights."""
    return model.partition(".")[0] if model.startswith("timm/") else model


def load_initial_weights(preset: Preset) -> InitialWeights | None:
    """The weights that ``init`` of a preset names; None if the student starts from random ones.

    All weights must have the names and shapes of the student's. Only its classifier may be missing
    or have another number of classes, and only weights that the student does not have may remain.

    Raises:
        RequestError: the file cannot be read, or its weights do not fit the student.
        RunError: pretrained weights cannot be downloaded.
    """
    if preset.init is None:
        return None
    checkpoint = load_weights(Path(preset.init), preset.student)
    checkpoint.check_finite()
    model = checkpoint.metadata.get("model", preset.student)
    if _architecture(model) != _architecture(preset.student):
        raise RequestError(f"{checkpoint.path}: contains weights of {model}, not {preset.student}")
    size = preset.data.image_size
    network = create_model(preset.student, preset.data.class_count, size)
    classifier = classifier_parameters(preset.student, size)
    expected = network.state_dict()
    matching = checkpoint.weights_for(network)
    weights = {
        name: tensor
        for name, tensor in matching.items()
        if name in expected and tensor.shape == expected[name].shape
    }
    missing = [name for name in expected if name not in weights]
    wrong = [name for name in missing if name not in classifier]
    if wrong:
        actual = matching.get(wrong[0])
        found = "missing" if actual is None else f"{tuple(actual.shape)}"
        raise RequestError(
            f"{checkpoint.path}: does not fit {preset.student}: {wrong[0]} is {found}, expected "
            f"{tuple(expected[wrong[0]].shape)} ({len(wrong)} of {len(expected)} tensors differ); "
            "only the classifier may differ"
        )
    left_out = [name for name in matching if name not in expected]
    return InitialWeights(checkpoint, weights, missing, left_out, classifier)
