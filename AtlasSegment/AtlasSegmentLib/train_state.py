"""Where a training stands, in one file that is whole or absent: what a stopped run needs to end as if it had not been stopped."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.files import write_bytes

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = "atlas-training/1"
FILE = "checkpoint.pt"


@dataclass
class Progress:
    """What has been done.

    Attributes:
        step: The next step, from 0.
        sums: Of the steps of this epoch so far: Dice loss, cross-entropy, steps.
        best: Highest mean Dice on validation; NaN while there is none.
        best_step: The step after which it was reached; -1 before.
        best_weights: The network there.
        rows: One row of numbers for each finished epoch; see `train_curves`.
        seconds: Spent so far, over all runs.
    """

    step: int = 0
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    best: float = math.nan
    best_step: int = -1
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    rows: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0

    def take(self, score: float, weights: dict[str, Tensor]) -> None:
        """Note a validation, and its network when it is not worse than all before: of equal ones the later has seen more."""
        if math.isnan(self.best) or score >= self.best:
            self.best, self.best_step = score, self.step
            self.best_weights = {name: tensor.detach().cpu().clone() for name, tensor in weights.items()}


def write_state(folder: Path, done: Progress, parts: dict[str, Any], options: dict[str, Any]) -> None:
    """Write a checkpoint.

    Args:
        folder: Its folder.
        done: Where the training stands.
        parts: State of network, average and optimizer.
        options: What the training was asked for; a run that goes on must be asked for the same.

    Raises:
        StorageError: It cannot be written; the one before stays.
    """
    import torch

    content = {"format": FORMAT, "done": vars(done), "parts": parts, "options": options}
    held = io.BytesIO()  # Torch's own writer of files does not say that a disk is full
    torch.save(content, held)
    write_bytes(folder / FILE, held.getvalue())


def read_state(folder: Path, options: dict[str, Any]) -> tuple[Progress, dict[str, Any]]:
    """Return where a stopped training stands.

    Raises:
        InputError: The file is damaged, or belongs to a training with other options; the message names one that differs.
    """
    import pickle

    import torch

    path = folder / FILE
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        asked, done, parts = content["options"], Progress(**content["done"]), content["parts"]
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        message = f"{path}: is no checkpoint of a training ({type(error).__name__})."
        raise InputError(message, "Remove it to begin again.") from error
    changed = [name for name in sorted({*asked, *options}) if asked.get(name) != options.get(name)]
    if changed:
        name = changed[0]
        message = f"{path}: the training that was stopped had {name} {asked.get(name)!r}, this one has {options.get(name)!r}."
        raise InputError(message, "Give the same options and data to go on, or choose another --out.")
    return done, parts
