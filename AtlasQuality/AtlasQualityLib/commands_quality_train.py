"""The command that trains a label-quality model on one's own data."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from AtlasQualityLib.quality_network import BACKBONES
from AtlasQualityLib.quality_slices import KINDS, SliceRule
from AtlasSegmentLib import console
from AtlasSegmentLib.commands_train import one_of, resumable, training_progress
from AtlasSegmentLib.devices import DEVICES, device_of
from AtlasSegmentLib.progress import ignore_progress

if TYPE_CHECKING:
    from AtlasQualityLib.quality_training_run import RunResult

_PARTS = ("validation", "test")
_FIGURES = ("pearson", "low", "high", "spearman", "mae")


def add_to(app: typer.Typer) -> None:
    """Add the command to the group `atlas quality`."""
    app.command("train")(train_command)


def train_command(
    data: Annotated[list[str], typer.Argument(help="Folders of cases with a CT and a reference, or pairs as CT=LABELS.")],
    out: Annotated[Path, typer.Option(readable=False, help="The new model folder; its last part is the name of the model.")],
    table: Annotated[str | None, typer.Option(help="Label table of the references; default: the one beside each.")] = None,
    backbone: Annotated[str, typer.Option(help=f"One of {', '.join(BACKBONES)}.")] = "resnet18",
    width: Annotated[int, typer.Option(min=1, max=512, help="Channels of the first layer; SegAE has 64.")] = 16,
    size: Annotated[int, typer.Option(min=64, max=512, help="Pixels that a slice is brought to, a multiple of 32; SegAE has 256.")] = 128,
    rule: Annotated[str, typer.Option(help=f"How slices are cut out: {', '.join(KINDS)} (SegAE's).")] = KINDS[0],
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the examples.")] = 30,
    batch: Annotated[int, typer.Option(min=1, help="Slices in one step, over all processes.")] = 128,
    learning_rate: Annotated[float, typer.Option(help="Of the first epoch; it falls along a cosine.")] = 1e-3,
    damages: Annotated[int, typer.Option(min=0, help="Damaged masks of each organ of each reference.")] = 8,
    misnamed: Annotated[int, typer.Option(min=0, help="Masks of other organs under the name of each organ.")] = 4,
    slices: Annotated[int, typer.Option(min=1, help="Slices of one mask to train with, at most.")] = 6,
    organs: Annotated[int, typer.Option(min=0, help="Organs of a case whose references are damaged, drawn by chance; 0 takes all.")] = 24,
    outline: Annotated[bool, typer.Option(help="Also learn to draw the organ, which needs far fewer cases; SegAE does not.")] = True,
    flips: Annotated[bool, typer.Option("--flips", help="Also mirror paired organs, named as their partner.")] = False,
    validation: Annotated[float, typer.Option(min=0, max=0.9, help="Share of the cases for validation and calibration.")] = 0.15,
    test: Annotated[float, typer.Option(min=0, max=0.9, help="Share of the cases for the final test.")] = 0.15,
    embeddings: Annotated[Path | None, typer.Option(readable=False, help="Text embeddings (.npz) in place of the built-in ones.")] = None,
    examples: Annotated[Path | None, typer.Option(readable=False, help="Keep the examples here, for several trainings.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, data and machine: same weights.")] = 0,
    device: Annotated[str, typer.Option(help=f"Where it is trained: {', '.join(DEVICES)}.")] = "auto",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 takes the cores there are.")] = 0,
    jobs: console.JobsOption = 1,
    scheduler: console.SchedulerOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a training that was stopped.")] = False,
    as_json: console.JsonOption = False,
) -> None:
    """Train a network that predicts the Dice of a mask without a reference, on cases that have one.

    Learns from real predictions beside the references and from synthetic damage. Cases are split, never slices; folders named train, val
    and test are taken as they are. Stop it at any time and go on with --resume. Several GPUs: torchrun --nproc-per-node N --no-python
    atlas quality train ...

    Example: atlas quality train data/with_references --out models/quality --epochs 30
    """
    from AtlasQualityLib.quality_pairs import PairOptions
    from AtlasQualityLib.quality_training import TrainingOptions
    from AtlasQualityLib.quality_training_batches import Augmentation
    from AtlasQualityLib.quality_training_ranks import rank_of_environment
    from AtlasQualityLib.quality_training_run import RunOptions, train_quality
    from AtlasSegmentLib.cpu_threads import set_threads

    known_backbone = one_of("--backbone", backbone, BACKBONES)
    training = TrainingOptions(
        known_backbone, width, epochs, batch, learning_rate, seed=seed, augmentation=Augmentation(flips=flips), outline=outline
    )
    options = RunOptions(
        PairOptions(SliceRule(one_of("--rule", rule, KINDS), size), damages, slices, misnamed=misnamed, most_organs=organs, seed=seed),
        training,
        table,
        validation,
        test,
        embeddings,
        examples,
        device_of(device),
        jobs,
        scheduler,
        resume,
    )
    set_threads(threads)
    is_first = rank_of_environment()[0] == 0
    with resumable(tell=is_first), training_progress() if is_first else nullcontext(ignore_progress) as progress:
        result = train_quality(data, out, options, progress)
    if result is not None:
        _report(result, as_json)


def _report(result: RunResult, as_json: bool) -> None:
    """Print what came out; leave with 1 when some cases could not be used."""
    if as_json:
        failed = [{"case": outcome.name, "error": outcome.error, "remedy": outcome.remedy} for outcome in result.failed]
        console.print_json({"model": str(result.folder), **result.card, "finished_before": result.finished_before, "failed": failed})
    else:
        figures = [(part, kind, f) for part in _PARTS for kind, f in (result.card[part] or {}).items() if kind != "note" and "pearson" in f]
        rows = [(part, kind, f["masks"], f["cases"], *map(_number, (f[name] for name in _FIGURES))) for part, kind, f in figures]
        columns = ("part", "masks of", "masks", "cases", "Pearson", "95 % from", "to", "Spearman", "MAE")
        console.print_table("Predicted and true Dice, held-out cases", columns, rows)
        for part in _PARTS:
            if wrong := (result.card[part] or {}).get("wrong_names"):
                console.print_line(_wrong_names(part, wrong))
        if any("pearson" in f and f["interval"] == "Fisher z" for _, _, f in figures):
            console.print_line("Intervals of fewer than five cases take masks as independent, and are narrower than they should be.")
        told = "the training was finished before, nothing was done" if result.finished_before else f"wrote {result.folder}"
        console.print_line(f"{result.folder}: {told}" if result.finished_before else told)
    for outcome in result.failed:
        console.print_error(f"{outcome.name}: {outcome.error}", outcome.remedy)
    if result.failed:
        raise typer.Exit(console.EXIT_SOME_FAILED)


def _wrong_names(part: str, figures: Mapping[str, float]) -> str:
    return (
        f"{part}, {figures['masks']} masks under the name of another organ (true Dice {figures['mean_true']:.2f}): predicted "
        f"{figures['mean_predicted']:.2f} on average, {100 * figures['share_above_one_half']:.0f} % above 0.5"
    )


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
