"""Numbers in sentences."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """Return "1 task" or "2 tasks"; the plural takes an s."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
