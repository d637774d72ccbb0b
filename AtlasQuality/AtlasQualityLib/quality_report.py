"""A page about the predicted quality of a dataset: every mask by its predicted Dice, and pictures of the worst ones."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from AtlasQualityLib.quality_case import models_of, quoted
from AtlasQualityLib.quality_predict import ORDER
from AtlasQualityLib.quality_slices import axial, mask_box
from AtlasSegmentLib.case_folder import CaseFolder, LabelFolder
from AtlasSegmentLib.errors import AtlasError, DatasetError, InputError
from AtlasSegmentLib.files import read_json
from AtlasSegmentLib.html_page import Cell, Content, Number, bullets, page, paragraph, picture, section, table, text
from AtlasSegmentLib.labels import structure_for
from AtlasSegmentLib.sparse import read_sparse
from AtlasSegmentLib.volume import Array, reorient
from AtlasSegmentLib.volume_io import read_volume

PICTURES = 12
_ROWS = 2000
_WINDOW = (-160, 240)
_SHOWN_MM = 30.0
_DPI = 110


@dataclass(frozen=True)
class PredictedMask:
    """What was predicted of one mask.

    Attributes:
        case: The case folder.
        of: Name of the model whose mask it is; "" for the average.
        organ: Name of its file.
        dice: Predicted Dice; None for an empty mask.
        spread: Standard deviation over slices.
        worst: Index of the worst slice, from the feet; None for an empty mask.
        slices: (index, score, whether the mask is there) of what was looked at.
    """

    case: CaseFolder
    of: str
    organ: str
    dice: float | None
    spread: float
    worst: int | None
    slices: tuple[tuple[int, float, bool], ...]

    @property
    def folder(self) -> LabelFolder:
        """Where the mask and its prediction lie."""
        return _folder(self.case, self.of)


def predicted_masks(case: CaseFolder, of: str = "") -> list[PredictedMask]:
    """Return what was predicted of the masks of a case.

    Raises:
        DatasetError: Nothing was predicted, or the file is not what the prediction wrote.
    """
    path = _folder(case, of).predicted_dice
    if not path.is_file():
        if of and not _folder(case, of).organs():
            message = f"{case.folder}: there are no masks of a model {of!r}."
            raise DatasetError(message, models_of(case))
        message = f"{case.folder}: the quality of its masks was not predicted."
        raise DatasetError(message, f"Run: atlas quality predict {quoted(case.folder)}{f' --of {of}' if of else ''}")
    try:
        masks = [_predicted(case, of, organ, one) for organ, one in read_json(path)["details"].items()]
    except (AtlasError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        message = f"{path}: is not what atlas quality predict writes."
        raise DatasetError(message, _again(case, of)) from error
    for mask in masks:
        if wrong := _wrong(mask):
            message = f"{path}: is not what atlas quality predict writes ({mask.organ}: {wrong})."
            raise DatasetError(message, _again(case, of))
    return masks


def predicted_warnings(case: CaseFolder, of: str = "") -> list[str]:
    """Return the warnings that were written with the predictions of a case."""
    found = read_json(_folder(case, of).predicted_dice).get("warnings", [])
    return [str(one) for one in found] if isinstance(found, list) else []


def _folder(case: CaseFolder, of: str) -> LabelFolder:
    return case.backbone(of) if of else case.average


def _again(case: CaseFolder, of: str) -> str:
    return f"Run: atlas quality predict --force {quoted(case.folder)}{f' --of {of}' if of else ''}"


def _predicted(case: CaseFolder, of: str, organ: str, one: Mapping[str, Any]) -> PredictedMask:
    slices = tuple((int(s["index"]), float(s["score"]), bool(s["has_mask"])) for s in one["slices"])
    dice, worst = one["dice"], one["worst_slice"]
    return PredictedMask(
        case, of, organ, None if dice is None else float(dice), float(one["spread"]), None if worst is None else int(worst), slices
    )


def _wrong(mask: PredictedMask) -> str:
    """Return why no prediction can be so, "" when it can."""
    numbers = (mask.dice or 0.0, mask.spread, *(score for _, score, _ in mask.slices))
    if not all(map(math.isfinite, numbers)):
        return "a number is not finite"
    if mask.dice is not None and not 0 <= mask.dice <= 1:
        return f"its predicted Dice is {mask.dice:g}"
    if len({mask.dice is None, mask.worst is None, not mask.slices}) != 1:
        return "a mask has a predicted Dice, a worst slice and slices, or none of them"
    if any(index < 0 for index, _, _ in mask.slices):
        return "a slice has a number below 0"
    if mask.worst is not None and mask.worst not in {index for index, _, _ in mask.slices}:
        return f"its worst slice {mask.worst} is none of those looked at"
    return ""


def worst_first(masks: Sequence[PredictedMask]) -> list[PredictedMask]:
    """Return the masks that are not empty, the lowest predicted Dice first; ties by name."""
    return sorted((m for m in masks if m.dice is not None), key=lambda m: (m.dice, m.case.name, m.organ))


def quality_report(title: str, masks: Sequence[PredictedMask], pictures: int = PICTURES, warnings: Sequence[str] = ()) -> bytes:
    """Return the page, UTF-8.

    Args:
        title: Such as the name of the dataset.
        masks: Of all cases.
        pictures: Worst masks that get one.
        warnings: What people must know of the cases, such as that the model was trained on one of them.

    Raises:
        InputError: matplotlib is not installed.
        AtlasError: A CT or mask cannot be read.
    """
    ranked = worst_first(masks)
    empty = [f"{mask.case.name}: {mask.organ}" for mask in masks if mask.dice is None]
    cases = len({mask.case.folder for mask in masks})
    body = [
        f"<h1>{text(title)}</h1>",
        paragraph(f"Predicted quality of {len(ranked)} masks of {cases} {'case' if cases == 1 else 'cases'}."),
        paragraph("A prediction of a network, not a measurement: it says where to look first, and never that a mask is right.", "notice"),
        *(paragraph(f"Warning: {one}", "notice") for one in warnings),
        section("The worst masks", *(_figure(mask, number) for number, mask in enumerate(ranked[:pictures], start=1))),
        section("All masks, the worst first", _table(ranked), _left_out(ranked)),
        section("Empty masks, of which nothing is predicted", bullets(empty, "missing")),
    ]
    return page(f"{title}: predicted quality", body)


def _table(ranked: Sequence[PredictedMask]) -> str:
    rows: list[list[Content]] = [
        [Number(rank), mask.case.name, _organ(mask), Number(mask.dice, 3), Number(mask.spread, 3), Number(mask.worst)]
        for rank, mask in enumerate(ranked[:_ROWS], start=1)
    ]
    return table(["rank", "case", "organ", "predicted Dice", "spread over slices", "worst slice, from the feet"], rows)


def _left_out(ranked: Sequence[PredictedMask]) -> str:
    return paragraph(f"... and {len(ranked) - _ROWS} better ones; the CSV has all of them.", "note") if len(ranked) > _ROWS else ""


def _organ(mask: PredictedMask) -> Cell:
    red, green, blue = structure_for(mask.organ).color
    return Cell(mask.organ, f"rgb({red},{green},{blue})")


def _figure(mask: PredictedMask, number: int) -> str:
    what = f"{mask.organ} of {mask.case.name}"
    caption = f"{number}. {what}: predicted Dice {mask.dice:.2f}, spread {mask.spread:.2f}; axial slice {mask.worst} from the feet"
    if (mask.worst, False) in {(index, there) for index, _, there in mask.slices}:
        caption += "; the mask is empty in this slice, where the network expects the organ"
    return picture(worst_slice_png(mask), caption, f"{what} in its worst slice, and the scores of all slices looked at")


def worst_slice_png(mask: PredictedMask) -> bytes:
    """Return a picture of the worst slice of a mask with its outline, and of the scores of all slices looked at.

    Raises:
        InputError: matplotlib is not installed, or the mask is empty.
        DatasetError: The prediction is of another CT or mask than the one that is there.
        AtlasError: The CT or the mask cannot be read.
    """
    if mask.worst is None:
        message = f"{mask.case.name}: the mask of {mask.organ} is empty."
        raise InputError(message, "Choose another organ.")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        message = "Pictures need matplotlib, which is not installed."
        raise InputError(message, 'Install it with: pip install "slicer-atlas-annotator[report]".') from error
    figure = Figure(figsize=(9.0, 4.2), dpi=_DPI, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.1))
    _draw_slice(left, mask, mask.worst)
    _draw_scores(right, mask)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=_DPI, metadata={"Software": None})
    return stream.getvalue()


def _draw_slice(axes: Any, mask: PredictedMask, index: int) -> None:
    ct = read_volume(mask.case.ct).reoriented(ORDER)
    sparse = read_sparse(mask.folder.mask(mask.organ))
    dense = axial(reorient(sparse.dense(), sparse.grid.affine, ORDER)[0])
    images = axial(ct.array)
    if images.shape != dense.shape or index >= len(images):
        message = f"{mask.folder.predicted_dice}: slice {index} of {mask.organ} is not in the CT and mask that are there now."
        raise DatasetError(message, _again(mask.case, mask.of))
    image, drawn = images[index], dense[index] != 0
    row, column = float(ct.spacing[1]), float(ct.spacing[0])
    _shade(axes, image, (row, column))
    if drawn.any():
        axes.contour(drawn, levels=[0.5], colors=["#ff9f1c"], linewidths=1.4, extent=_extent(image, (row, column)), origin="upper")
    box = mask_box(drawn if drawn.any() else np.asarray(dense.any(axis=0)))
    if box is not None:
        middle = ((box[0] + box[1] + 1) / 2 * row, (box[2] + box[3] + 1) / 2 * column)
        half = max((box[1] - box[0] + 1) * row, (box[3] - box[2] + 1) * column) / 2 + _SHOWN_MM
        axes.set_xlim(middle[1] - half, middle[1] + half)
        axes.set_ylim(middle[0] + half, middle[0] - half)
    for place, letter in (((0.02, 0.5), "R"), ((0.95, 0.5), "L"), ((0.5, 0.95), "A"), ((0.5, 0.02), "P")):
        axes.text(*place, letter, transform=axes.transAxes, color="white", fontsize=11, fontweight="bold")
    axes.set_facecolor("black")
    axes.set_xticks([])
    axes.set_yticks([])


def _extent(image: Array, spacing: tuple[float, float]) -> tuple[float, float, float, float]:
    return (0, image.shape[1] * spacing[1], image.shape[0] * spacing[0], 0)


def _shade(axes: Any, image: Array, spacing: tuple[float, float]) -> None:
    low, high = _WINDOW
    axes.imshow(image, cmap="gray", vmin=low, vmax=high, extent=_extent(image, spacing), interpolation="bilinear")


def _draw_scores(axes: Any, mask: PredictedMask) -> None:
    """Draw the score of each slice looked at, kept within 0..1, with the worst one marked; hollow where the mask is empty."""
    for has_mask, name in ((True, "with mask"), (False, "without: rightly empty?")):
        found = [(index, min(max(score, 0.0), 1.0)) for index, score, inside in mask.slices if inside == has_mask]
        if found:
            at, score = zip(*found, strict=True)
            axes.plot(score, at, "o", color="#1f6f8b", markerfacecolor="#1f6f8b" if has_mask else "white", label=name)
    worst = [min(max(score, 0.0), 1.0) for index, score, _ in mask.slices if index == mask.worst]
    axes.plot(worst, [mask.worst], "o", markersize=13, markerfacecolor="none", markeredgecolor="#c1121f", label="worst")
    axes.axvline(1, color="#9aa5b1", linewidth=0.8)
    axes.set_xlim(-0.05, 1.05)
    axes.set_xlabel("score of the slice (1 is good)")
    axes.set_ylabel("axial slice, from the feet")
    axes.legend(loc="best", fontsize=8)
