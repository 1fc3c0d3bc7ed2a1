"""Features of the networks of torchvision and timm, with the extraction that each library has."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from lskd_cli.models.output import Output

Extract = Callable[[Tensor], Output]
# Their maps are not (B, C, H, W).
_NO_MAPS = ("swin", "maxvit", "vit_")
_MAX_STEM_REDUCTION = 2  # a map of a lower resolution belongs to a stage


def timm_extractor(network: Any) -> Extract | None:
    """A forward pass of a timm network that also returns the maps of its stages or blocks.

    Returns:
        None if the network has no ``forward_intermediates``.
    """
    if not hasattr(network, "forward_intermediates"):
        return None
    has_stem = network.feature_info[0]["reduction"] <= _MAX_STEM_REDUCTION

    def extract(images: Tensor) -> Output:
        final, maps = network.forward_intermediates(images)
        pooled = network.forward_head(final, pre_logits=True)
        logits = network.forward_head(final)
        final_map = final if final.ndim == 4 and final.shape[1] == pooled.shape[1] else None
        return Output(logits, _with_stem(maps, has_stem), [], pooled, final_map)

    return extract


def torchvision_extractor(network: nn.Module, name: str, image_size: int) -> Extract | None:
    """A forward pass of a torchvision network that also returns its last map of each resolution.

    Returns:
        None if the network has no such maps, or if it cannot be traced.
    """
    if name.startswith(_NO_MAPS):
        return None
    # Networks with auxiliary classifiers, or with control flow that depends on values.
    try:
        train_nodes, eval_nodes = get_graph_node_names(network, suppress_diff_warning=True)
        names = [node for node in eval_nodes if node in set(train_nodes)][1:]
        shapes = _node_shapes(network, names, image_size)
    except Exception:
        return None
    by_side: dict[int, str] = {}
    vectors = []
    for node, shape in shapes.items():
        side = shape[2] if len(shape) == 4 and shape[2] == shape[3] else 0
        # Some networks enlarge small maps for their classifier.
        if 1 < side <= min(by_side, default=side):
            by_side[side] = node
        elif len(shape) == 2:
            vectors.append(node)
    maps = list(by_side.values())
    if len(maps) < 2 or len(vectors) < 2:
        return None
    *_, pooled, logits = vectors
    extractor = _extractor(network, [*maps, pooled, logits])
    has_stem = max(by_side) * _MAX_STEM_REDUCTION >= image_size

    def extract(images: Tensor) -> Output:
        if extractor.training != network.training:
            extractor.train(network.training)
        found = extractor(images)
        features = _with_stem([found[node] for node in maps], has_stem)
        has_final = features[-1].shape[1] == found[pooled].shape[1]
        final_map = features[-1] if has_final else None
        return Output(found[logits], features, [], found[pooled], final_map)

    return extract


def _extractor(network: nn.Module, names: list[str]) -> nn.Module:
    extractor: nn.Module = create_feature_extractor(network, names, suppress_diff_warning=True)
    return extractor


def _with_stem(maps: list[Tensor], has_stem: bool) -> list[Tensor]:
    """Maps of a stem and stages; the first stage stands for a missing stem, which is not used."""
    return maps if has_stem else [maps[0], *maps]


def _node_shapes(network: nn.Module, names: list[str], image_size: int) -> dict[str, torch.Size]:
    """Shapes of the tensors that the nodes of a traced network return for one image."""
    was_training = network.training
    extractor = _extractor(network, names).eval()
    parameter = next(network.parameters())
    images = torch.zeros(1, 3, image_size, image_size, device=parameter.device)
    with torch.no_grad():
        found = extractor(images)
    network.train(was_training)
    return {name: value.shape for name, value in found.items() if isinstance(value, Tensor)}
