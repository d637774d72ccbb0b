"""Small cases to train on: a body of water with an organ on each side, a lung and a spine, in a grid of 6 mm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from AtlasSegmentLib.files import write_json
from AtlasSegmentLib.nifti import write_nifti
from AtlasSegmentLib.train_options import TrainOptions
from AtlasSegmentLib.train_organs import Targets
from AtlasSegmentLib.train_patches import PatchRule
from AtlasSegmentLib.train_rules import LoopRule
from AtlasSegmentLib.volume import Volume

SHAPE = (28, 24, 26)
SPACING = 6.0
VALUES = {1: "liver", 2: "spleen", 3: "kidney_right", 4: "kidney_left", 5: "vertebrae_L1", 6: "vertebrae_L2"}
_BALLS = {1: (0.32, 0.55, 0.6, 0.19, 60), 2: (0.7, 0.5, 0.62, 0.12, 110), 3: (0.33, 0.35, 0.3, 0.09, 180), 4: (0.67, 0.35, 0.3, 0.09, 180)}
"""Value: place (shares of the grid; x runs to the right of the patient's left, RAS), radius, HU."""


def toy(seed: int = 0) -> tuple[Volume, np.ndarray]:
    """Return a CT (int16 HU, RAS+ index order, x to the right) and its label map, in VALUES."""
    rng = np.random.default_rng(seed)
    place = np.stack(np.meshgrid(*[(np.arange(n) + 0.5) / n for n in SHAPE], indexing="ij"))
    body = (((place[0] - 0.5) / 0.44) ** 2 + ((place[1] - 0.5) / 0.4) ** 2) < 1
    hu, labels = np.where(body, 20.0, -1000.0), np.zeros(SHAPE, np.uint8)
    for value, (x, y, z, radius, gray) in _BALLS.items():
        middle = np.array([x, y, z]) + rng.uniform(-0.03, 0.03, 3)
        ball = ((place - middle.reshape(3, 1, 1, 1)) ** 2).sum(0) < (radius * rng.uniform(0.9, 1.1)) ** 2
        hu[ball], labels[ball] = gray, value
    spine = ((place[0] - 0.5) ** 2 + (place[1] - 0.22) ** 2) < 0.07**2
    hu[spine] = 400
    labels[spine & (place[2] < 0.5)], labels[spine & (place[2] >= 0.5)] = 5, 6
    hu = hu + rng.normal(0, 8, SHAPE)
    affine = np.diag([-SPACING, SPACING, SPACING, 1.0])  # x runs from the patient's right to the left: LAS, as many CTs
    affine[:3, 3] = (SPACING * SHAPE[0] / 2, -70, 30)
    return Volume(np.rint(hu).astype(np.int16), affine), labels


def write_toy(folder: Path, seed: int = 0, keep: dict[int, str] | None = None, **changed: Any) -> Path:
    """Write a case folder and return it.

    Args:
        folder: The case.
        seed: Of the person.
        keep: Those labels that the reference has; others are background there and missing in its table.
        changed: `ct` and `labels` in place of the toy's own.
    """
    ct, labels = toy(seed)
    ct, labels = changed.get("ct", ct), changed.get("labels", labels)
    values = VALUES if keep is None else keep
    folder.mkdir(parents=True, exist_ok=True)
    write_nifti(folder / "ct.nii.gz", ct)
    write_nifti(folder / "label.nii.gz", Volume(np.where(np.isin(labels, list(values)), labels, 0).astype(np.uint8), ct.affine))
    table = {"format": "atlas-labels/1", "name": "toy", "labels": {str(value): name for value, name in values.items()}}
    write_json(folder / "label_labels.json", table)
    return folder


def options(**changed: Any) -> TrainOptions:
    """Return a training of seconds."""
    loop = {"steps": 6, "epoch_steps": 3, "batch": 2, "seed": 3, "learning_rate": 1e-2, "checkpoint_seconds": 0.0, "picture": False}
    loop = LoopRule(**{**loop, **changed.pop("loop", {})})
    plain: dict[str, Any] = {"targets": Targets(("liver", "spleen")), "spacing": SPACING, "patches": PatchRule(16), "width": 2, "depth": 2}
    return TrainOptions(**{**plain, "loop": loop, "device": "cpu", "validation": 0.0, **changed})
