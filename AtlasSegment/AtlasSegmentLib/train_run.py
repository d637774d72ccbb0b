"""From folders of cases to a model folder: cubes, training, export, Dice on held-out cases, the model's card."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from AtlasSegmentLib.cases import CaseOutcome
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.files import sha256_of
from AtlasSegmentLib.model_manifest import FILE
from AtlasSegmentLib.names import safe_name
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress, part_of
from AtlasSegmentLib.train_card import Trained, write_model
from AtlasSegmentLib.train_cases import PARTS, Part, TrainCase, find_train_cases, split_cases
from AtlasSegmentLib.train_cubes import Cube, CubeRule, make_cubes
from AtlasSegmentLib.train_loop import train_network
from AtlasSegmentLib.train_network import build_network
from AtlasSegmentLib.train_options import TrainOptions
from AtlasSegmentLib.train_organs import require_flips
from AtlasSegmentLib.train_rules import Material
from AtlasSegmentLib.train_state import FILE as CHECKPOINT
from AtlasSegmentLib.train_weights import SAFETENSORS, pretrained_weights

TRAINING, CUBES = "training", "cubes"
_CUBE_SHARE, _TRAINED = 0.1, 0.97  # of the progress
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainResult:
    """What a training gave.

    Attributes:
        folder: The model folder.
        card: As in its model.json.
        failed: Cases that could not be used.
    """

    folder: Path
    card: dict[str, Any]
    failed: tuple[CaseOutcome, ...]


def train_model(data: Sequence[str | Path], out: Path, options: TrainOptions, progress: ProgressCallback = ignore_progress) -> TrainResult:
    """Train a network on cases with references and write its model folder.

    Args:
        data: See `find_train_cases`.
        out: The model folder; `training` in it keeps cubes, checkpoint and curves.
        options: What and how.
        progress: Told the finished share and the stage.

    Raises:
        InputError: No reference, too few cases, options that do not fit, or a training was started in `out` before.
        ModelError: A package is missing, the weights to begin with do not fit, or the loss is no longer a number.
        StorageError: A file cannot be written.
    """
    from AtlasSegmentLib.torch_device import open_device, require_torch

    require_torch("atlas train")
    safe_name(out.absolute().name, "name of a model")
    _check(out, options)
    device = open_device("atlas train", options.device)
    cases = split_cases(find_train_cases(data, options.choice), options.loop.seed, options.validation, options.val, options.test)
    _check_repeat(cases, options)
    rule = CubeRule(options.targets, options.spacing)
    cubes, failed = make_cubes(
        cases, rule, options.cubes or out / TRAINING / CUBES, jobs=options.jobs, progress=part_of(progress, 0.0, _CUBE_SHARE)
    )
    for outcome in failed:
        _log.error("%s: cannot be used: %s %s", outcome.name, outcome.error, outcome.remedy)
    material = _material(cases, cubes, failed, options)
    start, mark = _start(options)
    network, done = train_network(
        material,
        out / TRAINING,
        options.loop,
        device,
        start=start,
        start_mark=mark,
        resume=options.resume,
        progress=part_of(progress, _CUBE_SHARE, _TRAINED),
    )
    used = [case for case in cases if case.name in cubes]
    card = write_model(Trained(network, done, used, cubes), out, options, part_of(progress, _TRAINED, 1.0))
    if options.cubes is None:
        shutil.rmtree(out / TRAINING / CUBES, ignore_errors=True)  # large, and made again should they be needed
    progress(1.0, "done")
    return TrainResult(out, card, failed)


def _check(out: Path, options: TrainOptions) -> None:
    """Check before the work what can be checked."""
    if (out / FILE).exists() and not (out / TRAINING / CHECKPOINT).is_file():
        message = f"{out}: holds a model that was not trained here."
        raise InputError(message, "Choose another --out; nothing is overwritten.")
    if (out / TRAINING / CHECKPOINT).is_file() and not options.resume:
        message = f"{out}: a training has been started here."
        raise InputError(message, "Add --resume to go on, or choose another --out.")
    options.network.require_patch(options.patches.size)
    if not 0.3 <= options.spacing <= 20:
        message = f"A spacing of {options.spacing} mm is not between 0.3 and 20 mm."
        raise InputError(message, "Give --spacing in mm, such as 3.0.")
    if options.patches.variation.flips:
        require_flips(options.targets)


def _check_repeat(cases: Sequence[TrainCase], options: TrainOptions) -> None:
    trained = sorted(case.name for case in cases if case.part == "train")
    for name, times in options.repeat.items():
        if name not in trained:
            message = f"{name}: is to be drawn {times} times and is no training case."
            raise InputError(message, f"The training cases are {', '.join(trained[:12])}.")


def _material(cases: Sequence[TrainCase], cubes: dict[str, Cube], failed: tuple[CaseOutcome, ...], options: TrainOptions) -> Material:
    held_out = [outcome for outcome in failed if outcome.name in {*options.val, *options.test}]
    if held_out:
        message = f"{held_out[0].name}: was to be held out and cannot be used: {held_out[0].error}"
        raise InputError(message, held_out[0].remedy)
    usable = [case for case in cases if case.name in cubes]
    parts: dict[Part, list[Cube]] = {part: [cubes[case.name] for case in usable if case.part == part] for part in PARTS}
    often = [cubes[case.name] for case in usable if case.part == "train" for _ in range(options.repeat.get(case.name, 1))]
    if not parts["train"]:
        first = failed[0] if failed else None
        message = f"none of {len(cases)} cases is left to train on" + (f"; {first.name}: {first.error}" if first else ".")
        raise InputError(message, first.remedy if first else "Add cases with references.")
    seen = [any(known) for known in zip(*(cube.known for cube in parts["train"]), strict=True)]
    there = {channel for cube in parts["train"] for channel in cube.places}
    missing = [name for channel, name in enumerate(options.targets.names, 1) if not seen[channel] or channel not in there]
    if missing:
        message = f"{missing[0]}: no training case has it" + (f", nor {', '.join(missing[1:6])}" if missing[1:] else "") + "."
        raise InputError(message, "Add cases whose references have it, or leave it out of --organs.")
    if not parts["val"]:
        _log.warning("No case is held out for validation: the last weights are kept, and nothing is known of other cases.")
    return Material(options.targets, often, parts["val"], options.network, options.patches)


def _start(options: TrainOptions) -> tuple[dict[str, Any] | None, str]:
    """Return the weights to begin with and what they are."""
    if options.pretrained is None:
        return None, ""
    import torch

    torch.manual_seed(options.loop.seed)
    weights = pretrained_weights(options.pretrained, options.network, options.targets, build_network(options.network))
    return weights, sha256_of(options.pretrained / SAFETENSORS)[:16]
