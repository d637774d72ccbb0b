"""The picture of a simulated review: error that is left against slices opened, and against the reader's minutes."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from AtlasReviewLib.report_figures import DOTS_PER_INCH, require_matplotlib
from AtlasReviewLib.simulation import Curve
from AtlasReviewLib.simulation_strategies import GAIN, ORACLE, RANDOM, SHARPENED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SIZE = (11.0, 4.8)  # inches
_BOUND, _OURS, _OTHERS = "#222222", "#c2185b", ("#1f77b4", "#2a9d8f", "#e09f3e", "#7b5ea7", "#6c757d", "#8c6d46")
_MOST_POINTS = 1500
_BEYOND = 1.6
_NOTE_WIDTH = 190  # characters of a line below the picture


def simulation_png(curves: Sequence[Curve], title: str, note: str) -> bytes:
    """Draw curves as PNG, the same bytes for the same curves.

    Args:
        curves: Slice by slice (full lines) and carried (dashed; only the best one and the bounds).
        title: What was reviewed.
        note: What a reader must know of the reference and the time model; set small below.

    Raises:
        InputError: matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE, dpi=DOTS_PER_INCH, facecolor="white")
    FigureCanvasAgg(figure)
    shown = _shown(curves)
    panels = figure.subplots(1, 2)
    for axes, minutes in zip(panels, (False, True), strict=True):
        for curve, style in shown:
            _draw(axes, curve, style, minutes=minutes)
        _frame(axes, shown, minutes=minutes)
    figure.suptitle(_plain(title), x=0.06, ha="left", fontsize=12)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="center right", fontsize=9, frameon=False)
    figure.text(0.06, 0.015, "\n".join(textwrap.wrap(_plain(note), _NOTE_WIDTH)), fontsize=7.5, color="#555555")
    figure.subplots_adjust(left=0.06, right=0.8, top=0.9, bottom=0.17, wspace=0.16)
    return _png(figure)


def _shown(curves: Sequence[Curve]) -> list[tuple[Curve, dict[str, Any]]]:
    """Return the curves that are drawn, and how."""
    others = [name for curve in curves if (name := curve.strategy) not in {RANDOM, ORACLE, GAIN, SHARPENED}]
    colors = {name: _OTHERS[number % len(_OTHERS)] for number, name in enumerate(dict.fromkeys(others))}
    fixed = {ORACLE: (_BOUND, 1.6), RANDOM: ("#999999", 1.6), GAIN: (_OURS, 2.2), SHARPENED: ("#f06292", 1.4)}
    result = []
    for curve in curves:
        if curve.carried and curve.strategy not in {GAIN, ORACLE, RANDOM}:
            continue
        color, width = fixed.get(curve.strategy) or (colors[curve.strategy], 1.0)
        label = _plain(curve.strategy) + (", carried" if curve.carried else "")
        result.append((curve, {"color": color, "linewidth": width, "linestyle": "--" if curve.carried else "-", "label": label}))
    return result


def _draw(axes: Any, curve: Curve, style: dict[str, Any], *, minutes: bool) -> None:
    count = len(curve.removed)
    kept = np.unique(np.linspace(0, count - 1, min(count, _MOST_POINTS)).round().astype(int))
    across = curve.minutes[kept] if minutes else 100 * kept / curve.units
    axes.plot(across, 100 * (1 - curve.removed[kept]), **style)


def _frame(axes: Any, shown: Sequence[tuple[Curve, dict[str, Any]]], *, minutes: bool) -> None:
    axes.set_xlim(0, _right_end([curve for curve, _ in shown], minutes=minutes))
    axes.set_ylim(0, 100)
    axes.set_xlabel("minutes of the reader" if minutes else "slices opened (% of all slices of all organs)", fontsize=9)
    if not minutes:
        axes.set_ylabel("error that is left (%)", fontsize=9)
    for level in (50, 20, 10):
        axes.axhline(level, color="#dddddd", linewidth=0.8, zorder=0)
    axes.set_yticks([0, 10, 20, 50, 100])
    axes.tick_params(labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _right_end(curves: Sequence[Curve], *, minutes: bool) -> float:
    """Return where the horizontal axis ends: well behind the point where the oracle is done."""
    whole = max(float(curve.minutes[-1]) for curve in curves) if minutes else 100.0
    oracle = next((curve for curve in curves if curve.strategy == ORACLE and not curve.carried), None)
    at = oracle.reached(0.99) if oracle is not None else None
    if oracle is None or not at:
        return whole
    return min(whole, _BEYOND * (float(oracle.minutes[at]) if minutes else 100 * at / oracle.units))


def _plain(text: str) -> str:
    """Return text that matplotlib does not read as a formula."""
    return text.replace("$", r"\$")


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return stream.getvalue()
