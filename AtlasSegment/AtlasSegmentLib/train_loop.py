"""The training loop of `atlas train`: patches of many cases, Dice and cross-entropy, a falling learning rate, an average of the weights.

The order of cases, patches and their variation follow from seed and step alone, so that a run that was stopped anywhere ends with the same
weights as one that was not.
"""

from __future__ import annotations

import json
import logging
import math
import time
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from AtlasSegmentLib.errors import InputError, ModelError
from AtlasSegmentLib.files import make_folder, storage_errors
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.train_curves import write_curves
from AtlasSegmentLib.train_input import network_values
from AtlasSegmentLib.train_loss import supervised
from AtlasSegmentLib.train_network import build_network
from AtlasSegmentLib.train_patches import Patches, draw
from AtlasSegmentLib.train_random import repeatable
from AtlasSegmentLib.train_rules import LoopRule, Material
from AtlasSegmentLib.train_state import FILE, Progress, read_state, write_state
from AtlasSegmentLib.train_validation import dice_of, mean_dice, predicted_labels

if TYPE_CHECKING:
    import torch
    from torch import nn

_NOT_DECIDING = {"checkpoint_seconds", "picture"}
_CLIP = 12.0  # largest norm of a gradient
_DRAWN_SECONDS = 30.0
_log = logging.getLogger(__name__)


def train_network(
    material: Material,
    folder: Path,
    rule: LoopRule,
    device: torch.device,
    *,
    start: dict[str, Any] | None = None,
    start_mark: str = "",
    resume: bool = False,
    progress: ProgressCallback = ignore_progress,
) -> tuple[nn.Module, Progress]:
    """Train a network; return it on the CPU with the weights of the highest mean Dice on validation, or the last ones without any.

    Args:
        material: What and how.
        folder: For checkpoint and curves.
        rule: How.
        device: Where.
        start: Weights to begin with (fine-tuning).
        start_mark: Says which these are; part of what a resumed run must share.
        resume: Go on where the checkpoint in `folder` stands, if there is one.
        progress: Told the finished share and the last figures.

    Raises:
        InputError: A checkpoint is there and `resume` is not asked for, or it belongs to other options or cases.
        ModelError: The loss is no longer a number.
        StorageError: A file cannot be written.
    """
    with repeatable(rule.seed):
        training = _Training(material, folder, rule, device, start, start_mark)
        training.begin(resume=resume)
        while training.done.step < rule.steps:
            training.epoch(progress)
        training.network.load_state_dict(training.done.best_weights or training.kept())
        return training.network.cpu().eval(), training.done


