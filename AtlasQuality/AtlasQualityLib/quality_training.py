"""The training loop of the label-quality network: Adam, a cosine schedule, the best epoch by correlation on validation.

Recipe: SegAE's (arXiv 2406.00327; learning rate 1e-3, weight decay 1e-4, 30 epochs, batches of 128, square error and ranking of pairs),
with more variation of the images, and a checkpoint from which a run that was stopped anywhere ends with the same weights.
"""

from __future__ import annotations

import hashlib
import logging
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from AtlasQualityLib.quality_calibration import pearson, spearman
from AtlasQualityLib.quality_embedding import Embedding, text_embedding
from AtlasQualityLib.quality_losses import optimal_pairs, outline_loss, rank_loss, weighted_mse
from AtlasQualityLib.quality_network import Backbone, build_network
from AtlasQualityLib.quality_outline import shrunk
from AtlasQualityLib.quality_pairs_store import PairSet, scores_of_masks
from AtlasQualityLib.quality_slices import Float32
from AtlasQualityLib.quality_training_batches import Augmentation, Batch, batches, plain_batch, share_of, varied_batch
from AtlasQualityLib.quality_training_curves import write_curves
from AtlasQualityLib.quality_training_ranks import Ranks
from AtlasQualityLib.quality_training_state import FILE, Progress, read_state, write_state
from AtlasSegmentLib.errors import InputError, ModelError
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.train_random import generator, repeatable
from AtlasSegmentLib.volume import Array

if TYPE_CHECKING:
    from torch import nn

_EVALUATED = 256  # slices in one forward pass
_DRAWN_SECONDS = 20.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingOptions:
    """What is trained, and how.

    Attributes:
        backbone, width, outline: See `quality_network.build_network`.
        epochs: Passes over the examples.
        batch: Slices in one step, over all processes.
        learning_rate: Of the first epoch; it falls to 0 along a cosine.
        weight_decay: L2, in Adam.
        seed: Of weights, order and variation.
        augmentation: How much examples are varied.
        checkpoint_seconds: A checkpoint is written at the end of an epoch, and within one when so much time has passed.
    """

    backbone: Backbone = "resnet18"
    width: int = 16
    epochs: int = 30
    batch: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    seed: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)
    checkpoint_seconds: float = 60.0
    outline: bool = True

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 1 or not 0 < self.learning_rate <= 1 or self.weight_decay < 0:
            message = f"{self.epochs} epochs of batches of {self.batch} at a learning rate of {self.learning_rate} cannot be trained."
            raise InputError(message, "Give at least one epoch, one slice in a batch, and a learning rate between 0 and 1.")


def train_network(
    pairs: PairSet,
    folder: Path,
    options: TrainingOptions,
    ranks: Ranks,
    *,
    embedding: Embedding = text_embedding,
    resume: bool = False,
    progress: ProgressCallback = ignore_progress,
) -> tuple[nn.Module, Progress]:
    """Train a network and return it, on the CPU, with the weights of its best epoch.

    Args:
        pairs: Examples with a part "train" and one "val".
        folder: For checkpoint and curves.
        options: What and how.
        ranks: From `quality_training_ranks.open_ranks`.
        embedding: Organ name to its numbers.
        resume: Go on where the checkpoint in `folder` stands, if there is one.
        progress: Told the finished share and the last figures.

    Raises:
        InputError: There is nothing to train on or to validate with; a checkpoint is there and `resume` is not asked for; or it belongs to
            other options or examples.
        ModelError: The loss is no longer a number.
        StorageError: A file cannot be written.
    """
    with repeatable(options.seed):
        training = _Training(pairs, folder, options, ranks, embedding)
        training.start(resume=resume)
        while training.done.epoch < options.epochs:
            training.epoch(progress)
        ranks.wait()
        training.network.load_state_dict(training.best_weights())
        return training.network.cpu().eval(), training.done


