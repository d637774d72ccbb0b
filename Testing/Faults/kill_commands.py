"""Kill every command of the program at random moments and check that nothing is lost and the next run finishes the work.

    python Testing/Faults/kill_commands.py --kills 200 [--seed 0] [--shared ../shared] [--only run]

Each kill is a SIGKILL of the whole process group. Half of the kills hit the real program, at a moment drawn evenly from the
time that it takes undisturbed, start-up included. Half hit a fork of a process that has imported everything, at a moment
drawn evenly from the time in which it changes the disk. Half find a folder without results, half one with results of other
options, to be replaced. After each kill: every file with a final name can be read whole, originals and saved revisions have
their bytes, and the same command, run again, exits 0 and leaves the content of an undisturbed run, without remains.
Exit 1 on any violation. Needs POSIX.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import nibabel as nib
import numpy as np

import tiny_inputs
from AtlasReviewLib import program
from Faults import disk_checks
from Faults.scenarios import COMMANDS, Scenario, scenarios

_PROGRAM = [sys.executable, "-m", "AtlasReviewLib.program"]
_MARGIN = 0.01
_TRIES = 5
_LATE_IMPORTS = ("onnxruntime", "cc3d", "scipy.ndimage", "isal.igzip_threaded", "matplotlib.figure", "matplotlib.backends.backend_agg")


@dataclass
class Tally:
    """What became of the kills of one command."""

    command: str
    kills: int = 0
    missed: int = 0
    half_done: int = 0
    unreadable: int = 0
    originals: int = 0
    revisions: int = 0
    reruns: int = 0
    remains: int = 0
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Prepared:
    """A scenario with its start on the disk, what an undisturbed run leaves, and when a kill may come (by whether it is a fork)."""

    scenario: Scenario
    start: Path
    expected: dict[str, str]
    originals: dict[str, str]
    moments: dict[bool, tuple[float, float]]


def run_real(arguments: list[str], folder: Path, kill_after: float | None = None) -> tuple[int, str]:
    """Run the program in `folder` as people do; kill its process group after some seconds. Return exit code and stdout."""
    with (folder.parent / "stdout").open("w+b") as out, (folder.parent / "stderr").open("wb") as err:
        process = subprocess.Popen([*_PROGRAM, *arguments], cwd=folder, stdout=out, stderr=err, start_new_session=True)
        code = _ended(process.pid, kill_after)
        process.returncode = code  # waited for above
        out.seek(0)
        return code, out.read().decode("utf-8", "replace")


def run_fork(arguments: list[str], folder: Path, kill_after: float | None = None) -> tuple[int, str]:
    """As `run_real`, in a fork of this process, where everything is imported."""
    pid = os.fork()
    if pid == 0:
        _be_the_program(arguments, folder)
    code = _ended(pid, kill_after)
    return code, (folder.parent / "stdout").read_text(encoding="utf-8", errors="replace")


def _be_the_program(arguments: list[str], folder: Path) -> None:
    os.setsid()
    os.chdir(folder)
    for name, number in (("stdout", 1), ("stderr", 2)):
        os.dup2(os.open(folder.parent / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.argv = ["atlas", *arguments]
    code = 70
    try:
        program.main()
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _ended(pid: int, kill_after: float | None) -> int:
    """Wait for a process group leader, killing the group when its time is over; return its code, -9 when it was killed."""
    deadline = None if kill_after is None else time.monotonic() + kill_after
    while True:
        found, status = os.waitpid(pid, 0 if deadline is None else os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if deadline is not None and time.monotonic() >= deadline:
            try:
                os.killpg(pid, signal.SIGKILL)
            except ProcessLookupError:  # a fork that has not made its group yet
                os.kill(pid, signal.SIGKILL)
            deadline = None
        else:
            time.sleep(0.0005)


def prepare(scenario: Scenario, root: Path, ways: Sequence[bool]) -> Prepared:
    """Make the start of a scenario and run its command undisturbed, once for each way (fork or not) that is timed."""
    start = root / scenario.name / "start"
    start.mkdir(parents=True)
    scenario.make_start(start, run_fork)
    work = start
    moments = {}
    for forked in (*ways, True):  # the first fork is slower than all others
        work = _copy(start, root / scenario.name / "whole")
        before, began = disk_checks.listing(work), time.time()
        code, out = _runner(forked)(scenario.arguments, work)
        seconds = time.time() - began
        moments[forked] = _writing(work, before, began, seconds) if forked else (0.0, seconds)
        if code != 0:
            message = f"{scenario.name}: the undisturbed run exits {code}: {out} {(work.parent / 'stderr').read_text()}"
            raise SystemExit(message)
    return Prepared(scenario, start, disk_checks.content(work), disk_checks.originals(start), moments)


def _writing(work: Path, before: dict[str, tuple[int, int]], began: float, seconds: float) -> tuple[float, float]:
    """Return the seconds from the first change of the disk, and a little before it, to the last."""
    times = [found[1] / 1e9 - began for name, found in disk_checks.listing(work).items() if before.get(name) != found]
    return max(0.0, min(times, default=0.0) - _MARGIN), min(seconds, max(times, default=seconds) + _MARGIN)


def _runner(forked: bool) -> Callable[..., tuple[int, str]]:
    return run_fork if forked else run_real


def _copy(start: Path, work: Path) -> Path:
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(start, work, symlinks=True)
    return work


def kill_once(prepared: Prepared, forked: bool, rng: random.Random, tally: Tally) -> bool:
    """Run, kill, check, run again, check; return whether the command was killed before it ended."""
    scenario = prepared.scenario
    run = _runner(forked)
    work = _copy(prepared.start, prepared.start.parent / "work")
    before = disk_checks.listing(work)
    first, last = prepared.moments[forked]
    moment, began = rng.uniform(first, last), time.monotonic()
    code, out = run(scenario.arguments, work, moment)
    is_killed = code == -signal.SIGKILL
    if not is_killed:  # the machine is faster now: later moments are too late
        prepared.moments[forked] = (min(first, moment), min(last, time.monotonic() - began))
    label = f"{scenario.name}, {'fork' if forked else 'program'}, {moment:.3f} s"
    tally.kills += is_killed
    tally.missed += not is_killed
    found = disk_checks.unreadable(work)
    tally.unreadable += len(found)
    is_touched = disk_checks.listing(work) != before
    tally.half_done += is_killed and is_touched and (bool(found) or bool(_unfinished(prepared, work)))
    _note(tally, label, "unreadable", found)
    saved = disk_checks.revision_hashes(work)
    _check_kept(prepared, work, disk_checks.acknowledged(out), tally, f"{label}, after the kill")
    code, out = run(scenario.arguments, work)
    problems = _unfinished(prepared, work)
    if code != 0:
        problems.append(f"exit {code}: {out[-300:]} {(work.parent / 'stderr').read_text()[-300:]}")
    tally.reruns += bool(problems)
    _note(tally, label, "run again", problems)
    _check_kept(prepared, work, saved, tally, f"{label}, after the next run")
    found = [str(path) for path in work.rglob(".atlas-*.tmp")]
    tally.remains += len(found)
    _note(tally, label, "remains", found)
    return is_killed


def _unfinished(prepared: Prepared, work: Path) -> list[str]:
    return disk_checks.differences(prepared.expected, disk_checks.content(work), prepared.scenario.is_revision)


def _check_kept(prepared: Prepared, work: Path, saved: dict[str, str], tally: Tally, label: str) -> None:
    changed = disk_checks.changed(prepared.originals, work)
    lost = disk_checks.lost_revisions(saved, work)
    tally.originals += len(changed)
    tally.revisions += len(lost)
    _note(tally, label, "original changed", changed)
    _note(tally, label, "revision lost", lost)


def _note(tally: Tally, label: str, what: str, problems: list[str]) -> None:
    tally.problems.extend(f"{label}: {what}: {problem}" for problem in problems)


def kill_all(kills: int, seed: int, root: Path, only: str | None = None, shared: Path | None = None, quick: bool = False) -> list[Tally]:
    """Spread `kills` over the commands (all, or one); return one tally for each.

    Args:
        kills: How many in total.
        seed: Of the moments.
        root: An empty folder.
        only: Name of a command.
        shared: Folder of real data.
        quick: Forks only, only where other results are to be replaced, and not `run`, which is the other steps in a row.
    """
    inputs = _real_inputs(root / "inputs", shared) if shared is not None else tiny_inputs.make_inputs(root / "inputs")
    for name in _LATE_IMPORTS:  # before the first fork
        import_module(name)
    rng = random.Random(seed)
    names = [name for name in COMMANDS if only in {None, name}]
    names = [name for name in names if not (quick and name == "run")]
    ways = (True,) if quick else (True, False)
    tallies = []
    for number, name in enumerate(names):
        count = kills // len(names) + (number < kills % len(names))
        tally = Tally(name)
        tallies.append(tally)
        prepared = [prepare(scenario, root, ways) for scenario in scenarios(name, inputs)[1 if quick else 0 :]]
        for kill in range(count):
            one, forked = prepared[kill % len(prepared)], ways[kill // len(prepared) % len(ways)]
            next((True for _ in range(_TRIES) if kill_once(one, forked, rng, tally)), False)
        print(f"{name}: {tally.kills} kills, {len(tally.problems)} problems", file=sys.stderr, flush=True)
    return tallies


def _real_inputs(folder: Path, shared: Path) -> tiny_inputs.TinyInputs:
    """Return the real torso CT with two real networks; its liver stands in for original labels."""
    data = shared.resolve() / "data/torso-3mm"
    folder.mkdir(parents=True)
    reference = nib.load(data / "reference_label.nii.gz")
    liver = (np.asarray(reference.dataobj) == 5).astype(np.uint8)  # of TotalSegmentator
    nib.save(nib.Nifti1Image(liver, reference.affine), folder / "original.nii.gz")
    models = tuple(sorted((shared.resolve() / "models").glob("*-fold[12]")))
    return tiny_inputs.TinyInputs(folder, data / "ct.nii.gz", data / "abdomen_roi.mrk.json", models, folder / "original.nii.gz")


def report(tallies: list[Tally]) -> bool:
    """Print the table and every problem; return whether all is well."""
    columns = ("command", "kills", "too late", "half done", "unreadable", "originals changed", "revisions lost", "reruns failed", "remains")
    rows = [
        (t.command, t.kills, t.missed, t.half_done, t.unreadable, t.originals, t.revisions, t.reruns, t.remains)
        for t in [*tallies, _sum(tallies)]
    ]
    for row in (columns, *rows):
        print("  ".join(str(cell).rjust(max(len(name), 9)) for cell, name in zip(row, columns, strict=True)))
    print("too late: it had ended, and another moment was drawn; half done: something was written, but not all of it")
    problems = [problem for tally in tallies for problem in tally.problems]
    print("\n".join(problems[:50]))
    return not problems


def _sum(tallies: list[Tally]) -> Tally:
    numbers = {name: sum(getattr(t, name) for t in tallies) for name, value in vars(Tally("")).items() if isinstance(value, int)}
    return Tally("all", **numbers)


def main() -> int:
    """Run the command line; 0 when nothing was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shared", type=Path, help="Use the real torso CT and networks of this folder (slow).")
    parser.add_argument("--only", choices=COMMANDS)
    parser.add_argument("--quick", action="store_true", help="Kill forks only, where other results are to be replaced; without run.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tallies = kill_all(arguments.kills, arguments.seed, Path(folder).resolve(), arguments.only, arguments.shared, arguments.quick)
    return 0 if report(tallies) else 1


if __name__ == "__main__":
    sys.exit(main())
