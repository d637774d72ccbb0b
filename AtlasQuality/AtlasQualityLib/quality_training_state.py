"""Where a training stands, in one file that is whole or absent: what a stopped run needs to end as if it had not been stopped."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.files import atomic_path

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = "atlas-quality-training/2"
FILE = "checkpoint.pt"


@dataclass
class Progress:
    """What has been done.

    Attributes:
        epoch: The one that is being trained, from 0; the number of epochs when all are done.
        step: Its next step.
        sums: Of the steps so far: square error, ranking loss, loss of the drawing, steps.
        best: Highest Pearson correlation on validation; NaN while there is none.
        best_epoch: From 0; -1 before the first one has ended.
        best_weights: The network of that epoch.
        rows: One row of numbers for each finished epoch; see `quality_training_curves`.
    """

    epoch: int = 0
    step: int = 0
    sums: list[float] = field(default_factory=lambda: [0.0] * 4)
    best: float = math.nan
    best_epoch: int = -1
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    rows: list[dict[str, float]] = field(default_factory=list)

    def take(self, score: float, weights: dict[str, Tensor]) -> None:
        """Note the end of an epoch, and its network when it is the first one or better than all before.

        Also a correlation that is not defined (NaN), or never above 0, leaves a network to be used: the first one that is not worse.
        """
        if self.best_epoch < 0 or score > self.best or (math.isnan(self.best) and not math.isnan(score)):
            self.best, self.best_epoch = score, self.epoch
            self.best_weights = {name: tensor.detach().cpu().clone() for name, tensor in weights.items()}


def write_state(folder: Path, done: Progress, parts: dict[str, Any], options: dict[str, Any]) -> None:
    """Write a checkpoint.

    Args:
        folder: Its folder.
        done: Where the training stands.
        parts: State of network, optimizer and schedule.
        options: What the training was asked for; a run that goes on must be asked for the same.

    Raises:
        StorageError: It cannot be written; the one before stays.
    """
    import torch

    content = {"format": FORMAT, "done": vars(done), "parts": parts, "options": options, "torch_random": torch.get_rng_state()}
    with atomic_path(folder / FILE) as temporary:
        torch.save(content, temporary)


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
        torch.set_rng_state(content["torch_random"])
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        message = f"{path}: is no checkpoint of a label-quality training ({type(error).__name__})."
        raise InputError(message, "Remove it to begin again.") from error
    changed = [name for name in sorted({*asked, *options}) if asked.get(name) != options.get(name)]
    if changed:
        name = changed[0]
        message = f"{path}: the training that was stopped had {name} {asked.get(name)!r}, this one has {options.get(name)!r}."
        raise InputError(message, "Give the same options to go on, or choose another --out.")
    return done, parts
