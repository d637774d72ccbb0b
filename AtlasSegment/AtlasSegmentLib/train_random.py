"""Random numbers that follow from a seed and some words alone, so that a training that was stopped needs no random state to go on."""

from __future__ import annotations

import hashlib

import numpy as np


def generator(seed: int, *words: object) -> np.random.Generator:
    """Return a generator whose state depends on a seed and some words alone.

    Args:
        seed: Of the training.
        words: What it is for, such as "patch", step and number.
    """
    text = "\n".join(map(str, (seed, *words)))
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "little"))
