"""The commands `atlas worklist` for a team: policy, sending back, disagreements of two readings and who decides them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from AtlasQualityLib.csv_text import csv_text, no_formula
from AtlasReviewLib import double_reading
from AtlasReviewLib.blind_masks import chosen_reading, next_steps, require_apart, write_blind_masks
from AtlasReviewLib.commands_worklist_lists import DatasetArgument, UrlOption, opened
from AtlasReviewLib.disagreement import why_not
from AtlasReviewLib.double_reading import NAMES, Settled
from AtlasReviewLib.in_words import counted
from AtlasReviewLib.review_policy import SENIOR, ReviewPolicy, read_policy, write_policy
from AtlasReviewLib.task_states import ADJUDICATE, ADJUDICATED
from AtlasReviewLib.worklist import Worklist, checked_reader
from AtlasReviewLib.worklist_asked import left_over
from AtlasReviewLib.worklist_place import place_of
from AtlasReviewLib.worklist_rows import Task
from AtlasReviewLib.worklist_rules import rules_of
from AtlasReviewLib.worklist_view import state_words
from AtlasSegmentLib import console
from AtlasSegmentLib.errors import AtlasError, InputError
from AtlasSegmentLib.files import write_text

CaseArgument = Annotated[str, typer.Argument(help="Name of the case.")]
OrganArgument = Annotated[str, typer.Argument(help="Organ, such as liver.")]
ReaderOption = Annotated[str, typer.Option(help="Who.")]
SPOTS = "spots: both/A/B/none"
SHOWN_COLUMNS = ("case", "organ", "state", "Dice", "NSD", "kappa", SPOTS, "A", "B", "why", "by")
SHOWN_FROM = ("case", "organ", "state", "dice", "nsd", "kappa", SPOTS, "verdict_a", "verdict_b", "why", "adjudicator")
DISAGREEMENT_COLUMNS = (
    *("case", "organ", "state", "dice", "nsd", "tolerance_mm", "kappa", "both", "only_a", "only_b", "neither", "agree"),
    *("verdict_a", "verdict_b", "why", "adjudicator"),
)


def team_commands() -> dict[str, Any]:
    """Return name to command."""
    return {
        "policy": policy_command, "send-back": send_back_command,
        "disagreements": disagreements_command, "adjudicate": adjudicate_command,
    }  # fmt: skip


def policy_command(
    dataset: DatasetArgument,
    verify: Annotated[bool | None, typer.Option("--verify/--no-verify", help="A senior verifies what a junior accepts.")] = None,
    double: Annotated[float | None, typer.Option(min=0, max=1, help="Share of the tasks that two readers do, blind to each other.")] = None,
    dice: Annotated[float | None, typer.Option(min=0, max=1, help="Two readings agree from this Dice on.")] = None,
    nsd: Annotated[float | None, typer.Option(min=0, max=1, help="And from this surface Dice on.")] = None,
    tolerance: Annotated[float | None, typer.Option(min=0, help="Tolerance of the surface Dice in mm.")] = None,
    kappa: Annotated[float | None, typer.Option(min=-1, max=1, help="And from this kappa over the hot spots on; unset it with -1.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the random share.")] = None,
    as_json: console.JsonOption = False,
) -> None:
    """Show how a dataset is reviewed, or change it. Then bring the list up to date: atlas worklist build.

    Example: atlas worklist policy data/hospital --verify --double 0.1
    """
    if not dataset.is_dir():
        message = f"{dataset}: there is no such folder."
        raise InputError(message, "Check the path.")
    given: dict[str, Any] = {
        "verify": verify, "double_share": double, "agree_dice": dice, "agree_nsd": nsd,
        "tolerance_mm": tolerance, "agree_kappa": kappa, "seed": seed,
    }  # fmt: skip
    changed = {name: value for name, value in given.items() if value is not None}
    if changed.get("agree_kappa") == -1:
        changed["agree_kappa"] = None
    policy = dataclasses.replace(read_policy(dataset), **changed)
    if changed:
        write_policy(dataset, policy)
    rules, left = rules_of(dataset), list[str]()
    if place_of(dataset, "").exists:
        with opened(dataset, "", read_only=True) as worklist:
            left = left_over(worklist)
    if as_json:
        console.print_json({**asdict(policy), "seniors": sorted(rules.seniors()), "left_over": left})
        return
    for line in (*_told(policy, len(rules.seniors())), *left):
        console.print_line(line)


def _told(policy: ReviewPolicy, seniors: int) -> list[str]:
    verified = f"waits for a reader of level {SENIOR}" if policy.verify else "is final"
    lines = [f"What a reader below level {SENIOR} accepts {verified}."]
    if policy.double_share:
        kappa = "" if policy.agree_kappa is None else f", kappa from {policy.agree_kappa:g}"
        lines.append(f"{policy.double_share:.1%} of the tasks are read twice (seed {policy.seed}).")
        limits = f"Dice from {policy.agree_dice:g}, NSD from {policy.agree_nsd:g} at {policy.tolerance_mm:g} mm{kappa}"
        lines.append(f"Two readings agree with {limits}; otherwise a third reader decides.")
    if (policy.verify or policy.double_share) and not seniors:
        lines.append(f"No reader in readers.json has level {SENIOR} (senior), so nobody can verify; anybody else adjudicates.")
    return lines


def send_back_command(
    dataset: DatasetArgument,
    case: CaseArgument,
    organ: OrganArgument,
    reader: ReaderOption,
    comment: Annotated[str, typer.Option(help="What has to be done; the reader who did it sees it.")],
    url: UrlOption = "",
    as_json: console.JsonOption = False,
) -> None:
    """Send a task that you verify back to the reader who did it.

    Example: atlas worklist send-back data/hospital scan liver --reader "Dr. Ada" --comment "the dome is cut off"
    """
    with opened(dataset, url) as worklist:
        task = worklist.send_back(_in_hand(worklist, case, organ, reader), reader, comment)
    _print(task, f"waits for {task.assignee}", as_json)


def _in_hand(worklist: Worklist, case: str, organ: str, reader: str) -> Task:
    worklist.viewer = checked_reader(reader)
    task = worklist.task(case, organ)
    if task.reader != worklist.viewer:
        message = f"{case}, {organ}: is {task.state}, not in the hands of {reader}."
        raise InputError(message, "Take it first: atlas worklist take.")
    return worklist.take(case, organ, reader)


def _print(task: Task, words: str, as_json: bool) -> None:
    if as_json:
        console.print_json(asdict(task))
    else:
        console.print_line(f"{task.case} {task.organ}: {words}")


def disagreements_command(
    dataset: DatasetArgument,
    everything: Annotated[bool, typer.Option("--all", help="Also readings that agree, and those that were adjudicated.")] = False,
    table: Annotated[Path | None, typer.Option("--csv", readable=False, help="Write them to this file.")] = None,
    masks: Annotated[
        Path | None, typer.Option(readable=False, help="Write their masks to this new folder, as A and B, without who drew them.")
    ] = None,
    url: UrlOption = "",
    as_json: console.JsonOption = False,
) -> None:
    """List tasks whose two readings disagree and that nobody has adjudicated. Readings that are done are compared first.

    Example: atlas worklist disagreements data/hospital --all --csv disagreements.csv
    """
    if masks is not None:
        require_apart(masks, dataset)
    with opened(dataset, url) as worklist:
        failed = bool(compare(worklist))
        tasks = [task for task in worklist.tasks() if task.measured and (everything or task.stage == ADJUDICATE)]
        rows = [disagreement_row(task, worklist.rules().policy) for task in tasks]
        files = [] if masks is None else _written(worklist, tasks, masks)
    if table is not None:
        write_text(table, csv_text([DISAGREEMENT_COLUMNS, *([no_formula(str(cell)) for cell in row] for row in rows)]))
    if as_json:
        found = [dict(zip(DISAGREEMENT_COLUMNS, row, strict=True)) for row in rows]
        console.print_json({"disagreements": found, **({} if masks is None else {"masks": [str(file) for file in files]})})
    else:
        title = f"{counted(len(rows), 'task')} with two readings{'' if everything else ' that disagree'}"
        shown = [_shown(dict(zip(DISAGREEMENT_COLUMNS, row, strict=True))) for row in rows]
        console.print_wide_table(title, SHOWN_COLUMNS, shown, 3)
        for line in (*map(str, files), *next_steps(dataset, [task for task in tasks if task.stage == ADJUDICATE])):
            console.print_line(line)
    if failed or (masks is not None and not files and tasks):
        raise typer.Exit(console.EXIT_SOME_FAILED)


def _written(worklist: Worklist, tasks: Sequence[Task], folder: Path) -> list[Path]:
    """Write the masks of some tasks; one that cannot be read keeps nothing else from being written."""
    written = []
    for task in tasks:
        try:
            written += write_blind_masks(worklist, task, folder)
        except AtlasError as error:
            console.print_error(error.message, error.remedy)
    return written


def _shown(row: dict[str, object]) -> tuple[object, ...]:
    """Return a row as it is printed: few columns, so that it fits; a file gets all."""
    spots = "/".join(str(row[name]) for name in ("both", "only_a", "only_b", "neither"))
    cells = (spots if name == SPOTS else row[name] for name in SHOWN_FROM)
    return tuple("" if cell is None else f"{cell:.4f}" if isinstance(cell, float) else cell for cell in cells)


def compare(worklist: Worklist) -> list[Settled]:
    """Compare readings that both are done, and print those that cannot be; return them."""
    failed = [found for found in double_reading.settle(worklist) if found.problem]
    for found in failed:
        console.print_error(f"{found.case} {found.organ}: its two readings cannot be compared: {found.problem}")
    return failed


def disagreement_row(task: Task, policy: ReviewPolicy) -> tuple[object, ...]:
    """Return a task in the order of DISAGREEMENT_COLUMNS; who adjudicated it is named, who read it is not."""
    found = double_reading.disagreement(task)
    assert found is not None
    a, b = (reading - 1 for reading in double_reading.order_in(found, policy.seed, task.case, task.organ))
    both, neither, only = found.spots[0], found.spots[3], found.spots[1:3]
    adjudicator = task.reader if task.stage == ADJUDICATED else ""
    numbers = (found.dice, found.nsd, found.tolerance_mm, found.kappa, both, only[a], only[b], neither, found.agree)
    said = (found.verdicts[a], found.verdicts[b], "" if found.agree else why_not(found, policy), adjudicator)
    return (task.case, task.organ, state_words(task), *numbers, *said)


def adjudicate_command(
    dataset: DatasetArgument,
    case: CaseArgument,
    organ: OrganArgument,
    use: Annotated[str, typer.Option(help=f"Which reading counts: {' or '.join(NAMES)}. Another mask: atlas revise, then decide.")],
    reader: ReaderOption,
    comment: Annotated[str, typer.Option(help="Why; it stays in the history.")] = "",
    url: UrlOption = "",
    as_json: console.JsonOption = False,
) -> None:
    """Decide between two readings that disagree: A or B, whose readers are not named. The task is taken for you if it is free.

    Example: atlas worklist adjudicate data/hospital scan liver --use A --reader "Dr. Ada" --comment "B cuts off the dome"
    """
    with opened(dataset, url) as worklist:
        taken = worklist.take(case, organ, reader)
        try:
            chosen = chosen_reading(worklist, taken, use) if taken.stage == ADJUDICATE else None
            task = double_reading.use(worklist, taken, use, reader, comment)
        except InputError:
            worklist.leave(taken, reader, keep=False)
            raise
    _print(task, f"is {task.state}: reading {use} counts ({chosen.words() if chosen else ''})", as_json)
