"""How the predictions came nearer to what readers accept, round by round: rounds/agreement.csv and agreement.png."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from AtlasReviewLib.report_legend import display_name
from AtlasReviewLib.revision_log import neutralized
from AtlasReviewLib.rounds import FOLDER
from AtlasSegmentLib.files import write_bytes, write_text

CURVE, PICTURE = "agreement.csv", "agreement.png"
_COLUMNS = ("round", "organ", "dice", "count", "untouched")
MEAN = "mean of the organs"


def write_curve(dataset: Path, rows: list[dict[str, Any]]) -> list[Path]:
    """Write the curve as CSV and as a picture, and return the files.

    Args:
        dataset: The dataset folder.
        rows: See `rounds.agreement`.

    Raises:
        StorageError: A file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for row in rows:
        writer.writerow([row["round"], neutralized(row["organ"] or MEAN), f"{row['dice']:.6f}", row["count"], f"{row['untouched']:.4f}"])
    table, picture = dataset / FOLDER / CURVE, dataset / FOLDER / PICTURE
    write_text(table, text.getvalue())
    write_bytes(picture, curve_picture(rows))
    return [table, picture]


def curve_picture(rows: list[dict[str, Any]]) -> bytes:
    """Return the curve as PNG: one thin line an organ, a thick one for their mean."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    organs = sorted({row["organ"] for row in rows if row["organ"]})
    for organ in [*organs, ""]:
        own = [row for row in rows if row["organ"] == organ]
        style: dict[str, Any] = {"linewidth": 1, "marker": "."} if organ else {"linewidth": 3, "marker": "o", "color": "black"}
        label = (display_name(organ) if organ else MEAN).replace("$", r"\$")  # a name is text, not a formula
        axes.plot([row["round"] for row in own], [row["dice"] for row in own], label=label, **style)
    rounds = sorted({row["round"] for row in rows})
    axes.set(xlabel="round", ylabel="Dice of the prediction with the accepted mask", xticks=rounds)
    axes.set_ylim(top=1.005)  # a marker at 1 is seen whole
    axes.grid(alpha=0.3)
    axes.legend(fontsize="x-small", ncols=2)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
