"""A trained network: weights, preprocessing, and names of its classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor

from lskd_cli.checkpoints import Checkpoint, load_weights
from lskd_cli.config import Data, Preset, check_dataset, find_dataset, load_data, load_preset
from lskd_cli.data import center_view, identify_images
from lskd_cli.data.batch import Normalizer
from lskd_cli.data.sets.image_formats import to_rgb
from lskd_cli.engine.devices.runtime import Runtime, resolve_runtime, set_tf32
from lskd_cli.engine.inference.exported import read_exported
from lskd_cli.errors import RequestError
from lskd_cli.models import Network, create_model, is_model, teacher_image_size
from lskd_cli.preprocessing import Preprocessing
from lskd_cli.run_paths import (
    MODEL,
    PRESET,
    PRETRAINED,
    WEIGHT_FILES,
    WeightsName,
    check_exists,
    weights_file,
)


class Prediction(NamedTuple):
    """A class with its probability."""

    class_name: str
    probability: float


BATCH_SIZE = 64  # images of a forward pass


@dataclass
class TrainedNetwork:
    """A network with its weights, in evaluation mode.

    Attributes:
        checkpoint: the weights, their file and its metadata.
        model: name of the network.
        data: data settings of its test images.
        image_size: input size in pixels of weights that do not store their preprocessing; None for
            that of the data.
        given_names: names of the classes that replace those in the metadata.
        exported: runs an exported file instead of a network with these weights.
    """

    checkpoint: Checkpoint
    model: str
    data: Data
    image_size: int | None = None
    given_names: Sequence[str] | None = None
    exported: Network | None = None

    @cached_property
    def network(self) -> Network:
        """Takes (B, 3, S, S) normalized images and returns (B, classes) logits.

        It is created on the CPU and has no gradients.

        Raises:
            RequestError: the weights belong to another network.
        """
        if self.exported is not None:
            return self.exported
        size = self.preprocessing.image_size
        return self.checkpoint.load_network(self.model, self.num_classes, size)

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """Preprocessing of the network.

        Raises:
            RequestError: the metadata of the weights is corrupt.
        """
        size = self.image_size or self.data.image_size
        return self.checkpoint.preprocessing(self.model, self.data, size)

    @property
    def members(self) -> "list[TrainedNetwork]":
        """This network alone; ``TeacherEnsemble`` has several."""
        return [self]

    @property
    def num_classes(self) -> int:
        """Number of classes of the weights.

        Raises:
            RequestError: the metadata is corrupt.
        """
        return self.checkpoint.num_classes() or self.data.class_count

    @cached_property
    def class_names(self) -> list[str]:
        """Names of the classes in the order of the logits: numbers if they are not known.

        Raises:
            RequestError: their number is not that of the classes, or the metadata is corrupt.
        """
        count, given = self.num_classes, self.given_names
        stored = self.checkpoint.class_names()
        names = list(given if given is not None else stored or map(str, range(count)))
        if len(names) != count:
            raise RequestError(
                f"{self.checkpoint.path}: has {count} classes, but there are {len(names)} class "
                "names"
            )
        return names

    @property
    def metadata(self) -> dict[str, str]:
        """Entries of the weight file, such as model, dataset, top1 and license."""
        return self.checkpoint.metadata

    @property
    def device(self) -> torch.device:
        """The device of the network."""
        return next(self.network.parameters()).device

    def to(self, runtime: Runtime) -> "TrainedNetwork":
        """Move the network to a device, and return this object."""
        runtime.to_device(self.network)
        return self

    def prepare(self, image: Image.Image) -> Tensor:
        """The (3, S, S) uint8 center of an image, which ``probabilities`` normalizes."""
        pixels: Tensor = pil_to_tensor(center_view(to_rgb(image), self.preprocessing))
        return pixels

    @torch.inference_mode()
    def logits(self, pixels: Tensor) -> Tensor:
        """(B, classes) logits of (B, 3, S, S) uint8 images of ``prepare``, on the CPU."""
        device = self.device
        normalize = Normalizer(*self.preprocessing.normalization, device)
        with set_tf32(False):
            logits: Tensor = self.network(normalize(pixels.to(device)))
        return logits.float().cpu()

    def probabilities(self, images: Sequence[Image.Image]) -> Tensor:
        """(N, classes) probabilities of Pillow images of any size."""
        pixels = [
            torch.stack([self.prepare(image) for image in images[start : start + BATCH_SIZE]])
            for start in range(0, len(images), BATCH_SIZE)
        ]
        return torch.cat([self.logits(batch) for batch in pixels]).softmax(dim=1)

    def predict(self, images: Sequence[Image.Image], top_k: int = 5) -> list[list[Prediction]]:
        """The most probable classes of Pillow images, most probable first.

        Args:
            images: at least one image, of any size and mode.
            top_k: number of classes for each image, at most all.

        Raises:
            TypeError: an image is no Pillow image.
            ValueError: there is no image, or ``top_k`` is not positive.
        """
        images = list(images)
        if not images or not all(isinstance(image, Image.Image) for image in images):
            kinds = sorted({type(image).__name__ for image in images})
            error = TypeError if kinds else ValueError
            raise error(f"images: must be Pillow images, not {', '.join(kinds) or 'nothing'}")
        if top_k < 1:
            raise ValueError(f"top_k: must be at least 1, not {top_k}")
        return self.top_k(self.probabilities(images), top_k)

    def top_k(self, probabilities: Tensor, top_k: int) -> list[list[Prediction]]:
        """The most probable classes of every row of (N, classes) probabilities."""
        values, indices = probabilities.topk(min(top_k, probabilities.shape[1]))
        return [
            [Prediction(self.class_names[i], p) for p, i in zip(row, indices_row, strict=True)]
            for row, indices_row in zip(values.tolist(), indices.tolist(), strict=True)
        ]


def trained_teacher(checkpoint: Checkpoint, preset: Preset) -> TrainedNetwork:
    """The weights of a preset's teacher as the network that the preset names."""
    assert preset.teacher is not None
    size = teacher_image_size(preset.teacher, preset.data.image_size)
    return TrainedNetwork(checkpoint, preset.teacher, preset.data, size)


