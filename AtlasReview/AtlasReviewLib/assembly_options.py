"""What decides an assembly beside its sources: painting order, verdicts; and how a painting order is read from a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.labels import resolve

if TYPE_CHECKING:
    from AtlasReviewLib.review_verdicts import Verdict

_LISTED_FIRST = 1000  # above every value of the AbdomenAtlas inference table


@dataclass(frozen=True)
class AssemblyOptions:
    """Attributes:
    paint_order: Canonical names from the one painted first to the one painted last, which wins where they overlap. Organs that
        are not in it are painted before, by ascending value of the AbdomenAtlas inference table. It decides among masks of
        one kind; predicted ones are always painted before revised ones, and those before original ones.
    verdicts: Organ to what a reader decided; None: they are read from the worklist of the dataset folder.
    """

    paint_order: tuple[str, ...] = ()
    verdicts: Mapping[str, Verdict] | None = None

    def order_of(self, organ: str, class_value: int) -> int:
        """Return the painting order of an organ: the higher one is painted later."""
        name = resolve(organ).name
        return _LISTED_FIRST + self.paint_order.index(name) if name in self.paint_order else class_value


def read_paint_order(path: Path) -> tuple[str, ...]:
    """Read a painting order: one organ a line, the last one wins; blank lines and what follows "#" are passed over.

    Raises:
        InputError: It cannot be read, names nothing, or names an organ twice.
        LabelError: No such structure.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        message = f"{path}: cannot be read as a list of organs ({error})."
        raise InputError(message, "Give a text file with one organ a line.") from error
    names = [resolve(text).name for line in lines if (text := line.partition("#")[0].strip())]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        message = f"{path}: {twice[0]} is listed twice." if twice else f"{path}: names no organ."
        raise InputError(message, "List each organ once, from the one painted first to the one that wins.")
    return tuple(names)
