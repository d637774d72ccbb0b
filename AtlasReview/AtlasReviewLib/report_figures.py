"""Pictures of the report: slices with labels, attention and hot spots in radiological convention, as PNG bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from AtlasQualityLib.hot_spots import HotSpot
from AtlasReviewLib.report_case import ReportCase, read_on
from AtlasReviewLib.report_legend import display_color, display_name, draw_legend, hex_color, legend_height, plain_text
from AtlasReviewLib.report_views import VIEWS, Plane, View, plane_through, sample
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.sparse import SparseVolume, is_empty

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WINDOW, LEVEL = 400.0, 40.0
"""CT window of the pictures, HU: abdomen."""
DOTS_PER_INCH = 150
WIDTH_INCHES = 12.0
MOST_SPOTS, MOST_AN_ORGAN = 6, 2

_MARKER = "#00e5ff"  # found neither in the CT, nor in the attention colors, nor among the organs
_RANGE_MM = 300.0  # of the coronal and sagittal pictures along the body: long scans are cut around the hot spot
_SCALE_MM = 50.0
_BAR = 0.62  # inches for the color bar
_LEGEND = 9.0  # inches: width of the legend beside the color bar
_HEAD = 0.62  # inches for titles
_GAP = 0.08
_ACROSS: tuple[View, ...] = ("sagittal", "coronal", "axial")  # the view across each RAS axis
_SIDE = 0.62  # inches for the names of the rows


def require_matplotlib() -> None:
    """Check that pictures can be drawn.

    Raises:
        InputError: matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        message = "The report needs matplotlib, which is not installed."
        raise InputError(message, 'Install it with: pip install "slicer-atlas-annotator[report]".') from error


def top_spots(spots: Sequence[HotSpot]) -> list[HotSpot]:
    """Return the hot spots that get a picture: the first six, at most two of an organ."""
    chosen: list[HotSpot] = []
    for spot in spots:
        if len(chosen) < MOST_SPOTS and sum(other.organ == spot.organ for other in chosen) < MOST_AN_ORGAN:
            chosen.append(spot)
    return chosen


def overview_png(report: ReportCase) -> bytes:
    """Draw axial, coronal and sagittal slices with all labels filled, through the slices that show the most organs."""
    center = _busiest_point(report)
    planes = [plane_through(view, center, report.low, report.high) for view in VIEWS]
    organs = _visible(report, planes)
    figure, axes = _canvas(planes, [""], legend_height(organs, WIDTH_INCHES))
    for plane, cell in zip(planes, axes[0], strict=True):
        _draw_ct(cell, report, plane)
        _draw_filled(cell, report, plane)
        _annotate(cell, plane)
    draw_legend(figure, organs, WIDTH_INCHES, filled=True)
    return _png(figure)


def hot_spot_png(report: ReportCase, spot: HotSpot, number: int) -> bytes:
    """Draw one hot spot: above the labels, below the attention, each in three slices through it."""
    low, high = report.low.copy(), report.high.copy()
    if high[2] - low[2] > _RANGE_MM:
        low[2] = min(max(low[2], spot.center[2] - _RANGE_MM / 2), high[2] - _RANGE_MM)
        high[2] = low[2] + _RANGE_MM
    planes = [plane_through(view, spot.center, low, high) for view in VIEWS]
    organs = _visible(report, planes)
    figure, axes = _canvas(planes, ["CT and labels", "attention and hot spot"], max(_BAR, legend_height(organs, _LEGEND)))
    attention = read_on(report.case.average.map("attention", spot.organ), report.grid)
    heat = None
    for column, plane in enumerate(planes):
        _draw_ct(axes[0][column], report, plane)
        _draw_outlines(axes[0][column], report, plane, report.organs, 1.1)
        _draw_ct(axes[1][column], report, plane)
        heat = _draw_heat(axes[1][column], attention, plane)
        _draw_outlines(axes[1][column], report, plane, [spot.organ], 0.9)
        for row in (0, 1):
            _annotate(axes[row][column], plane, title=row == 0)
            _draw_marker(axes[row][column], plane, spot, number if row else None)
    draw_legend(figure, organs, _LEGEND, filled=False)
    _draw_color_bar(figure, heat, display_name(spot.organ))
    return _png(figure)


