"""What is killed: each command, on a folder without results and on one whose results it has to replace."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from AtlasSegmentLib.nifti import read_nifti, write_nifti
from AtlasSegmentLib.volume import Volume
from tiny_inputs import TinyInputs

COMMANDS = ("segment", "average", "attention", "priority", "revise", "assemble", "run")
DATASET = "04_LiTS"
CASE = f"{DATASET}/scan"
ORGAN = "spleen"
Run = Callable[[list[str], Path], tuple[int, str]]


@dataclass(frozen=True)
class Scenario:
    """One command, run in a folder after other commands made its start.

    Attributes:
        name: Unique.
        arguments: The command that is killed.
        steps: Commands that make the start; each is run in the folder.
        inputs: Copied to `inputs/`, so that they can be compared.
        is_revision: Every run adds a revision, also the one after the kill.
    """

    name: str
    arguments: list[str]
    inputs: TinyInputs
    steps: list[list[str]] = field(default_factory=list)
    is_revision: bool = False

    def make_start(self, folder: Path, run: Run) -> None:
        """Copy the inputs and run the steps."""
        (folder / "inputs").mkdir()
        for path in (self.inputs.ct, self.inputs.roi, self.inputs.original):
            shutil.copy2(path, folder / "inputs" / path.name)
        for model in self.inputs.models:
            shutil.copytree(model, folder / "inputs" / model.name)
        for step in self.steps:
            code, out = run(step, folder)
            if code:
                message = f"{self.name}: {step} exits {code}: {out} {(folder.parent / 'stderr').read_text()}"
                raise SystemExit(message)
            _make_masks(folder)


def _make_masks(folder: Path) -> None:
    """Put corrected masks beside the inputs once there is an average: the predicted mask, moved by one and two voxels."""
    predicted = folder / CASE / "average/segmentations" / f"{ORGAN}.nii.gz"
    if predicted.is_file():
        volume = read_nifti(predicted)
        for shift in (1, 2):
            moved = np.roll(volume.array, shift, axis=0)
            write_nifti(folder / "inputs" / f"mask{shift}.nii.gz", Volume(moved, volume.affine))


def scenarios(command: str, inputs: TinyInputs) -> list[Scenario]:
    """Return the two scenarios of a command: nothing there, and other results there."""
    given = [f"inputs/{inputs.ct.name}", "--roi", f"inputs/{inputs.roi.name}", "--original", f"inputs/{inputs.original.name}"]
    given += [part for model in inputs.models for part in ("--model", f"inputs/{model.name}")]
    segment = ["segment", *given, "--out", DATASET, "--case", "scan", "--json"]
    whole_run = ["run", *given, "--dataset-id", "04", "--out", "results", "--case", "scan", "--json"]
    average, attention, priority = ["average", DATASET, "--json"], ["attention", DATASET, "--json"], ["priority", DATASET, "--json"]
    first, second = (_revise(number) for number in (1, 2))
    assemble = ["assemble", DATASET, "--out", "release", "--json"]
    chain = [segment, average, attention, priority, first]
    starts: dict[str, tuple[list[str], list[list[str]], list[str]]] = {  # command, before it, what it replaces
        "segment": (segment, [], [*segment, "--no-postprocess"]),
        "average": (average, chain[:1], [*average, "--no-postprocess"]),
        "attention": (attention, chain[:2], [*attention, "--parts"]),
        "priority": (priority, chain[:3], [*priority, "--order", "gain"]),
        "revise": (first, chain[:2], second),
        "assemble": (assemble, chain, [*assemble, "--release", "1.0"]),
        "run": (whole_run, [], [*whole_run, "--no-postprocess"]),
    }
    arguments, steps, replaced = starts[command]
    made = partial(Scenario, arguments=arguments, inputs=inputs, is_revision=command == "revise")
    return [made(f"{command}-new", steps=steps), made(f"{command}-replace", steps=[*steps, replaced])]


def _revise(mask: int) -> list[str]:
    return ["revise", CASE, ORGAN, "--mask", f"inputs/mask{mask}.nii.gz", "--reader", "Dr. Ada", "--json"]
