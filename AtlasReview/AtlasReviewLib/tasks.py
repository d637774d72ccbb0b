"""What the review panel lets the child process do: plain arguments in, plain values out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from AtlasReviewLib.assemble import assemble_case
from AtlasReviewLib.assembly_dataset import finish_dataset
from AtlasReviewLib.task_states import REJECTED
from AtlasSegmentLib.case_folder import find_cases
from AtlasSegmentLib.errors import AtlasError, DatasetError
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress


def assemble_files(dataset: str, out: str, release: str, progress: ProgressCallback = ignore_progress) -> dict[str, Any]:
    """Assemble every case of a dataset folder; a case that fails is listed and stops no other.

    Args:
        dataset: The dataset folder.
        out: Folder of the assembled dataset, outside of it.
        release: "1.0" or "1.1".
        progress: Told a fraction 0..1 and what is done.

    Returns:
        `folder`; `cases`: name, folder, whether each was up to date already, and its organs that a reader rejected; `failed`: name,
        message and remedy of each.

    Raises:
        DatasetError: There is no case, or all of them failed.
    """
    cases = find_cases([Path(dataset)])
    finished, failed = [], []
    for number, case in enumerate(cases):

        def told(fraction: float, text: str, number: int = number, name: str = case.name) -> None:
            progress((number + fraction) / len(cases), f"{name}: {text}")

        try:
            done = assemble_case(case, Path(out), release, progress=told)
            rejected = [organ for organ, verdict in done.manifest["parameters"]["verdicts"].items() if verdict["state"] == REJECTED]
            finished.append({"name": case.name, "folder": str(done.folder), "skipped": done.skipped, "rejected": rejected})
        except AtlasError as error:
            failed.append({"name": case.name, "message": error.message, "remedy": error.remedy})
    if not finished:
        message = f"No case of {dataset} could be assembled. {failed[0]['message']}"
        raise DatasetError(message, failed[0]["remedy"])
    finish_dataset(Path(out), cases)
    return {"folder": str(Path(out).resolve()), "release": release, "cases": finished, "failed": failed}
