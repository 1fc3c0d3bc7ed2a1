"""Parameters of a network from a library, under the names that files give them."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


def rename(module: nn.Module, names: Mapping[str, str]) -> None:
    """Let a module's state go by other names, in what it gives and in what it takes.

    Args:
        module: whose ``state_dict`` and ``load_state_dict`` it is.
        names: the other name of each of its own.
    """

    def to_files(
        owner: nn.Module, state: dict[str, Tensor], prefix: str, metadata: Mapping[str, Any]
    ) -> None:
        for own, other in names.items():
            state[prefix + other] = state.pop(prefix + own)

    def from_files(
        owner: nn.Module, state: dict[str, Tensor], prefix: str, *others: object
    ) -> None:
        for own, other in names.items():
            if prefix + other in state:
                state[prefix + own] = state.pop(prefix + other)

    module.register_state_dict_post_hook(to_files)  # type: ignore[no-untyped-call]
    module.register_load_state_dict_pre_hook(from_files)  # type: ignore[no-untyped-call]
