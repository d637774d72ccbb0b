"""All that a training is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from AtlasSegmentLib.devices import Device
from AtlasSegmentLib.inference_settings import Precision
from AtlasSegmentLib.train_cases import Choice
from AtlasSegmentLib.train_network import Architecture, NetworkRule
from AtlasSegmentLib.train_organs import Targets
from AtlasSegmentLib.train_patches import PatchRule
from AtlasSegmentLib.train_rules import LoopRule


@dataclass(frozen=True)
class TrainOptions:
    """A whole training.

    Attributes:
        targets: What is learned.
        choice: Which references.
        spacing: mm.
        patches: How patches are drawn.
        architecture, width, depth, deep: See `NetworkRule`.
        loop: How the network is trained.
        validation: Share of the cases held out for validation, where nothing says it.
        val, test: Names of cases that are held out.
        repeat: Name of a training case to how often it is drawn where others are drawn once (a few real CTs among many phantoms).
        pretrained: Model folder whose weights are the beginning.
        cubes: Folder of the resampled cases, which several trainings may share; inside the model folder by default.
        device: Where it is trained.
        jobs: Cases resampled side by side.
        precision: Of the ONNX file.
        resume: Go on with what was stopped.
        texts: What model.json says of the model: title, version, license, citation, purpose.
    """

    targets: Targets
    choice: Choice = field(default_factory=Choice)
    spacing: float = 3.0
    patches: PatchRule = field(default_factory=PatchRule)
    architecture: Architecture = "block-unet"
    width: int = 12
    depth: int = 4
    deep: bool = False
    loop: LoopRule = field(default_factory=LoopRule)
    validation: float = 0.15
    val: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    repeat: dict[str, int] = field(default_factory=dict)
    pretrained: Path | None = None
    cubes: Path | None = None
    device: Device = "auto"
    jobs: int = 1
    precision: Precision = "float32"
    resume: bool = False
    texts: dict[str, str] = field(default_factory=dict)

    @property
    def network(self) -> NetworkRule:
        """What is built."""
        return NetworkRule(self.targets.channels, self.width, self.depth, self.deep, self.architecture)
