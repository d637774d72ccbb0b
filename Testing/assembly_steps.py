"""A step for tests of assembly on workers, which import it by name."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import Any

from AtlasReviewLib.commands_release import AssemblyRequest, assemble_briefly
from AtlasSegmentLib.progress import ProgressCallback

KILLER = "killer"


def assemble_and_die_once(request: AssemblyRequest, progress: ProgressCallback) -> dict[str, Any] | None:
    """Assemble a case; the one named KILLER takes its worker with it in the middle, the first time."""
    mark = request.out.parent / "killed"

    def tell(fraction: float, message: str) -> None:
        progress(fraction, message)
        if request.case.name == KILLER and fraction > 0.5:
            with suppress(FileExistsError):
                mark.touch(exist_ok=False)
                os.kill(os.getpid(), signal.SIGKILL)

    return assemble_briefly(request, tell)


def name_of(request: AssemblyRequest) -> str:
    """Name a request by its case."""
    return request.case.name