def load_trained_network(
    path: Path,
    model: str | None = None,
    dataset: str | None = None,
    weights: WeightsName = "last",
    data_dir: Path = Path("data"),
    class_names: Sequence[str] | None = None,
) -> TrainedNetwork:
    """The weights of a run folder or of a file, with their network and data settings.

    Args:
        path: a run folder, a file, ``pretrained``, or what ``lskd export`` has written.
        model: the network; None if it is stored in the checkpoint.
        dataset: the data set; None for the one stored in the checkpoint, or else cifar100.
        weights: which weights of a run.
        data_dir: image folder, whose classes the checkpoint may not store.
        class_names: replace the names in the weight file.

    Raises:
        RequestError: the weights cannot be read, or their network is unknown.
    """
    is_pretrained = str(path) == PRETRAINED
    if is_pretrained and model is None:
        raise RequestError(
            f"{path}: name the network for lskd eval with --model NAME or --teacher-model NAME"
        )
    check_exists(path)
    exported = None if is_pretrained else read_exported(path)
    if exported is not None:
        if weights != "last":
            raise RequestError(f"{path}: contains one set of weights; omit --weights {weights}")
        path, checkpoint = exported.checkpoint.path, exported.checkpoint
    else:
        path = path if is_pretrained else weights_file(path, weights)
        checkpoint = load_weights(path, model)
    model = checkpoint.metadata.get("model") if model is None else model
    if model is None:
        raise RequestError(
            f"{path}: the checkpoint does not store its network; use a run folder or a file "
            "written by lskd, or name the network for lskd eval with --model or --teacher-model"
        )
    source = path.with_name(MODEL)
    if not is_pretrained and source.exists() and not is_model(model):
        # Evaluating a run must not execute what its folder contains.
        raise RequestError(f"{path}: its network {model} needs --model-file {source}")
    trained_on = "imagenet" if is_pretrained else "cifar100"
    default = checkpoint.metadata.get("dataset", trained_on)
    requested, dataset = dataset, default if dataset is None else dataset
    check_dataset("--dataset", dataset)
    # A run may have its own normalization.
    preset = path.with_name(PRESET)
    if preset.exists() and not is_pretrained:
        data = load_preset(preset, allow_unknown_method=True).data
        if requested not in (None, data.name):
            if not (data.is_custom and find_dataset(dataset).is_custom):
                raise RequestError(
                    f"--dataset {dataset}: {path.parent} was trained on {data.name}; leave it out"
                )
            data = data.model_copy(update={"name": dataset})
    elif find_dataset(dataset).is_custom:
        stored = checkpoint.num_classes()
        classes = stored or len(identify_images(dataset, data_dir).classes)
        data = load_data("imagenet", model)
        with torch.device("meta"):
            size = teacher_image_size(model, data.image_size)
            image_size = create_model(model, image_size=size).image_size
        update = {"name": dataset, "num_classes": classes, "image_size": image_size}
        data = data.model_copy(update=update)
    else:
        data = load_data(dataset, model)
    network = exported.network if exported else None
    return TrainedNetwork(checkpoint, model, data, given_names=class_names, exported=network)


def load_student(
    run: str | Path,
    weights: WeightsName = "last",
    device: str = "cpu",
    class_names: Sequence[str] | None = None,
) -> TrainedNetwork:
    """Load a trained student, or any other network, from its run folder or weight file.

    Args:
        run: a run folder, a file that stores its network, as all files that lskd writes do, or a
            folder or file that ``lskd export`` has written.
        weights: which weights of a run folder: ``last``, ``best`` or ``ema``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        class_names: replace the names in the weight file.

    Raises:
        RequestError: the weights cannot be read or do not fit their network, or the class names do
            not fit its classes.
    """
    if weights not in WEIGHT_FILES:
        raise RequestError(f"weights: must be one of {', '.join(WEIGHT_FILES)}, not {weights!r}")
    if isinstance(class_names, str):
        raise RequestError("class_names: must be a list of names, not a string")
    student = load_trained_network(Path(run), weights=weights, class_names=class_names)
    student.class_names  # noqa: B018 (raises here)
    return student.to(resolve_runtime(device))
