"""A small nnU-Net trained for a few minutes on a real CT, for measurements that need a network which has learned something.

    python Testing/Benchmarks/brief_training.py FOLDER --steps 1200              a small network
    python Testing/Benchmarks/brief_training.py FOLDER --steps 80 --realistic    31 million parameters

It is no model to use: one CT, labels of another network, a few hundred steps. What it is for: the agreement of presets and engines on
organs instead of the noise that random weights predict.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import nnunet_models
from AtlasSegmentLib.labels import load_table
from AtlasSegmentLib.nnunet_image import layout, network_image
from AtlasSegmentLib.nnunet_load import load_nnunet
from AtlasSegmentLib.volume_io import read_label_volume, read_volume

ROOT = Path(__file__).parents[2]
ORGANS = {
    "spleen": ("spleen",),
    "liver": ("liver",),
    "kidneys": ("kidney_",),
    "lungs": ("lung_",),
    "heart": ("heart",),
    "aorta": ("aorta",),
    "colon": ("colon",),
    "vertebrae": ("vertebrae_", "sacrum"),
    "pelvis": ("hip_", "femur_"),
    "back_muscles": ("autochthon_", "iliopsoas_"),
}
PATCH, SMALLER = (64, 80, 80), (32, 64, 64)
"""Of the training, in voxels of the network [z, y, x]: of the small network, and of the large one, which would take hours; the model folder
keeps the patch of its plans."""
_INTENSITIES = {
    "mean": 20.0,
    "std": 180.0,
    "median": 40.0,
    "percentile_00_5": -900.0,
    "percentile_99_5": 500.0,
    "min": -1024.0,
    "max": 3000.0,
}


def train(folder: Path, data: Path, steps: int, *, realistic: bool = False, seed: int = 0) -> Path:
    """Train on torso-3mm and return the nnU-Net model folder.

    Args:
        folder: Of nnU-Net's results.
        data: Holds torso-3mm.
        steps: Of one patch each.
        realistic: With the plans of AutoOrgan's skeleton model (31 million parameters) instead of a small network.
        seed: Of weights and patches.
    """
    import torch

    torch.manual_seed(seed)
    plans = nnunet_models.realistic_plans() if realistic else _small_plans()
    options: dict[str, Any] = {"plans": plans, "labels": list(ORGANS), "dataset": plans["dataset_name"], "mirror_axes": (0, 1, 2)}
    model = nnunet_models.make_nnunet_model(folder, **options)
    image, labels = _example(model, data / "torso-3mm")
    checkpoint = model / "fold_0" / "checkpoint_final.pth"
    saved = torch.load(checkpoint, weights_only=False)
    network = nnunet_models._build(plans["configurations"]["3d_fullres"], 1, len(ORGANS) + 1, "nnUNetTrainer").train()
    _fit(network, _Patches(image, labels, SMALLER if realistic else PATCH, np.random.default_rng(seed)), steps)
    torch.save({**saved, "network_weights": network.state_dict()}, checkpoint)
    return model


def _small_plans() -> dict[str, Any]:
    plans = nnunet_models.make_plans("new", "plain", (3.0, 3.0, 3.0), (80, 80, 80), shape=nnunet_models.Shape(12, 128, 5, 1))
    return {**plans, "foreground_intensity_properties_per_channel": {"0": _INTENSITIES}}


def merged(labels: Any) -> Any:
    """Return a label volume of TotalSegmentator's with the numbers of ORGANS."""
    table, found = load_table("totalsegmentator_v2"), np.zeros(labels.shape, np.uint8)
    for value, beginnings in enumerate(ORGANS.values(), start=1):
        known = [number for number, name in table.labels.items() if name.startswith(beginnings)]
        found[np.isin(labels.array, known)] = value
    return found


def _example(model: Path, folder: Path) -> tuple[Any, Any]:
    ct = read_volume(folder / "ct.nii.gz")
    labels = read_label_volume(folder / "reference_label.nii.gz", load_table("totalsegmentator_v2"))
    spec = load_nnunet(model, device="cpu").spec
    form = layout(ct.array, ct.spacing.tolist(), spec.plans, spec.configuration)
    image = network_image(ct.array, form, spec.plans, spec.configuration)
    return image, merged(labels).transpose(form.axes)[form.crop]  # the CT has the network's spacing


class _Patches:
    """Patches around voxels of random classes, mirrored at random and with other intensities."""

    def __init__(self, image: Any, labels: Any, size: tuple[int, int, int], rng: np.random.Generator) -> None:
        self._image, self._labels, self._size, self._rng = image, labels, size, rng
        places = [np.argwhere(labels == value) for value in range(len(ORGANS) + 1)]
        self._places = [found for found in places if len(found)]

    def draw(self) -> tuple[Any, Any]:
        """Return image (Z, Y, X) float32 and labels (Z, Y, X) uint8 of the next one."""
        rng, size = self._rng, self._size
        here = self._places[rng.integers(len(self._places))]
        center = here[rng.integers(len(here))] + rng.integers(-12, 13, 3)
        corner = [int(np.clip(c - p // 2, 0, n - p)) for c, p, n in zip(center, size, self._image.shape, strict=True)]
        box = tuple(slice(first, first + length) for first, length in zip(corner, size, strict=True))
        mirrored = tuple(slice(None, None, int(rng.choice((-1, 1)))) for _ in size)
        shown = self._image[box][mirrored] * rng.uniform(0.9, 1.1) + rng.uniform(-0.1, 0.1)
        return np.ascontiguousarray(shown, np.float32), np.ascontiguousarray(self._labels[box][mirrored])


def _fit(network: Any, patches: _Patches, steps: int) -> None:
    import torch

    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.1)
    losses = []
    for step in range(steps):
        shown, truth = (torch.from_numpy(part[None]) for part in patches.draw())
        loss = _loss(network(shown[:, None]), truth.long())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 12)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % 20 == 19:
            print(f"  step {step + 1} of {steps}: mean loss {np.mean(losses[-20:]):.3f}", flush=True)
    network.eval()


def _loss(logits: Any, truth: Any) -> Any:
    import torch

    probability = logits.softmax(1)
    wanted = torch.nn.functional.one_hot(truth, logits.shape[1]).movedim(-1, 1).float()
    axes = (0, 2, 3, 4)
    dice = (2 * (probability * wanted).sum(axes) + 1) / (probability.sum(axes) + wanted.sum(axes) + 1)
    return torch.nn.functional.cross_entropy(logits, truth) - dice[1:].mean()


def main() -> None:
    """Train what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("ATLAS_SHARED", ROOT.parent / "shared")) / "data")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--realistic", action="store_true")
    arguments = parser.parse_args()
    print(train(arguments.folder, arguments.data, arguments.steps, realistic=arguments.realistic))


if __name__ == "__main__":
    main()
