"""What a training is asked for: steps, learning rate, cases, network, patches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.train_cubes import Cube
from AtlasSegmentLib.train_network import NetworkRule
from AtlasSegmentLib.train_organs import Targets
from AtlasSegmentLib.train_patches import PatchRule

Optimizer = Literal["adamw", "sgd"]
OPTIMIZERS: tuple[Optimizer, ...] = ("adamw", "sgd")


@dataclass(frozen=True)
class LoopRule:
    """How a network is trained.

    Attributes:
        steps: Batches.
        epoch_steps: Steps between two validations, at whose end a checkpoint is written.
        batch: Patches in one step.
        optimizer: "adamw", or "sgd" with Nesterov momentum of 0.99.
        learning_rate: The largest; it rises over the first 2 % of the steps and falls along a cosine to a hundredth.
        weight_decay: Of the weights.
        average: Share of the old in the running average of the weights, which is validated and kept; 0 takes the weights as they are.
        seed: Of weights, order and variation.
        amp: Half precision on a GPU, bfloat16 on a CPU.
        checkpoint_seconds: A checkpoint is also written within an epoch when so much time has passed.
        picture: Also draw the curves; at the end and now and then before.
    """

    steps: int = 1000
    epoch_steps: int = 100
    batch: int = 2
    optimizer: Optimizer = "adamw"
    learning_rate: float = 0.01
    weight_decay: float = 1e-4
    average: float = 0.99
    seed: int = 0
    amp: bool = False
    checkpoint_seconds: float = 60.0
    picture: bool = True

    def __post_init__(self) -> None:
        if min(self.steps, self.epoch_steps, self.batch) < 1 or not 0 < self.learning_rate <= 1 or not 0 <= self.average < 1:
            message = f"{self.steps} steps of {self.batch} patches at a learning rate of {self.learning_rate} cannot be trained."
            raise InputError(message, "Give at least one step, one patch in a batch, and a learning rate between 0 and 1.")

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        warm = max(1, self.steps // 50)
        falling = 0.5 * (1 + math.cos(math.pi * min(step / self.steps, 1)))
        return self.learning_rate * min(1.0, (step + 1) / warm) * (0.01 + 0.99 * falling)


@dataclass(frozen=True)
class Material:
    """What is learned from.

    Attributes:
        targets: The channels.
        train, val: Cases.
        network: What is built.
        patches: How patches are drawn.
    """

    targets: Targets
    train: Sequence[Cube]
    val: Sequence[Cube]
    network: NetworkRule
    patches: PatchRule = field(default_factory=PatchRule)
