"""What makes a training repeatable: random numbers that follow from a seed and some words alone, and Torch computing the same each time.

So a training that was stopped needs no random state to go on.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


def generator(seed: int, *words: object) -> np.random.Generator:
    """Return a generator whose state depends on a seed and some words alone.

    Args:
        seed: Of the training.
        words: What it is for, such as "patch", step and number.
    """
    text = "\n".join(map(str, (seed, *words)))
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "little"))


@contextmanager
def repeatable(seed: int) -> Iterator[None]:
    """Let Torch compute the same each time on one machine, and begin with the same weights."""
    import torch

    before, warned = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    torch.manual_seed(seed)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned)