class _Training:
    """Network, optimizer and where they stand."""

    def __init__(
        self, material: Material, folder: Path, rule: LoopRule, device: torch.device, start: dict[str, Any] | None, start_mark: str
    ) -> None:
        import torch

        self.material, self.folder, self.rule, self.device, self.start_mark = material, folder, rule, device, start_mark
        self.network = build_network(material.network)
        if start is not None:
            self.network.load_state_dict(start)
        self.network = self.network.to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.average = {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()} if rule.average else {}
        self.optimizer = self._optimizer()
        self.scaler = torch.amp.GradScaler(device.type, enabled=rule.amp and device.type == "cuda")
        self.done = Progress()
        self._saved = self._drawn = self._began = time.monotonic()

    def _optimizer(self) -> torch.optim.Optimizer:
        import torch

        rule, weights = self.rule, self.network.parameters()
        if rule.optimizer == "sgd":
            return torch.optim.SGD(weights, lr=rule.learning_rate, momentum=0.99, nesterov=True, weight_decay=rule.weight_decay)
        return torch.optim.AdamW(weights, lr=rule.learning_rate, weight_decay=rule.weight_decay)

    def begin(self, *, resume: bool) -> None:
        """Begin, or go on where a checkpoint stands."""
        with storage_errors(self.folder):
            make_folder(self.folder)
        if not (self.folder / FILE).is_file():
            return
        if not resume:
            message = f"{self.folder / FILE}: a training has been started here."
            raise InputError(message, "Add --resume to go on, or choose another --out.")
        self.done, parts = read_state(self.folder, self._described())
        self.network.load_state_dict(parts["network"])
        self.optimizer.load_state_dict(parts["optimizer"])
        self.scaler.load_state_dict(parts["scaler"])
        self.average = {name: tensor.to(self.device) for name, tensor in parts["average"].items()}

    def _described(self) -> dict[str, Any]:
        """Return what decides the result, as plain values."""
        material = self.material
        said = {
            **{name: value for name, value in asdict(self.rule).items() if name not in _NOT_DECIDING},
            "network": asdict(material.network),
            "patches": asdict(material.patches),
            "organs": list(material.targets.names),
            "train": [cube.key[:16] for cube in material.train],
            "val": [cube.key[:16] for cube in material.val],
            "pretrained": self.start_mark,
            "device": self.device.type,
        }
        plain: dict[str, Any] = json.loads(json.dumps(said))
        return plain

    def _save(self) -> None:
        now = time.monotonic()
        self.done.seconds += now - self._began
        self._began = self._saved = now
        parts = {
            "network": self.network.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        write_state(self.folder, self.done, parts, self._described())

    def epoch(self, progress: ProgressCallback) -> None:
        """Train to the end of an epoch and validate."""
        done, rule = self.done, self.rule
        stop = min(rule.steps, (done.step // rule.epoch_steps + 1) * rule.epoch_steps)
        for step in range(done.step, stop):
            losses = self._step(step)
            done.sums = [a + b for a, b in zip(done.sums, (*losses, 1.0), strict=True)]
            done.step = step + 1
            progress((step + 1) / rule.steps, f"step {step + 1} of {rule.steps}{self._told()}")
            if time.monotonic() - self._saved > rule.checkpoint_seconds and step + 1 < stop:
                self._save()
        self._end_of_epoch()

    def _told(self) -> str:
        dice, entropy, steps = self.done.sums
        loss = f", 1 - Dice {dice / steps:.3f}, cross-entropy {entropy / steps:.3f}" if steps else ""
        seen = [row["val_dice"] for row in self.done.rows if math.isfinite(row["val_dice"])]
        return loss + (f", Dice on validation {seen[-1]:.3f}" if seen else "")

    def _step(self, step: int) -> tuple[float, float]:
        import torch

        material, rule = self.material, self.rule
        patches = draw(material.train, material.patches, material.targets, rule.batch, rule.seed, step)
        image, labels, known = self._tensors(patches)
        self.network.train()
        for group in self.optimizer.param_groups:
            group["lr"] = rule.rate(step)
        with self._precision():
            outputs = self.network(image)
        dice, entropy = supervised(outputs, labels, known)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(dice + entropy).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), _CLIP)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self._average(step)
        found = float(dice.detach()), float(entropy.detach())
        if not all(map(math.isfinite, found)):
            message = f"the loss is no longer a number in step {step + 1}."
            raise ModelError(message, "Train again with a smaller --learning-rate.")
        return found

    def _tensors(self, patches: Patches) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        import torch

        image = torch.from_numpy(network_values(patches.hu))[:, None].to(self.device)
        return image, torch.from_numpy(patches.labels).to(self.device, torch.int64), torch.from_numpy(patches.known).to(self.device)

    def _precision(self) -> Any:
        import torch

        if not self.rule.amp:
            return nullcontext()
        return torch.autocast(self.device.type, torch.float16 if self.device.type == "cuda" else torch.bfloat16)

    def _average(self, step: int) -> None:
        """Take the new weights into the running average, which is short at the beginning."""
        import torch

        if not self.rule.average:
            return
        keep = min(self.rule.average, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, tensor in self.network.state_dict().items():
                self.average[name].mul_(keep).add_(tensor, alpha=1 - keep)

    def kept(self) -> dict[str, Any]:
        """Return the weights that are validated and kept."""
        return self.average or self.network.state_dict()

    def _end_of_epoch(self) -> None:
        done, rule = self.done, self.rule
        row, score = self._row()
        done.rows.append(row)
        if math.isfinite(score):
            done.take(score, self.kept())
        _log.info("%s", {name: round(value, 4) for name, value in row.items()})
        done.sums = [0.0, 0.0, 0.0]
        self._save()
        is_due = rule.picture and (done.step >= rule.steps or time.monotonic() - self._drawn > _DRAWN_SECONDS)
        write_curves(self.folder, done.rows, self.material.targets.names, done.best_step, picture=is_due)
        self._drawn = time.monotonic() if is_due else self._drawn

    def _row(self) -> tuple[dict[str, float], float]:
        dice, entropy, steps = self.done.sums
        score, organs = self._validated()
        row = {
            "epoch": float(len(self.done.rows) + 1),
            "step": float(self.done.step),
            "learning_rate": self.rule.rate(self.done.step - 1),
            "dice_loss": dice / max(steps, 1),
            "cross_entropy": entropy / max(steps, 1),
            "val_dice": score,
        }
        return {**row, **organs}, score

    def _validated(self) -> tuple[float, dict[str, float]]:
        """Return mean Dice and Dice of each organ on validation, of the weights that would be kept."""
        if not self.material.val:
            return math.nan, {}
        now = {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()}
        self.network.load_state_dict(self.kept())
        self.network.eval()
        size = self.material.patches.size
        cases = [dice_of(predicted_labels(self.network, cube, size), cube.labels, cube.known) for cube in self.material.val]
        self.network.load_state_dict(now)
        score, organs = mean_dice(cases)
        return score, {self.material.targets.names[channel - 1]: value for channel, value in organs.items()}
