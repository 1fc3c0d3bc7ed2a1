"""A trained network: its preprocessing and the names of its classes."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor

from lskd_cli.data import center_view
from lskd_cli.data.batch import Normalizer
from lskd_cli.engine.devices.runtime import Runtime, resolve_runtime, set_tf32
from lskd_cli.engine.inference.network_outputs import EvalModel, load_eval_model
from lskd_cli.errors import RequestError
from lskd_cli.preprocessing import Preprocessing
from lskd_cli.run_paths import WeightsName


class Prediction(NamedTuple):
    """A class with its probability."""

    class_name: str
    probability: float


class Student:
    """A network with its weights, in evaluation mode.

    Attributes:
        network: takes (B, 3, S, S) normalized images and returns (B, classes) logits.
        preprocessing: preprocessing of the network.
        class_names: names of the classes in the order of the logits.
        metadata: entries of the weight file, such as model, dataset, top1 and license.
        source: the weights with their network and data settings.
    """

    def __init__(
        self, source: EvalModel, runtime: Runtime, class_names: Sequence[str] | None = None
    ) -> None:
        """Create the network on a device.

        Args:
            source: the weights with their network and data settings.
            runtime: device.
            class_names: replace the names in the weight file.

        Raises:
            RequestError: the weights do not fit their network, or the names its classes.
        """
        self.source = source
        self.metadata = source.checkpoint.metadata
        self.network = source.load_network()
        runtime.to_device(self.network)
        self.preprocessing: Preprocessing = source.preprocessing
        self.device = runtime.device
        self._normalize = Normalizer(*self.preprocessing.normalization, self.device)
        self.class_names = self._check_names(class_names)

    def _check_names(self, given: Sequence[str] | None) -> list[str]:
        count = self.source.num_classes
        stored = self.source.checkpoint.class_names()
        names = list(given if given is not None else stored or map(str, range(count)))
        if len(names) != count:
            raise RequestError(
                f"{self.source.checkpoint.path}: has {count} classes, but there are {len(names)} "
                "class names"
            )
        return names

    def prepare(self, image: Image.Image) -> Tensor:
        """The (3, S, S) uint8 center of an image, which ``probabilities`` normalizes."""
        pixels: Tensor = pil_to_tensor(center_view(image.convert("RGB"), self.preprocessing))
        return pixels

    @torch.inference_mode()
    def logits(self, pixels: Tensor) -> Tensor:
        """(B, classes) logits of (B, 3, S, S) uint8 images of ``prepare``, on the CPU."""
        with set_tf32(False):
            logits: Tensor = self.network(self._normalize(pixels.to(self.device)))
        return logits.float().cpu()

    def probabilities(self, images: Sequence[Image.Image]) -> Tensor:
        """(N, classes) probabilities of Pillow images of any size."""
        return self.logits(torch.stack([self.prepare(image) for image in images])).softmax(dim=1)

    def predict(self, images: Sequence[Image.Image], top_k: int = 5) -> list[list[Prediction]]:
        """The most probable classes of Pillow images, most probable first.

        Args:
            images: at least one image, of any size and mode.
            top_k: number of classes for each image, at most all.
        """
        return self.top_k(self.probabilities(images), top_k)

    def top_k(self, probabilities: Tensor, top_k: int) -> list[list[Prediction]]:
        """The most probable classes of every row of (N, classes) probabilities."""
        values, indices = probabilities.topk(min(top_k, probabilities.shape[1]))
        return [
            [Prediction(self.class_names[i], p) for p, i in zip(row, of, strict=True)]
            for row, of in zip(values.tolist(), indices.tolist(), strict=True)
        ]


def load_student(
    run: str | Path,
    weights: WeightsName = "last",
    device: str = "cpu",
    class_names: Sequence[str] | None = None,
) -> Student:
    """Load a trained student, or any other network, from its run folder or weight file.

    Args:
        run: a run folder, or a file that stores its network, as all files that lskd writes do.
        weights: which weights of a run folder: ``last``, ``best`` or ``ema``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        class_names: replace the names in the weight file.

    Raises:
        RequestError: the weights cannot be read or do not fit their network, or the class names do
            not fit its classes.
    """
    source = load_eval_model(Path(run), None, None, weights, Path("data"))
    return Student(source, resolve_runtime(device), class_names)
