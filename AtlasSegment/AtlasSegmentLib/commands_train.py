"""The command `atlas train`: a segmentation network of one's own, from cases with references."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from AtlasSegmentLib import console
from AtlasSegmentLib.devices import Device, device_of
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.inference_settings import Precision
from AtlasSegmentLib.progress import ProgressCallback
from AtlasSegmentLib.remaining_time import RemainingTime, rounded_seconds
from AtlasSegmentLib.train_network import ARCHITECTURES

if TYPE_CHECKING:
    from AtlasSegmentLib.train_options import TrainOptions
    from AtlasSegmentLib.train_run import TrainResult

_EVERY_SECONDS = 30.0
_PERCENT = 100
_MOST_REPEATS = 1000
_DEVICES = ("auto", "cpu", "cuda")
_PURPOSES = {"": "", "demonstration": "Demonstration only, not for clinical use."}
_PRECISIONS: dict[str, Precision] = {"fp32": "float32", "fp16": "float16"}


def add_to(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("train")(train_command)


def train_command(
    data: Annotated[
        list[str],
        typer.Argument(help="Folders of cases, nnU-Net raw folders, data lists (.json), or pairs as CT=LABELS or CT=LABELS=TABLE."),
    ],
    out: Annotated[Path, typer.Option(readable=False, help="The new model folder; its last part is the name of the model.")],
    organs: Annotated[str | None, typer.Option(help="What is learned, as liver,spleen,vertebrae.")] = None,
    labels: Annotated[Path | None, typer.Option(readable=False, help="JSON file with the labels to learn, in place of --organs.")] = None,
    merge: Annotated[list[str], typer.Option(help="Structures that belong to an organ too, as vertebrae=vertebrae_*.")] = [],  # noqa: B006
    table: Annotated[str | None, typer.Option(help="Label table of references that have none beside them.")] = None,
    reference: Annotated[str | None, typer.Option(help="Name of the label map in case folders, or of a model in their backbones.")] = None,
    spacing: Annotated[float, typer.Option(help="Voxels of the network in mm.")] = 3.0,
    patch: Annotated[int, typer.Option(min=8, help="Voxels of a window along each axis.")] = 96,
    network: Annotated[
        str, typer.Option(help=f"One of {', '.join(ARCHITECTURES)} (MONAI's; finer, several times slower).")
    ] = ARCHITECTURES[0],
    width: Annotated[int, typer.Option(min=1, max=512, help="Channels of the first level.")] = 12,
    depth: Annotated[int, typer.Option(min=2, max=6, help="Levels of the network.")] = 4,
    deep_supervision: Annotated[bool, typer.Option("--deep-supervision", help="Let coarser levels learn the labels too.")] = False,
    steps: Annotated[int | None, typer.Option(min=1, help="Batches to train; in place of --epochs.")] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs to train.")] = 10,
    epoch_steps: Annotated[int, typer.Option(min=1, help="Batches of one epoch, after which is validated.")] = 100,
    batch: Annotated[int, typer.Option(min=1, help="Patches of one step.")] = 2,
    optimizer: Annotated[str, typer.Option(help="adamw, or sgd with Nesterov momentum.")] = "adamw",
    learning_rate: Annotated[float, typer.Option(help="The largest; it falls along a cosine.")] = 0.01,
    average: Annotated[float, typer.Option(help="Running average of the weights: share of the old; 0 for none.")] = 0.99,
    flips: Annotated[bool, typer.Option("--flips", help="Also show mirror images, with left and right organs exchanged.")] = False,
    variation: Annotated[
        bool, typer.Option("--variation/--no-variation", help="Vary patches: turn, zoom, gray values, noise, cuts.")
    ] = True,
    organ_share: Annotated[float, typer.Option(min=0, max=1, help="Share of the patches that are centered on an organ.")] = 0.7,
    validation: Annotated[float, typer.Option(min=0, max=0.9, help="Share of the cases held out for validation.")] = 0.15,
    val: Annotated[list[str], typer.Option(help="Name of a case held out for validation; several times for several.")] = [],  # noqa: B006
    test: Annotated[list[str], typer.Option(help="Name of a case held out for the test; several times for several.")] = [],  # noqa: B006
    repeat: Annotated[
        list[str], typer.Option(help="A training case that is drawn more often than others, as NAME=8; several times for several.")
    ] = [],  # noqa: B006
    pretrained: Annotated[
        Path | None, typer.Option(readable=False, help="Model folder of atlas train to begin with (fine-tuning).")
    ] = None,
    cubes: Annotated[Path | None, typer.Option(readable=False, help="Keep the resampled cases here, for several trainings.")] = None,
    amp: Annotated[bool, typer.Option("--amp", help="Half precision (bfloat16 on a CPU).")] = False,
    onnx_precision: Annotated[str, typer.Option(help="Of the ONNX file: fp32, or fp16 at half the size.")] = "fp32",
    title: Annotated[str, typer.Option(help="Name of the model for people.")] = "",
    version: Annotated[str, typer.Option(help="Version of the model.")] = "1",
    license_: Annotated[str, typer.Option("--license", help="License of the model.")] = "",
    purpose: Annotated[str, typer.Option(help="What the model may be used for; 'demonstration' for demonstrations only.")] = "",
    seed: Annotated[int, typer.Option(min=0, help="Same seed, data, machine and threads: same weights.")] = 0,
    device: Annotated[str, typer.Option(help=f"Where it is trained: {', '.join(_DEVICES)}.")] = "auto",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 takes the cores there are.")] = 0,
    jobs: console.JobsOption = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a training that was stopped.")] = False,
    as_json: console.JsonOption = False,
) -> None:
    """Train a segmentation network on CTs with references and write a model folder that `atlas segment` and the Slicer panel run.

    References may know different organs: what one cannot tell is left open, not learned as background. Stop it at any time and go on
    with --resume.

    Example: atlas train data/phantoms --organs liver,spleen,kidney_left,kidney_right --steps 1000 --out models/mine
    """
    from AtlasSegmentLib.cpu_threads import set_threads
    from AtlasSegmentLib.train_cases import Choice
    from AtlasSegmentLib.train_options import TrainOptions
    from AtlasSegmentLib.train_organs import read_targets
    from AtlasSegmentLib.train_patches import NONE, PatchRule, Variation
    from AtlasSegmentLib.train_rules import OPTIMIZERS, LoopRule
    from AtlasSegmentLib.train_run import train_model

    varied = Variation(flips=flips) if variation else NONE
    options = TrainOptions(
        read_targets(organs, labels, merge),
        Choice(table, reference),
        spacing,
        PatchRule(patch, organ_share, varied),
        one_of("--network", network, ARCHITECTURES),
        width,
        depth,
        deep_supervision,
        LoopRule(
            steps or epochs * epoch_steps,
            epoch_steps,
            batch,
            one_of("--optimizer", optimizer, OPTIMIZERS),
            learning_rate,
            average=average,
            seed=seed,
            amp=amp,
        ),
        validation,
        tuple(val),
        tuple(test),
        _repeated(repeat),
        pretrained,
        cubes,
        _device(device),
        jobs,
        _PRECISIONS[one_of("--onnx-precision", onnx_precision, tuple(_PRECISIONS))],
        resume,
        {"title": title, "version": version, "license": license_, "purpose": _PURPOSES.get(purpose, purpose)},
    )
    set_threads(threads)
    with resumable(), training_progress() as progress:
        result = train_model(data, out, options, progress)
    _report(result, options, as_json)


def one_of(option: str, value: str, known: tuple[Any, ...]) -> Any:
    """Return a value that is one of the known ones. Raises InputError."""
    if value not in known:
        message = f"{option} {value!r} is not known."
        raise InputError(message, f"Use one of {', '.join(known)}.")
    return value


def _repeated(given: list[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for text in given:
        name, _, times = text.rpartition("=")
        if not name or not times.isdecimal() or not 1 <= int(times) <= _MOST_REPEATS:
            message = f"--repeat {text!r} is not NAME=TIMES."
            raise InputError(message, f"Give the name of a training case and 1 to {_MOST_REPEATS}, such as --repeat case-12=8.")
        found[name] = int(times)
    return found


def _device(text: str) -> Device:
    return device_of("gpu" if text == "cuda" else text)


@contextmanager
def resumable(*, tell: bool = True) -> Iterator[None]:
    """Say at Ctrl-C how the training goes on, unless another process of it does, and leave with exit code 130."""
    try:
        yield
    except KeyboardInterrupt:
        if tell:
            console.print_error("interrupted; run the same command with --resume to go on.")
        raise typer.Exit(console.EXIT_INTERRUPTED) from None  # told: the program says nothing more


@contextmanager
def training_progress() -> Iterator[ProgressCallback]:
    """Show a bar, or on a plain stream, such as the log of a cluster job, a line now and then with the time that is left."""
    if sys.stderr.isatty():
        with console.progress_bar("train") as bar:
            yield bar
        return
    remaining, last = RemainingTime(), [time.monotonic()]

    def tell(share: float, text: str) -> None:
        now = time.monotonic()
        remaining.update(now, share)
        if now - last[0] >= _EVERY_SECONDS:
            last[0] = now
            left = remaining.seconds(now)
            ending = "" if left is None else f", about {rounded_seconds(left)} s left"
            typer.echo(console.plain(f"train: {share * _PERCENT:.0f} %, {text}{ending}"), err=True)

    yield tell


def _report(result: TrainResult, options: TrainOptions, as_json: bool) -> None:
    """Print what came out; leave with 1 when some cases could not be used."""
    parts = {part: result.card.get(part) for part in ("validation", "test")}
    if as_json:
        failed = [{"case": outcome.name, "error": outcome.error, "remedy": outcome.remedy} for outcome in result.failed]
        console.print_json({"model": str(result.folder), **result.card, "failed": failed})
    else:
        shown = {part: figures for part, figures in parts.items() if figures}
        if shown:
            rows = [(organ, *(_number(figures["dice"].get(organ)) for figures in shown.values())) for organ in options.targets.names]
            rows.append(("mean", *(_number(figures["mean_dice"]) for figures in shown.values())))
            console.print_table("Dice on cases that were not trained on", ("organ", *shown), rows)
        console.print_line(f"wrote {result.folder}")
    for outcome in result.failed:
        console.print_error(f"{outcome.name}: {outcome.error}", outcome.remedy)
    if result.failed:
        raise typer.Exit(console.EXIT_SOME_FAILED)


def _number(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.3f}"
