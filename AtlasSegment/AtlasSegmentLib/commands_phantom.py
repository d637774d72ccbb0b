"""The command `atlas phantom`: anatomical phantoms as cases."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from AtlasSegmentLib import console
from AtlasSegmentLib.case_parts import parse_part
from AtlasSegmentLib.cases import run_cases
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.phantom_errors import ErrorOptions
from AtlasSegmentLib.phantom_files import MOST_PREDICTIONS, PhantomRequest, write_phantom
from AtlasSegmentLib.phantom_person import PHASES
from AtlasSegmentLib.phantom_scanner import ScanOptions

_LINES = 26  # of a large data set only the first cases are described


def add_to(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("phantom")(phantom_command)


def phantom_command(
    out: Annotated[Path, typer.Option(readable=False, help="Dataset folder; each phantom becomes a case in it.")],
    seed: Annotated[int, typer.Option(min=0, help="Decides everything that is not given; of several cases, the first one's.")] = 0,
    cases: Annotated[int, typer.Option(min=1, help="How many phantoms; each has its own seed, one after another.")] = 1,
    spacing: Annotated[str, typer.Option(help="Voxels in mm: one number, or three as 0.8,0.8,2.5.")] = "3",
    size: Annotated[str | None, typer.Option(help="Voxels along x, y, z, as 256,256,200; by default what the torso needs.")] = None,
    phase: Annotated[str | None, typer.Option(help=f"Contrast phase ({', '.join(PHASES)}) in place of the seed's choice.")] = None,
    stones: Annotated[bool | None, typer.Option("--stones/--no-stones", help="Stones in gall bladder and kidney.")] = None,
    noise: Annotated[float, typer.Option(min=0, max=100, help="Multiplies the noise of the scanner.")] = 1.0,
    streaks: Annotated[float, typer.Option(min=0, max=100, help="Multiplies the streaks across hips and shoulders.")] = 1.0,
    table: Annotated[bool, typer.Option("--table/--no-table", help="The table below the person.")] = True,
    predictions: Annotated[
        int, typer.Option(min=0, max=MOST_PREDICTIONS, help="Also write what so many imperfect networks might say.")
    ] = 0,
    error: Annotated[
        float, typer.Option(min=0.1, max=100, help="Deviation of their surfaces in mm, in the median.")
    ] = ErrorOptions.surface,
    readers: Annotated[int, typer.Option(min=0, max=MOST_PREDICTIONS, help="Also write what so many hurried readers might draw.")] = 0,
    jobs: console.JobsOption = 1,
    scheduler: console.SchedulerOption = None,
    part: console.PartOption = None,
    force: console.ForceOption = False,
    as_json: console.JsonOption = False,
) -> None:
    """Make anatomical phantoms: the CT of a torso with exact labels, from a seed.

    Each case holds ct.nii.gz, reference_label.nii.gz with its label table, and phantom.json; the same seed gives the same bytes.

    Example: atlas phantom --seed 7 --spacing 3 --predictions 3 --out data/phantoms
    """
    scan = ScanOptions(noise, streaks, table)
    mm = _three(spacing, "--spacing")
    shape = None if size is None else _voxels(size)
    errors = ErrorOptions(surface=error)
    requests = [
        PhantomRequest(out, number, mm, shape, phase, stones, scan, predictions, errors, readers, force)
        for number in range(seed, seed + cases)
    ]
    if part is not None:
        requests = parse_part(part).of(requests, _name)
    with console.progress_bar("phantom") as progress:
        outcomes = run_cases(requests, write_phantom, _name, jobs=jobs, scheduler=scheduler, progress=progress)
    if not as_json:
        for outcome in outcomes[:_LINES]:
            if outcome.state == "done":
                console.print_line(_summary(outcome.result))
    console.finish("phantom", outcomes, as_json)


def _name(request: PhantomRequest) -> str:
    return request.name


def _summary(result: dict[str, object]) -> str:
    person = result["person"]
    if not isinstance(person, dict):
        return str(result["folder"])
    who = f"{person['sex']}, {person['age']:.0f} years, {person['height']:.0f} cm, BMI {person['bmi']:.0f}, contrast {person['phase']}"
    return f"{result['folder']}: {who}"


def _three(text: str, option: str) -> tuple[float, float, float]:
    """Return three numbers from "3" or "0.8,0.8,2.5"."""
    try:
        found = [float(word) for word in text.split(",")]
    except ValueError:
        found = []
    if len(found) not in (1, 3) or not all(math.isfinite(number) for number in found):
        message = f"{option} {text!r} is not one number or three."
        raise InputError(message, f"Write it as {option} 3 or {option} 1,1,2.")
    x, y, z = found * 3 if len(found) == 1 else found
    return x, y, z


def _voxels(text: str) -> tuple[int, int, int]:
    """Return three whole numbers."""
    found = _three(text, "--size")
    if not all(0 < number < 1e5 and number.is_integer() for number in found):
        message = f"--size {text!r} is not three whole numbers of voxels."
        raise InputError(message, "Write it as --size 256,256,200.")
    x, y, z = (int(number) for number in found)
    return x, y, z
