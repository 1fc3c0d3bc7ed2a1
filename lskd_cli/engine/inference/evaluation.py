"""Running networks over whole test or validation sets.

Networks always run in float32 here, whatever the precision of their training, so that a reported
accuracy can be reproduced exactly from the saved weights.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from lskd_cli.data import UNSHARDED, DataShard, Images, eval_batches
from lskd_cli.engine.devices.distributed import ProcessGroup
from lskd_cli.engine.devices.runtime import set_tf32
from lskd_cli.engine.inference.eval_metrics import NUM_SUMS, metric_means, metric_sums
from lskd_cli.models import Network, Output
from lskd_cli.preprocessing import Preprocessing


def evaluate(
    network: Network, images: Images, preprocessing: Preprocessing, group: ProcessGroup
) -> dict[str, float]:
    """Accuracy and loss (of ``accuracy_and_loss``), computed by all processes of a group.

    Args:
        network: network on the device of the images; it is set to evaluation mode.
        images: test or validation set.
        preprocessing: preprocessing of the network.
        group: processes that share the images.
    """
    sums = torch.zeros(NUM_SUMS, dtype=torch.float64)
    for output, targets in run_network(network, images, preprocessing, group.shard):
        sums += metric_sums(output.logits, targets).cpu()
    return metric_means(group.all_gather(sums).sum(dim=0))


def predict(
    network: Network, images: Images, preprocessing: Preprocessing
) -> tuple[Output, Tensor]:
    """Logits and pooled features of a whole set, and its (N,) class indices."""
    outputs, targets = zip(*run_network(network, images, preprocessing), strict=True)
    pooled = [output.pooled for output in outputs if output.pooled is not None]
    logits = torch.cat([output.logits for output in outputs])
    return Output(logits, pooled=torch.cat(pooled) if pooled else None), torch.cat(targets)


@torch.inference_mode()
def run_network(
    network: Network, images: Images, preprocessing: Preprocessing, shard: DataShard = UNSHARDED
) -> Iterator[tuple[Output, Tensor]]:
    """Outputs (logits and pooled features) and class indices, batch by batch."""
    network.eval()
    with set_tf32(False):
        for batch, targets in eval_batches(images, preprocessing, shard):
            output = network.forward_features(batch)
            yield Output(output.logits, pooled=output.pooled), targets
