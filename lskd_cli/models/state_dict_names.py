"""Renaming of the parameters of library networks in their state dictionaries."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


def rename_parameters(module: nn.Module, names: Mapping[str, str]) -> None:
    """Use other parameter names in the ``state_dict`` and ``load_state_dict`` of a module.

    Args:
        module: changed in place.
        names: for each name within the module, the name in its state dictionaries; names of layers
            that are removed later have no effect.
    """

    def rename_saved(
        owner: nn.Module, state: dict[str, Tensor], prefix: str, metadata: Mapping[str, Any]
    ) -> None:
        _rename(state, {prefix + internal: prefix + name for internal, name in names.items()})

    def rename_loaded(
        owner: nn.Module, state: dict[str, Tensor], prefix: str, *others: object
    ) -> None:
        _rename(state, {prefix + name: prefix + internal for internal, name in names.items()})

    module.register_state_dict_post_hook(rename_saved)  # type: ignore[no-untyped-call]
    module.register_load_state_dict_pre_hook(rename_loaded)  # type: ignore[no-untyped-call]


def _rename(state: dict[str, Tensor], names: Mapping[str, str]) -> None:
    """Rename all entries at once, since the new name of one may be the old name of another."""
    renamed = {new: state.pop(old) for old, new in names.items() if old in state}
    state.update(renamed)
