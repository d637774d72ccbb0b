"""The model folder of a training, and its card: data, recipe, software, and the Dice on cases that were not trained on."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from AtlasSegmentLib.inference_settings import PRESETS
from AtlasSegmentLib.progress import ProgressCallback
from AtlasSegmentLib.train_cases import PARTS, Part, TrainCase
from AtlasSegmentLib.train_cubes import Cube, read_case
from AtlasSegmentLib.train_export import export_network, write_manifest
from AtlasSegmentLib.train_network import parameters_of
from AtlasSegmentLib.train_options import TrainOptions
from AtlasSegmentLib.train_state import Progress
from AtlasSegmentLib.train_validation import dice_of, mean_dice

if TYPE_CHECKING:
    from torch import nn

_PACKAGES = ("torch", "monai", "numpy", "scipy", "onnx", "onnxruntime")
_USE = "Research. Not for clinical use."


@dataclass(frozen=True)
class Trained:
    """A network, how it came about, and from which cases.

    Attributes:
        network: On the CPU, in evaluation mode.
        done: Where the training stands: at its end.
        cases: Those that were used, with their parts.
        cubes: Case name to cube.
    """

    network: nn.Module
    done: Progress
    cases: Sequence[TrainCase]
    cubes: dict[str, Cube]

    def of(self, part: Part) -> list[TrainCase]:
        """Return the cases of a part."""
        return [case for case in self.cases if case.part == part]


def write_model(trained: Trained, folder: Path, options: TrainOptions, progress: ProgressCallback) -> dict[str, Any]:
    """Export a network, measure it on held-out cases as users will run it, and write its card; return the card.

    Args:
        trained: The network.
        folder: The model folder.
        options: What was asked for.
        progress: Told the finished share.

    Raises:
        ModelError: See `export_network`.
        StorageError: A file cannot be written.
    """
    progress(0.0, "export")
    parity = export_network(trained.network, folder, options.network, options.patches.size, options.precision)
    card: dict[str, Any] = {
        "made_with": "atlas train",
        "use": options.texts.get("purpose") or _USE,
        "data": _data_facts(trained, options),
        "recipe": _recipe(trained, options),
        "software": {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
        "export": {"precision": options.precision, "same_class": parity.same_class, "largest_difference": parity.max_difference},
    }
    write_manifest(folder, options, card)
    progress(0.3, "measure on held-out cases")
    card["validation"] = _figures(trained.of("val"), folder, options)
    progress(0.7, "measure on test cases")
    card["test"] = _figures(trained.of("test"), folder, options)
    write_manifest(folder, options, card)
    return card


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _data_facts(trained: Trained, options: TrainOptions) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for part in PARTS:
        own = trained.of(part)
        known = np.array([trained.cubes[case.name].known for case in own], bool).reshape(len(own), options.targets.channels)
        facts[part] = {
            "cases": len(own),
            "names": [case.name for case in own],
            "organs": {name: int(known[:, channel].sum()) for channel, name in enumerate(options.targets.names, 1)} if own else {},
        }
    return facts


def _recipe(trained: Trained, options: TrainOptions) -> dict[str, Any]:
    done = trained.done
    loop = {name: value for name, value in asdict(options.loop).items() if name not in {"checkpoint_seconds", "picture"}}
    return {
        **loop,
        "patch": options.patches.size,
        "repeat": options.repeat,
        "variation": asdict(options.patches.variation),
        "loss": "soft Dice over the batch + cross-entropy; organs that a reference cannot tell are merged into its background",
        "parameters": parameters_of(trained.network),
        "pretrained": options.pretrained.absolute().name if options.pretrained else None,
        "kept": "highest mean Dice on validation" if done.best_weights else "last",
        "best_step": done.best_step if done.best_weights else done.step,
        "best_validation_dice": None if not done.best_weights else round(done.best, 4),
        "minutes": round(done.seconds / 60, 1),
    }


def _figures(cases: Sequence[TrainCase], folder: Path, options: TrainOptions) -> dict[str, Any] | None:
    """Return the Dice of the exported model on each CT's own grid; None without cases."""
    from AtlasSegmentLib.model import load_model

    if not cases:
        return None
    model = load_model(folder, 0, "cpu")
    found: dict[str, dict[int, float]] = {}
    for case in cases:
        ct, labels, known = read_case(case, options.targets)
        predicted = np.zeros(ct.shape, np.uint8)
        for value, mask in model.segment(ct, None, PRESETS["balanced"]).masks(ct.grid).items():
            predicted[mask.box][mask.crop.astype(bool)] = value
        found[case.name] = dice_of(predicted, labels.array, known)
    mean, organs = mean_dice(list(found.values()))
    names = options.targets.names
    return {
        "cases": len(cases),
        "mean_dice": round(mean, 4) if found else None,
        "dice": {names[channel - 1]: round(value, 4) for channel, value in organs.items()},
        "each": {case: {names[channel - 1]: round(value, 4) for channel, value in dice.items()} for case, dice in found.items()},
        "note": "Not trained on. Agreement with each case's reference, which may itself be a network's or a phantom's.",
    }