class _Training:
    """Network, optimizer and where they stand."""

    def __init__(self, pairs: PairSet, folder: Path, options: TrainingOptions, ranks: Ranks, embedding: Embedding) -> None:
        import torch

        self.pairs, self.folder, self.options, self.ranks, self.embedding = pairs, folder, options, ranks, embedding
        self.train, self.val = (pairs.slices_of(part) for part in ("train", "val"))
        if not len(self.train) or not len(self.val):
            message = f"{len(self.train)} slices to train with and {len(self.val)} to validate with are too few."
            raise InputError(message, "Give more cases with references; some of them are held out for validation.")
        self.network = build_network(options.backbone, options.width, outline=options.outline).to(ranks.device)
        self.parallel: nn.Module = self.network
        if ranks.count > 1:
            self.parallel = torch.nn.parallel.DistributedDataParallel(self.network)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, T_max=options.epochs)
        self.done = Progress()
        self._saved = self._drawn = time.monotonic()

    def start(self, *, resume: bool) -> None:
        """Begin, or go on where a checkpoint stands."""
        if not (self.folder / FILE).is_file():
            return
        if not resume:
            message = f"{self.folder / FILE}: a training has been started here."
            raise InputError(message, "Add --resume to go on, or choose another --out.")
        self.done, parts = read_state(self.folder, self._described())
        self.network.load_state_dict(parts["network"])
        self.optimizer.load_state_dict(parts["optimizer"])
        self.schedule.load_state_dict(parts["schedule"])

    def _described(self) -> dict[str, Any]:
        kept = {name: value for name, value in asdict(self.options).items() if name != "checkpoint_seconds"}
        mark = hashlib.sha256(repr(self.pairs.masks).encode("utf-8", "surrogatepass"))
        for name in sorted(self.pairs.columns):
            mark.update(np.ascontiguousarray(self.pairs.columns[name]).tobytes())
        return {**kept, "processes": self.ranks.count, "examples": f"{len(self.pairs)} slices, {mark.hexdigest()[:16]}"}

    def _save(self) -> None:
        if self.ranks.is_first:
            parts = {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state_dict()}
            write_state(self.folder, self.done, parts, self._described())
        self._saved = time.monotonic()

    def epoch(self, progress: ProgressCallback) -> None:
        """Train one epoch, or what is left of it, and validate."""
        steps = batches(self.train, self.options.batch, self.options.seed, self.done.epoch)
        for step in range(self.done.step, len(steps)):
            losses = self._step(steps[step], step)
            self.done.sums = [a + b for a, b in zip(self.done.sums, (*losses, 1.0), strict=True)]
            self.done.step = step + 1
            share = (self.done.epoch + (step + 1) / len(steps)) / self.options.epochs
            progress(share, f"epoch {self.done.epoch + 1} of {self.options.epochs}{self._told()}")
            if time.monotonic() - self._saved > self.options.checkpoint_seconds and step + 1 < len(steps):
                self._save()
        self._end_of_epoch()

    def _told(self) -> str:
        if not self.done.rows:
            return ""
        last = self.done.rows[-1]
        loss = last["train_mse"] + last["train_rank"] + last["train_outline"]
        return f", last: loss {loss:.3f}, Pearson of slices {last['val_pearson']:.3f}, of masks {last['val_mask_pearson']:.3f}"

    def _step(self, numbers: Array, step: int) -> list[float]:
        options, ranks = self.options, self.ranks
        own = share_of(numbers, ranks.rank, ranks.count)
        rng = generator(options.seed, "variation", self.done.epoch, step, ranks.rank)
        batch = varied_batch(self.pairs, own, self.embedding, options.augmentation, rng)
        self.parallel.train()
        losses = self._losses(batch)
        self.optimizer.zero_grad(set_to_none=True)
        sum(losses).backward()
        self.optimizer.step()
        found = [float(loss.detach()) for loss in losses]
        if not np.isfinite(found).all():
            message = f"the loss is no longer a number in epoch {self.done.epoch + 1}, step {step + 1}."
            raise ModelError(message, "Train again with a smaller --learning-rate.")
        return found

    def _losses(self, batch: Batch) -> Any:
        import torch

        device = self.ranks.device
        predicted, logits = self.parallel(batch.images.to(device), torch.from_numpy(batch.embeddings).to(device), learn=True)
        target = torch.from_numpy(batch.targets).to(device)
        square, rank = weighted_mse(predicted, target), rank_loss(predicted, target, optimal_pairs(batch.embeddings))
        outline = outline_loss(logits, shrunk(batch.truth.to(device))) if logits is not None else square.new_zeros(())
        return square, rank, outline

    def _end_of_epoch(self) -> None:
        done = self.done
        rate = float(self.optimizer.param_groups[0]["lr"])
        self.schedule.step()
        if self.ranks.is_first:
            row = self._row(rate)
            done.rows.append(row)
            done.take(row["val_pearson"], self.network.state_dict())
            _log.info("epoch %d of %d: %s", done.epoch + 1, self.options.epochs, {name: round(value, 4) for name, value in row.items()})
        done.epoch, done.step, done.sums = done.epoch + 1, 0, [0.0] * len(done.sums)
        self._save()
        if self.ranks.is_first:
            is_due = done.epoch == self.options.epochs or time.monotonic() - self._drawn > _DRAWN_SECONDS
            write_curves(self.folder, done.rows, done.best_epoch, picture=is_due)
            self._drawn = time.monotonic() if is_due else self._drawn
        self.ranks.wait()

    def _row(self, rate: float) -> dict[str, float]:
        import torch

        square, rank, outline, steps = self.done.sums
        scores = slice_scores(self.network, self.pairs, self.val, self.embedding)
        target = self.pairs.columns["target"][self.val]
        masks = self.pairs.masks_of("val")
        volumes = scores_of_masks(self.pairs, masks, scores, self.val)
        return {
            "epoch": float(self.done.epoch + 1),
            "learning_rate": rate,
            "train_mse": square / max(steps, 1),
            "train_rank": rank / max(steps, 1),
            "train_outline": outline / max(steps, 1),
            "val_mse": float(weighted_mse(torch.from_numpy(scores), torch.from_numpy(target))),
            "val_pearson": pearson(scores, target),
            "val_spearman": spearman(scores, target),
            "val_mae": float(np.abs(scores - target).mean()),
            "val_mask_pearson": pearson(volumes, [self.pairs.masks[mask].dice for mask in masks]),
        }

    def best_weights(self) -> dict[str, Any]:
        """Return the network of the best epoch; other processes than the first one read it from the checkpoint."""
        if self.ranks.is_first:
            return self.done.best_weights
        self.done, _ = read_state(self.folder, self._described())
        return self.done.best_weights


def slice_scores(network: nn.Module, pairs: PairSet, numbers: Array, embedding: Embedding) -> Float32:
    """Return the raw scores (n,) of some slices, without variation; the network is left in evaluation mode."""
    import torch

    network.eval()
    device = next(network.parameters()).device
    result = []
    with torch.inference_mode():
        for start in range(0, len(numbers), _EVALUATED):
            batch = plain_batch(pairs, numbers[start : start + _EVALUATED], embedding)
            result.append(network(batch.images.to(device), torch.from_numpy(batch.embeddings).to(device)).cpu().numpy())
    return np.concatenate(result) if result else np.zeros(0, np.float32)
