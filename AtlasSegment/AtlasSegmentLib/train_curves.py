"""How a training went, epoch by epoch: as CSV and as a picture."""

from __future__ import annotations

import csv
import io
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from AtlasSegmentLib.files import write_bytes, write_text

FIRST = ("epoch", "step", "learning_rate", "dice_loss", "cross_entropy", "val_dice")
CSV, PNG = "curves.csv", "curves.png"
_DPI = 120
_log = logging.getLogger(__name__)


def write_curves(folder: Path, rows: Sequence[Mapping[str, float]], organs: Sequence[str], best_step: int, *, picture: bool = True) -> None:
    """Write curves.csv, and curves.png where matplotlib is installed.

    Args:
        folder: Where.
        rows: One for each epoch: FIRST, and the Dice of organs, under their names, where there was a validation.
        organs: Names of the targets.
        best_step: The step whose network is kept; -1 for none.
        picture: Whether the picture, which takes half a second, is drawn too.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*FIRST, *organs])
    for row in rows:
        writer.writerow([int(row["epoch"]), int(row["step"]), *(_cell(row.get(name)) for name in (*FIRST[2:], *organs))])
    write_text(folder / CSV, text.getvalue())
    if not picture:
        return
    try:
        drawn = _png(rows, organs, best_step)
    except ImportError:
        _log.warning('The curves are not drawn: matplotlib is missing. Run: pip install "slicer-atlas-annotator[report]".')
        return
    write_bytes(folder / PNG, drawn)


def _cell(value: float | None) -> object:
    return "" if value is None or not math.isfinite(value) else round(value, 6)


def _png(rows: Sequence[Mapping[str, float]], organs: Sequence[str], best_step: int) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 4.0), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for name, label in (("dice_loss", "1 - Dice"), ("cross_entropy", "cross-entropy")):
        _line(left, rows, name, label, 1.4)
    left.set_title("Loss, training", fontsize=10)
    _line(right, rows, "val_dice", "mean", 2.0)
    for organ in organs:
        _line(right, rows, organ, organ, 0.8)
    right.set_title("Dice, validation", fontsize=10)
    right.set_ylim(0, 1)
    for axes in (left, right):
        if best_step >= 0:
            axes.axvline(best_step, color="#999999", linewidth=0.8, linestyle=":")
        axes.set_xlabel("step", fontsize=9)
        axes.grid(alpha=0.25)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=6, frameon=False, ncols=2)
    figure.tight_layout()
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=_DPI, metadata={"Software": None})
    return stream.getvalue()


def _line(axes: Any, rows: Sequence[Mapping[str, float]], name: str, label: str, width: float) -> None:
    found = [(row["step"], row[name]) for row in rows if math.isfinite(row.get(name, math.nan))]
    if found:
        steps, values = zip(*found, strict=True)
        axes.plot(steps, values, label=label, linewidth=width, marker="." if len(found) < 3 else None)
