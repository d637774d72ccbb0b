"""How a dataset is reviewed by a team: whether a senior verifies, which share is read twice, and when two readings agree.

`review.json` in the dataset folder. Without it one reader decides a task alone. Levels of readers are in readers.json (see
assembly_levels).
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.files import read_json, write_json

POLICY_FILE = "review.json"
SENIOR = 2
"""The level from which on a reader verifies and adjudicates."""
_SHARES = ("double_share", "agree_dice", "agree_nsd")


@dataclass(frozen=True)
class ReviewPolicy:
    """What is in review.json.

    Attributes:
        verify: What a reader below level 2 accepts waits for one of level 2.
        double_share: Share of all tasks that two readers do, blind to each other, 0..1.
        agree_dice: Two readings agree from this Dice on, 0..1.
        agree_nsd: And from this share of both surfaces on that lie within `tolerance_mm` of each other, 0..1.
        tolerance_mm: For agree_nsd.
        agree_kappa: And from this Cohen's kappa over the hot spots on, -1..1; None does not ask for it, as a task has a handful of
            hot spots, and kappa of so few says little.
        seed: Of the random share.
    """

    verify: bool = False
    double_share: float = 0.0
    agree_dice: float = 0.9
    agree_nsd: float = 0.9
    tolerance_mm: float = 2.0
    agree_kappa: float | None = None
    seed: int = 0

    def is_doubled(self, case: str, organ: str) -> bool:
        """Tell whether a task is read twice: decided by seed and names alone, so that neither order nor time nor other tasks matter.

        A larger share keeps what a smaller one chose.
        """
        if not self.double_share:
            return False
        digest = hashlib.sha256("\0".join((str(self.seed), case, organ)).encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8], "big") < self.double_share * 2**64


def read_policy(folder: Path) -> ReviewPolicy:
    """Return the policy of a dataset folder; one reader decides alone where there is none.

    Raises:
        InputError: review.json is damaged, or a value is out of its range.
    """
    path = Path(folder) / POLICY_FILE
    if not path.is_file():
        return ReviewPolicy()
    content = read_json(path)
    known = {field.name for field in fields(ReviewPolicy)}
    if not isinstance(content, dict) or not set(content) <= known:
        message = f"{path}: is not a policy of review."
        raise InputError(message, f"Write it with: atlas worklist policy. It may hold {', '.join(sorted(known))}.")
    return checked_policy(ReviewPolicy(**content), str(path))


def write_policy(folder: Path, policy: ReviewPolicy) -> None:
    """Write review.json, whole or not at all.

    Raises:
        InputError: A value is out of its range.
        StorageError: The folder cannot be written.
    """
    path = Path(folder) / POLICY_FILE
    write_json(path, asdict(checked_policy(policy, str(path))))


def checked_policy(policy: ReviewPolicy, where: str) -> ReviewPolicy:
    """Return a policy whose values make sense.

    Raises:
        InputError: One is of another type or out of its range; the message names it.
    """
    for name in _SHARES:
        _require(_is_number(getattr(policy, name), 0, 1), where, name, getattr(policy, name), "a number from 0 to 1")
    _require(_is_number(policy.tolerance_mm, 0, 100), where, "tolerance_mm", policy.tolerance_mm, "millimeters from 0 to 100")
    kappa = policy.agree_kappa
    _require(kappa is None or _is_number(kappa, -1, 1), where, "agree_kappa", kappa, "a number from -1 to 1, or null")
    _require(isinstance(policy.verify, bool), where, "verify", policy.verify, "true or false")
    _require(isinstance(policy.seed, int) and not isinstance(policy.seed, bool), where, "seed", policy.seed, "a whole number")
    return policy


def _is_number(value: object, low: float, high: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and low <= value <= high


def _require(holds: bool, where: str, name: str, value: object, wanted: str) -> None:
    if not holds:
        message = f"{where}: {name} is {value!r}."
        raise InputError(message, f"Give {wanted}.")
