"""Whether a checkpoint has exactly the weights that a network wants, by name and shape."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from AtlasSegmentLib.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

_SHOWN = 3


def require_match(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor], path: Path | str, described: str, remedy: str) -> None:
    """Check that every tensor of a network is there in its shape, and no other.

    Args:
        wanted: Name to tensor of the network.
        given: Name to tensor of the checkpoint.
        path: The checkpoint, for messages.
        described: What the network was built from, such as "plans.json".
        remedy: The next step.

    Raises:
        ModelError: Weights are missing, left over or of another shape; names the first three of each.
    """
    missing = [name for name in wanted if name not in given]
    unexpected = [name for name in given if name not in wanted]
    shapes = [
        f"{name} is {tuple(given[name].shape)}, expected {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in given and given[name].shape != tensor.shape
    ]
    found = [
        f"{len(names)} {what} ({'; '.join(names[:_SHOWN])}{' ...' if len(names) > _SHOWN else ''})"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
        if names
    ]
    if found:
        message = f"{path}: the weights do not fit the network{described and f' of {described}'}: {', '.join(found)}."
        raise ModelError(message, remedy)
