"""States of a review task, and which of them a reader may move it to."""

from __future__ import annotations

from typing import Literal, get_args

from AtlasSegmentLib.errors import InputError

State = Literal["waiting", "taken", "revised", "accepted", "rejected", "flagged", "skipped"]
STATES: tuple[State, ...] = get_args(State)
WAITING, TAKEN, REVISED, ACCEPTED, REJECTED, FLAGGED, SKIPPED = STATES

OPEN: tuple[State, ...] = (WAITING, TAKEN, REVISED)
"""Somebody still has to look."""
ASIDE: tuple[State, ...] = (FLAGGED, SKIPPED)
"""Put aside with a question or for later: whoever opens one takes it up again."""
FINISHED: tuple[State, ...] = (ACCEPTED, REJECTED)
"""Decided: can be looked at, and edited only after it was reopened."""
OWNED: tuple[State, ...] = (TAKEN, REVISED)
"""In the hands of one reader: nobody else can change it."""
VERDICTS: tuple[State, ...] = (REVISED, ACCEPTED, REJECTED, FLAGGED, SKIPPED)
"""What the reader who has a task can set."""

Stage = Literal["", "verify", "verified", "adjudicate", "adjudicated"]
STAGES: tuple[Stage, ...] = get_args(Stage)
READ, VERIFY, VERIFIED, ADJUDICATE, ADJUDICATED = STAGES
"""Beside its state: a task is read; what a junior accepted waits for a senior; where two readings disagree, a third reader decides."""
CHECKED: tuple[Stage, ...] = (VERIFY, ADJUDICATE)
"""Somebody else's work is looked at: nobody gets it who did that work."""

_NEEDS_COMMENT = (REJECTED,)


def require_verdict(before: State, after: State, comment: str) -> None:
    """Check that the reader who has a task can set a state.

    Args:
        before: State of the task now.
        after: The wanted state.
        comment: What the reader noted.

    Raises:
        InputError: The task is not in a reader's hands, `after` is no verdict, or a rejection has no comment.
    """
    if after not in VERDICTS:
        message = f"A task cannot be set to {after!r}."
        raise InputError(message, f"Use one of {', '.join(VERDICTS)}.")
    if before not in OWNED:
        message = f"The task is {before}, so it cannot be set to {after}."
        raise InputError(message, "Reopen it first." if before in FINISHED else "Take it first.")
    if after in _NEEDS_COMMENT and not comment.strip():
        message = "A rejection needs a comment."
        raise InputError(message, "Say in a few words what is wrong.")
