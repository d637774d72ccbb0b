"""How a training went, epoch by epoch: as CSV and as a picture."""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from AtlasQualityLib.csv_text import csv_text, number_cell
from AtlasSegmentLib.files import write_bytes, write_text

COLUMNS = (
    "epoch",
    "learning_rate",
    "train_mse",
    "train_rank",
    "train_outline",
    "val_mse",
    "val_pearson",
    "val_spearman",
    "val_mae",
    "val_mask_pearson",
)
CSV, PNG = "curves.csv", "curves.png"
_DPI = 120
_log = logging.getLogger(__name__)


def write_curves(folder: Path, rows: Sequence[Mapping[str, float]], best_epoch: int, *, picture: bool = True) -> None:
    """Write curves.csv, and curves.png where matplotlib is installed.

    Args:
        folder: Where.
        rows: One for each epoch, COLUMNS; `val_` of slices, `val_mask_pearson` of whole masks.
        best_epoch: From 0; the epoch whose network is kept.
        picture: Whether the picture, which takes half a second, is drawn too.
    """
    cells = [[int(row["epoch"]), *(number_cell(row[name], 6) for name in COLUMNS[1:])] for row in rows]
    write_text(folder / CSV, csv_text([COLUMNS, *cells]))
    if not picture:
        return
    try:
        drawn = _png(rows, best_epoch)
    except ImportError:
        _log.warning('The curves are not drawn: matplotlib is missing. Run: pip install "slicer-atlas-annotator[report]".')
        return
    write_bytes(folder / PNG, drawn)


def _png(rows: Sequence[Mapping[str, float]], best_epoch: int) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 3.6), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in rows]
    losses = {"train_mse": "training", "val_mse": "validation", "train_rank": "ranking, training", "train_outline": "drawing, training"}
    _lines(left, epochs, rows, losses)
    left.set_title("Loss", fontsize=10)
    left.set_yscale("log")
    shown = {"val_pearson": "Pearson, slices", "val_spearman": "Spearman, slices", "val_mask_pearson": "Pearson, masks"}
    _lines(right, epochs, rows, shown)
    right.set_title("Predicted and true Dice, validation", fontsize=10)
    for axes in (left, right):
        axes.axvline(best_epoch + 1, color="#999999", linewidth=0.8, linestyle=":")
        axes.set_xlabel("epoch", fontsize=9)
        axes.grid(alpha=0.25)
        axes.legend(fontsize=8, frameon=False)
    figure.tight_layout()
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=_DPI, metadata={"Software": None})
    return stream.getvalue()


def _lines(axes: Any, epochs: Sequence[float], rows: Sequence[Mapping[str, float]], names: Mapping[str, str]) -> None:
    for name, label in names.items():
        axes.plot(epochs, [row[name] for row in rows], label=label, linewidth=1.4, marker="." if len(epochs) < 3 else None)
