"""GPUs among worker processes: which of this machine's each process takes, and what a case asks of Dask workers that offer some."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

RESOURCE = "GPU"
"""Name of the Dask resource, as in `dask worker ADDRESS --resources GPU=1`."""
SHARE = 0.25
"""What one case asks for. A worker with one GPU so reads, computes and writes three cases at a time, which take turns on it."""
_VARIABLE = "CUDA_VISIBLE_DEVICES"
_NVIDIA = Path("/proc/driver/nvidia/gpus")


def visible_gpus(environment: Mapping[str, str] | None = None, listing: Path = _NVIDIA) -> list[str]:
    """Return the NVIDIA GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; no library is loaded for it."""
    chosen = (os.environ if environment is None else environment).get(_VARIABLE)
    if chosen is not None:
        names = [name.strip() for name in chosen.split(",")]
        return names[: names.index("-1")] if "-1" in names else [name for name in names if name]
    return [str(number) for number in range(len(list(listing.iterdir())))] if listing.is_dir() else []


def take_gpu(gpu: str) -> None:
    """Let this process see one GPU alone; must come before a library that uses it is loaded."""
    os.environ[_VARIABLE] = gpu


def gpu_of(worker: int, gpus: list[str]) -> str | None:
    """Return the GPU of the worker with this number, in turn; None when there is no choice to make."""
    return gpus[worker % len(gpus)] if len(gpus) > 1 else None


def demand(offers: Iterable[Mapping[str, Any]]) -> dict[str, float] | None:
    """Return the `resources` to submit a case with: a share of a GPU when a worker offers one, else None (any worker will do).

    Args:
        offers: The resources that each worker has declared.
    """
    return {RESOURCE: SHARE} if any(float(offer.get(RESOURCE) or 0) >= SHARE for offer in offers) else None
