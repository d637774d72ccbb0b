"""The commands `atlas worklist` for a team: policy, sending back, disagreements of two readings and who decides them."""

from __future__ import annotations

import dataclasses
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from AtlasQualityLib.csv_text import csv_text, no_formula
from AtlasReviewLib import double_reading
from AtlasReviewLib.commands_worklist_lists import DatasetArgument, UrlOption, opened
from AtlasReviewLib.double_reading import NAMES, Settled
from AtlasReviewLib.review_policy import SENIOR, ReviewPolicy, read_policy, write_policy
from AtlasReviewLib.task_states import ADJUDICATE
from AtlasReviewLib.worklist import Worklist, checked_reader
from AtlasReviewLib.worklist_rows import Task
from AtlasReviewLib.worklist_rules import rules_of
from AtlasSegmentLib import console
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.files import write_text

CaseArgument = Annotated[str, typer.Argument(help="Name of the case.")]
OrganArgument = Annotated[str, typer.Argument(help="Organ, such as liver.")]
ReaderOption = Annotated[str, typer.Option(help="Who.")]
DISAGREEMENT_COLUMNS = (
    *("case", "organ", "state", "dice", "nsd", "tolerance_mm", "kappa", "both", "only_first", "only_second", "neither", "agree"),
    "adjudicator",
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
    rules = rules_of(dataset)
    if as_json:
        console.print_json({**asdict(policy), "seniors": sorted(rules.seniors())})
        return
    for line in _told(policy, len(rules.seniors())):
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
    task = worklist.task(case, organ)
    if task.reader != checked_reader(reader):
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
    url: UrlOption = "",
    as_json: console.JsonOption = False,
) -> None:
    """List tasks whose two readings disagree and that nobody has adjudicated. Readings that are done are compared first.

    Example: atlas worklist disagreements data/hospital --all --csv disagreements.csv
    """
    with opened(dataset, url) as worklist:
        failed = compare(worklist)
        tasks = [task for task in worklist.tasks() if task.measured and (everything or task.stage == ADJUDICATE)]
    rows = [disagreement_row(task) for task in tasks]
    if table is not None:
        write_text(table, csv_text([DISAGREEMENT_COLUMNS, *([no_formula(str(cell)) for cell in row] for row in rows)]))
    if as_json:
        console.print_json({"disagreements": [dict(zip(DISAGREEMENT_COLUMNS, row, strict=True)) for row in rows]})
    else:
        title = f"{len(rows)} tasks with two readings{'' if everything else ' that disagree'}"
        console.print_table(title, DISAGREEMENT_COLUMNS, [tuple("" if cell is None else cell for cell in row) for row in rows])
    if failed:
        raise typer.Exit(console.EXIT_SOME_FAILED)


def compare(worklist: Worklist) -> list[Settled]:
    """Compare readings that both are done, and print those that cannot be; return them."""
    failed = [found for found in double_reading.settle(worklist) if found.problem]
    for found in failed:
        console.print_error(f"{found.case} {found.organ}: its two readings cannot be compared: {found.problem}")
    return failed


def disagreement_row(task: Task) -> tuple[object, ...]:
    """Return a task in the order of DISAGREEMENT_COLUMNS; who adjudicated it is named, who read it is not."""
    found = double_reading.disagreement(task)
    assert found is not None
    state = "to adjudicate" if task.stage == ADJUDICATE else task.stage or task.state
    adjudicator = task.reader if task.stage == "adjudicated" else ""
    return (task.case, task.organ, state, found.dice, found.nsd, found.tolerance_mm, found.kappa, *found.spots, found.agree, adjudicator)


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
            task = double_reading.use(worklist, taken, use, reader, comment)
        except InputError:
            worklist.leave(taken, reader, keep=False)
            raise
    _print(task, f"is {task.state}: reading {use} counts", as_json)
