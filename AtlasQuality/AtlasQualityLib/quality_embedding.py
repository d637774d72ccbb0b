"""An organ's name as numbers, which is how the label-quality network is told what the mask should be.

SegAE takes CLIP's text embeddings, 512 numbers for each of its classes. Users who have them load a file of theirs
(`EmbeddingTable`). The built-in embedding needs no download and knows any name: words and their parts, each hashed to
a fixed direction, so that names that share words ("kidney_left", "kidney_right"; "vertebrae_L1", "vertebrae_L2") lie close.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import numpy.typing as npt

from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.labels import name_key, structure_for

Float32 = npt.NDArray[np.float32]
FEATURES = 512
NORM = 10.0
"""Length of the vectors; CLIP's, which SegAE takes as they are, have 8.7 to 12.3."""
_PART = 3
_PART_WEIGHT = 0.5
_QUALIFIER_WEIGHT = 0.5
_QUALIFIERS = frozenset(
    {"left", "right", "upper", "lower", "middle", "superior", "inferior", "anterior", "posterior", "internal", "external"}
)


class Embedding(Protocol):
    """Gives the 512 numbers of an organ."""

    def __call__(self, organ: str) -> Float32:
        """Return float32 (512,). Raises InputError when it knows none for this name."""


@lru_cache(maxsize=4096)
def text_embedding(organ: str) -> Float32:
    """Return the built-in embedding of a name: float32 (512,), length 10, the same on every computer.

    Other spellings and aliases of a known structure give the same vector.

    Raises:
        InputError: The name has no letter and no digit.
    """
    words = [word for word in name_key(structure_for(organ).name).split("_") if any(c.isalnum() for c in word)] if organ.strip() else []
    if not words:
        message = f"{organ!r} is no name of an organ."
        raise InputError(message, "Give the mask the name of what it shows, such as liver.")
    total = np.zeros(FEATURES)
    for word in words:
        weight = _QUALIFIER_WEIGHT if word in _QUALIFIERS or any(c.isdigit() for c in word) else 1.0
        total += weight * _direction(word)
        padded = f"<{word}>"
        parts = [padded[i : i + _PART] for i in range(max(1, len(padded) - _PART + 1))]
        total += weight * _PART_WEIGHT / np.sqrt(len(parts)) * sum(_direction(f"part {part}") for part in parts)
    vector = np.asarray(total * (NORM / np.linalg.norm(total)), np.float32)
    vector.setflags(write=False)  # it is shared
    return vector


def _direction(token: str) -> npt.NDArray[np.float64]:
    """Return a fixed direction for a token, each number -1 or 1 (a hash, since random generators may change with their version)."""
    bits = hashlib.shake_256(token.encode("utf-8", "surrogatepass")).digest(FEATURES // 8)
    return np.unpackbits(np.frombuffer(bits, np.uint8)).astype(np.float64) * 2 - 1


@dataclass(frozen=True)
class EmbeddingTable:
    """Embeddings that a user brought.

    Attributes:
        source: The file, for messages.
        vectors: Name to float32 (512,).
    """

    source: str
    vectors: Mapping[str, Float32]

    def __call__(self, organ: str) -> Float32:
        """Return the vector of an organ under any of its names. Raises InputError when there is none."""
        wanted = structure_for(organ).name
        for name, vector in self.vectors.items():
            if structure_for(name).name == wanted:
                return vector
        close = difflib.get_close_matches(wanted, [structure_for(name).name for name in self.vectors], n=3)
        message = f"{self.source}: has no embedding for {organ!r} among its {len(self.vectors)} names."
        raise InputError(message, f"Did you mean {', '.join(close)}?" if close else "Add one, or use a model with the built-in embedding.")
