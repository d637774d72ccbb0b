"""Names and colors of organs in the report, and the legend below its pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from AtlasSegmentLib.labels import structure_for

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BRIGHT = 215  # of 255: the least of the strongest channel; the tables' darkest colors are lost on a dark CT
_FONT = 9
_CHARACTER = 0.082  # inches, of the font above
_HANDLE = 0.45  # inches, with the gap to the next column
_ROW = 0.17  # inches


def display_name(organ: str) -> str:
    """Return the name of an organ for people: blanks instead of underscores."""
    return organ.replace("_", " ").strip() or organ


def display_color(organ: str) -> tuple[int, int, int]:
    """Return the color of an organ in pictures: that of the label table, with its hue, as bright as a dark CT needs."""
    color = structure_for(organ).color
    factor = _BRIGHT / max(*color, 1)
    return (round(color[0] * factor), round(color[1] * factor), round(color[2] * factor)) if factor > 1 else color


def hex_color(organ: str) -> str:
    """Return the color of an organ in pictures as #rrggbb."""
    return "#{:02x}{:02x}{:02x}".format(*display_color(organ))


def plain_text(text: str) -> str:
    """Return text that any font can draw and that is never taken for a formula; other characters become "?"."""
    drawn = "".join(c if c.isprintable() and ord(c) < 0x250 else "?" for c in text)
    return drawn.replace("$", r"\$")


def legend_height(organs: Sequence[str], width: float) -> float:
    """Return the inches that the legend of these organs takes when it is `width` inches wide."""
    return 0.15 + _ROW * math.ceil(len(organs) / _columns(organs, width))


def _columns(organs: Sequence[str], width: float) -> int:
    longest = max((len(organ) for organ in organs), default=1)
    return max(1, min(len(organs), int(width / (longest * _CHARACTER + _HANDLE))))


def draw_legend(figure: Figure, organs: Sequence[str], width: float, filled: bool) -> None:
    """Draw the legend at the lower left of a figure: patches, or lines where organs are drawn as outlines."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    if not organs:
        return
    colors = [hex_color(organ) for organ in organs]
    handles: list[Any] = [Patch(facecolor=c, edgecolor=c) if filled else Line2D([], [], color=c, linewidth=2.4) for c in colors]
    figure.legend(
        handles,
        [plain_text(display_name(organ)) for organ in organs],
        loc="lower left",
        bbox_to_anchor=(0.008, 0.006),
        ncols=_columns(organs, width),
        fontsize=_FONT,
        frameon=False,
        handlelength=1.3,
        columnspacing=1.2,
        borderaxespad=0,
        borderpad=0.1,
        labelspacing=0.25,
    )
