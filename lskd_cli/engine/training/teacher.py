"""The frozen teacher of a joint run."""

from collections.abc import Callable, Collection, Mapping
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from lskd_cli.config import View
from lskd_cli.engine.devices.compile import Compiled
from lskd_cli.engine.devices.runtime import Runtime
from lskd_cli.engine.devices.types import Warn
from lskd_cli.engine.training.view_adapter import ViewAdapter
from lskd_cli.models import Network, Output


class Teacher:
    """Runs the teacher in evaluation mode, without gradients, once for all students."""

    def __init__(
        self,
        network: Network,
        runtime: Runtime,
        required_features: Collection[str] = (),
        adapt: ViewAdapter | None = None,
    ) -> None:
        """Prepare a network.

        Args:
            network: network with its weights, which do not change, because other joint runs may
                use it too.
            runtime: device and precision.
            required_features: fields of ``Output`` that the students' methods use besides the
                logits.
            adapt: converts the views of a batch into the teacher's images; None changes their size
                only.
        """
        # Only in networks of ours: others may run layers outside autocast.
        is_rounded = runtime.precision == "bf16" and network.can_fuse_bn
        network.eval().requires_grad_(False)
        if required_features:
            network.enable_features()
            if is_rounded:
                runtime.to_device(network)  # methods may use its classifier
                network = deepcopy(network)
        # Fusing batch norms into convolutions saves memory traffic. The fused network returns
        # logits only.
        can_fuse = network.can_fuse_bn and not required_features
        fused: nn.Module = fuse(network) if can_fuse else network
        runtime.to_device(fused)
        if is_rounded:
            _round_weights(fused)
        self.adapt = adapt or ViewAdapter(network.image_size)
        self.forward: Callable[[Tensor], Output] = (
            (lambda images: network.forward_features(images).select(required_features))
            if required_features
            else lambda images: Output(fused(images))
        )
        self.runtime = runtime

    def compile(self, size: int, warn: Warn) -> None:
        """Compile for batches of ``size`` images; ``warn`` is called if that fails."""
        # The weights never change, so the compiler may lay them out for its kernels.
        self.forward = Compiled(self.forward, size, warn, {"freezing": True})

    @torch.no_grad()
    def __call__(
        self, images_by_view: Mapping[View, Tensor], views: Collection[View]
    ) -> dict[View, Output]:
        """Outputs for the given views of (B, 3, S, S) images."""
        outputs = {}
        for view in views:
            images = self.adapt(images_by_view[view])
            with self.runtime.autocast():
                outputs[view] = self.forward(images)
        return outputs


def _round_weights(network: nn.Module) -> None:
    """Store the weights that autocast would round to bfloat16 in every forward pass."""
    for module in network.modules():
        if type(module) in (nn.Conv2d, nn.Linear):
            module.to(torch.bfloat16)