def _canvas(planes: Sequence[Plane], rows: Sequence[str], foot: float) -> tuple[Figure, list[list[Any]]]:
    """Return a figure of fixed width whose cells (rows x planes) all have one scale, and its axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    side = _SIDE / 2 if any(rows) else _GAP
    widths = [plane.grid.shape[0] for plane in planes]
    tallest = max(plane.grid.shape[1] for plane in planes)
    inch = (WIDTH_INCHES - side - _GAP * len(planes)) / sum(widths)  # a pixel of a plane
    inch = min(inch, 5.0 / tallest)  # narrow and tall scans: not taller than a page
    height = _HEAD / 2 + foot + len(rows) * (tallest * inch + _GAP)
    figure = Figure(figsize=(WIDTH_INCHES, height), dpi=DOTS_PER_INCH, facecolor="white")
    FigureCanvasAgg(figure)
    start = side + (WIDTH_INCHES - side - _GAP * len(planes) - sum(widths) * inch) / 2
    axes: list[list[Any]] = []
    for row, name in enumerate(rows):
        top = height - _HEAD / 2 - row * (tallest * inch + _GAP)
        left, cells = start, []
        for plane, width in zip(planes, widths, strict=True):
            tall = plane.grid.shape[1] * inch
            bottom = top - (tallest * inch + tall) / 2
            cells.append(figure.add_axes((left / WIDTH_INCHES, bottom / height, width * inch / WIDTH_INCHES, tall / height)))
            left += width * inch + _GAP
        middle = (top - tallest * inch / 2) / height
        figure.text((start - 0.06) / WIDTH_INCHES, middle, name, rotation=90, ha="right", va="center", fontsize=11)
        axes.append(cells)
    return figure, axes


def _draw_ct(axes: Any, report: ReportCase, plane: Plane) -> None:
    columns, rows, _ = plane.grid.shape
    picture = np.full((rows, columns), -1024.0) if report.ct is None else sample(report.ct, plane, "linear", -1024.0)
    low = LEVEL - WINDOW / 2
    axes.imshow(picture, cmap="gray", vmin=low, vmax=low + WINDOW, interpolation="nearest")
    axes.set_axis_off()
    axes.set_autoscale_on(False)


def _draw_filled(axes: Any, report: ReportCase, plane: Plane) -> None:
    values = sample(report.labels, plane, "nearest")
    colors = np.zeros((len(report.organs) + 1, 4))
    for value, organ in enumerate(report.organs, start=1):
        colors[value] = (*(channel / 255 for channel in display_color(organ)), 0.5)
    axes.imshow(colors[values], interpolation="nearest")
    _draw_outlines(axes, report, plane, report.organs, 0.8)


def _draw_outlines(axes: Any, report: ReportCase, plane: Plane, organs: Sequence[str], width: float) -> None:
    """Draw the border of each organ where its linearly interpolated mask crosses one half."""
    present = set(np.unique(sample(report.labels, plane, "nearest")).tolist())
    for value, organ in enumerate(report.organs, start=1):
        if value in present and organ in organs:
            share = np.pad(sample(report.labels, plane, "linear", label=value), 1)  # closed at the border of the picture
            rows, columns = share.shape
            color = hex_color(organ)
            axes.contour(np.arange(columns) - 1, np.arange(rows) - 1, share, levels=[0.5], colors=color, linewidths=width)


def _draw_heat(axes: Any, attention: SparseVolume, plane: Plane) -> Any:
    columns, rows, _ = plane.grid.shape
    heat = np.zeros((rows, columns)) if is_empty(attention.box) else sample(attention, plane, "nearest") / 255
    return axes.imshow(np.ma.masked_less_equal(heat, 0), cmap="inferno", vmin=0, vmax=1, alpha=0.75, interpolation="nearest")


def _draw_marker(axes: Any, plane: Plane, spot: HotSpot, number: int | None) -> None:
    """Mark the hot spot with a cross that leaves its middle free, and in the attention row also a ring and its number."""
    from matplotlib.patches import Circle

    column, row = plane.pixel_of(spot.center)
    pixel = float(plane.grid.affine[:3, 0] @ plane.grid.affine[:3, 0]) ** 0.5
    near, far = 8 / pixel, 17 / pixel
    for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        axes.plot([column + x * near, column + x * far], [row + y * near, row + y * far], color=_MARKER, linewidth=1.4)
    if number is not None:
        axes.add_patch(Circle((column, row), near, fill=False, edgecolor=_MARKER, linewidth=1.4))
        _outlined(axes.text(column + near, row - near, str(number), color=_MARKER, fontsize=11, ha="left", va="bottom", clip_on=True))


def _annotate(axes: Any, plane: Plane, title: bool = True) -> None:
    """Write the orientation letters and a scale bar of 5 cm."""
    columns, rows, _ = plane.grid.shape
    places = (
        (0.012, 0.5, "left", "center"),
        (0.988, 0.5, "right", "center"),
        (0.5, 0.985, "center", "top"),
        (0.5, 0.015, "center", "bottom"),
    )
    for letter, (x, y, across, along) in zip(plane.letters, places, strict=True):
        _outlined(axes.text(x, y, letter, transform=axes.transAxes, color="white", fontsize=11, ha=across, va=along))
    pixel = abs(float(plane.grid.affine[:3, 0].sum()))
    length = _SCALE_MM / pixel
    right, bottom = columns - 8 / pixel, rows - 9 / pixel
    axes.plot([right - length, right], [bottom, bottom], color="white", linewidth=2.2, solid_capstyle="butt")
    _outlined(axes.text(right - length / 2, bottom - 2 / pixel, "5 cm", color="white", fontsize=9, ha="center", va="bottom"))
    if title:
        axes.set_title(f"{plane.view}, {_position(plane)}", fontsize=10, pad=3)


def _position(plane: Plane) -> str:
    axis = _ACROSS.index(plane.view)
    position = round(float(plane.center[axis]))
    return f"{'LPI'[axis] if position < 0 else 'RAS'[axis]} {abs(position)} mm"


def _outlined(text: Any) -> None:
    from matplotlib.patheffects import withStroke

    text.set_path_effects([withStroke(linewidth=2, foreground="black")])


def _visible(report: ReportCase, planes: Sequence[Plane]) -> list[str]:
    """Return the organs that any of the planes meets."""
    values = {int(value) for plane in planes for value in np.unique(sample(report.labels, plane, "nearest"))}
    return [organ for value, organ in enumerate(report.organs, start=1) if value in values]


def _draw_color_bar(figure: Figure, heat: Any, organ: str) -> None:
    height = float(figure.get_size_inches()[1])
    axes = figure.add_axes((0.77, 0.28 / height, 0.21, 0.12 / height))
    bar = figure.colorbar(heat, cax=axes, orientation="horizontal", ticks=[0, 0.5, 1])
    bar.ax.tick_params(labelsize=8, length=2, pad=1)
    bar.ax.set_title(plain_text(f"attention, {organ} (1 = its maximum)"), fontsize=9, pad=2)


def _busiest_point(report: ReportCase) -> list[float]:
    """Return the point whose three slices each meet the most organs; the middle of the box when there are no labels."""
    center = [float(x) for x in (report.low + report.high) / 2]
    if is_empty(report.labels.box):
        return center
    return [_busiest(report, view, axis, center) for axis, view in enumerate(_ACROSS)]


def _busiest(report: ReportCase, view: View, axis: int, center: Sequence[float]) -> float:
    def shown(position: float) -> tuple[int, int]:
        through = [*center[:axis], position, *center[axis + 1 :]]
        values = sample(report.labels, plane_through(view, through, report.low, report.high, 4.0), "nearest")
        return len(np.unique(values)), int(np.count_nonzero(values))

    candidates = np.linspace(report.low[axis], report.high[axis], 61)[1:-1].round(3).tolist()
    return float(max(candidates, key=shown))


def _png(figure: Figure) -> bytes:
    """Return the figure as PNG, the same bytes for the same content (no date, no version)."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return stream.getvalue()
