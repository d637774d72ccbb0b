"""One training in several processes, as torchrun starts them; a process that was started otherwise trains alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from AtlasSegmentLib.devices import Device
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.torch_device import open_device, require_torch

if TYPE_CHECKING:
    import torch

_LONGEST = timedelta(hours=24)  # while the first process makes the examples, the others wait
_WHAT = "label-quality training"


@dataclass(frozen=True)
class Ranks:
    """The processes of a training.

    Attributes:
        rank: Of this one, from 0.
        count: All of them.
        device: What this one computes on.
    """

    rank: int
    count: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.count > 1:
            from torch import distributed

            distributed.barrier()


def rank_of_environment() -> tuple[int, int]:
    """Return (rank, processes) as torchrun tells them; (0, 1) when it did not start this process. Raises InputError."""
    try:
        rank, count = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    except ValueError as error:
        message = f"RANK={os.environ.get('RANK')!r} and WORLD_SIZE={os.environ.get('WORLD_SIZE')!r} are no numbers."
        raise InputError(message, "Start several processes with: torchrun --nproc-per-node N.") from error
    return rank, count


@contextmanager
def open_ranks(device: Device = "auto") -> Iterator[Ranks]:
    """Join the other processes, if there are any, and leave them at the end of the block.

    GPUs talk by NCCL, one for each process of a machine; CPUs by Gloo.

    Raises:
        ModelError: Torch is not installed, or the GPU is insisted on and cannot be used.
    """
    require_torch(_WHAT)
    import torch
    from torch import distributed

    rank, count = rank_of_environment()
    if count > 1 and device != "cpu" and torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    chosen = open_device(_WHAT, device)
    if count == 1:
        yield Ranks(0, 1, chosen)
        return
    distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=_LONGEST)
    try:
        yield Ranks(rank, count, chosen)
    finally:
        distributed.destroy_process_group()
