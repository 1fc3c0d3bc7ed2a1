"""Outputs of a teacher for the training images of every class, which some methods compare."""

import torch
from torch import Tensor

from lskd_cli.data import InMemoryImages, eval_batches
from lskd_cli.engine.devices.runtime import Runtime
from lskd_cli.engine.inference.trained_network import TrainedNetwork
from lskd_cli.errors import RequestError

_MAX_IMAGES = 500  # of each class, all of those of CIFAR-100


@torch.no_grad()
def class_outputs(
    teacher: TrainedNetwork, images: InMemoryImages, num_classes: int, runtime: Runtime
) -> Tensor:
    """Outputs for the first images of each class, as many as every class has, at most 500.

    Args:
        teacher: the teacher; it is moved to the device and set to evaluation mode.
        images: the training images, which are prepared as test images.
        num_classes: number of classes.
        runtime: the device.

    Returns:
        (classes, n, d) on the device: the features of all positions of the last stage of each
        image, or its logits if the teacher has no stages.

    Raises:
        RequestError: a class has no images.
    """
    indices = [(images.targets == label).nonzero()[:, 0].cpu() for label in range(num_classes)]
    count = min(_MAX_IMAGES, *map(len, indices))
    if count == 0:
        raise RequestError(
            "method.cost: cka needs training images of every class; set cost=classifier"
        )
    chosen = images.subset(torch.cat([index[:count] for index in indices]).numpy())
    network = teacher.network.eval()
    runtime.to_device(network)
    network.enable_features()
    outputs: Tensor | None = None
    start = 0
    with runtime.precision_context():
        for batch, _ in eval_batches(chosen, teacher.preprocessing):
            output = network.forward_features(batch)
            maps = output.feats[-1].flatten(2).transpose(1, 2) if output.feats else None
            values = output.logits[:, None] if maps is None else maps
            if outputs is None:  # several gigabytes for CIFAR-100, which are not copied
                outputs = values.new_empty(len(chosen), *values.shape[1:])
            outputs[start : start + len(values)] = values
            start += len(values)
    assert outputs is not None
    return outputs.reshape(num_classes, -1, outputs.shape[2])
