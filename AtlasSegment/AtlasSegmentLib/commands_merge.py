"""The command `atlas merge`: label maps of AutoOrgan's tasks into one whole-body map."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from AtlasSegmentLib import console
from AtlasSegmentLib.cases import CaseOutcome, run_cases
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.whole_body import TASKS, Task, require_once, task_of
from AtlasSegmentLib.whole_body_files import MergeRequest, cases_of, merge_case

_KEYS = ", ".join(task.key for task in TASKS)


def merge_command(
    output: Annotated[Path, typer.Argument(readable=False, help="Label map to write (must not exist); a folder when tasks are folders.")],
    task: Annotated[list[str], typer.Option("--task", help=f"TASK=FILE or TASK=FOLDER; tasks: {_KEYS}. Give it once for each task.")],
    provenance: Annotated[bool, typer.Option("--provenance", help="Also write <output>_task.nii.gz: the task of each voxel.")] = False,
    jobs: console.JobsOption = 1,
    scheduler: console.SchedulerOption = None,
    force: console.ForceOption = False,
    as_json: console.JsonOption = False,
) -> None:
    """Merge the results of several AutoOrgan tasks into one whole-body label map.

    Later covers earlier: organ, global, lower_limb, upper_limb, hip, rib, vertebrae. Tasks may be missing. A folder is what nnU-Net wrote
    for many cases: every case becomes one file.

    Example: atlas merge body.nii.gz --task organ=organ.nii.gz --task rib=rib.nii.gz --task vertebrae=vertebrae.nii.gz
    """
    sources = _sources(task)
    folders = [path for path in sources.values() if path.is_dir()]
    if folders and len(folders) < len(sources):
        message = f"{folders[0]}: is a folder, and other tasks are files."
        raise InputError(message, "Give a file for each task, or a folder for each task.")
    if folders:
        requests = [MergeRequest(paths, output / f"{name}.nii.gz", provenance, force) for name, paths in cases_of(sources).items()]
    else:
        requests = [MergeRequest(sources, output, provenance, force)]
    with console.progress_bar("merge") as progress:
        outcomes = run_cases(requests, merge_case, _name, jobs=jobs, scheduler=scheduler, progress=progress)
    if not as_json:
        _print(outcomes, list(sources))
    console.finish("merge", outcomes, as_json)


def _name(request: MergeRequest) -> str:
    return request.name


def _sources(given: list[str]) -> dict[Task, Path]:
    pairs = []
    for text in given:
        name, separator, path = text.partition("=")
        if not separator or not path:
            message = f"--task {text!r} does not name a task and a file."
            raise InputError(message, "Write it as TASK=FILE, for example rib=rib.nii.gz.")
        pairs.append((task_of(name), Path(path)))
    require_once(task for task, _ in pairs)
    return dict(pairs)


def _print(outcomes: list[CaseOutcome], tasks: list[Task]) -> None:
    for result in [outcome.result for outcome in outcomes if outcome.state == "done"]:
        missing = [task.key for task in tasks if task.key not in result["tasks"]]
        note = f"; without {', '.join(missing)}" if missing else ""
        console.print_line(f"{result['files'][0]}: {len(result['voxels'])} structures from {', '.join(result['tasks'])}{note}")
