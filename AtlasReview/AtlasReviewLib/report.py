"""report.html of a case: pictures, hot spots, volumes, priority and provenance in one self-contained file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from AtlasQualityLib.evaluation import Evaluation
from AtlasQualityLib.hot_spots import HotSpot, find_hot_spots
from AtlasReviewLib import report_tables
from AtlasReviewLib.report_case import ReportCase, read_report_case
from AtlasReviewLib.report_figures import hot_spot_png, overview_png, require_matplotlib, top_spots
from AtlasReviewLib.report_legend import display_name
from AtlasReviewLib.report_provenance import model_table, step_table
from AtlasReviewLib.report_tables import NETWORK_REFERENCE
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.files import write_bytes
from AtlasSegmentLib.html_page import bullets, page, paragraph, picture, section, text

__all__ = ["NETWORK_REFERENCE", "write_report"]

_PRIORITY = (
    "Attention is where the models disagree, are unsure, or where organs overlap. Expected error is the volume that is probably wrong "
    "by the models' own probabilities; gain is how much of it an editor removes in a minute."
)
_SPOTS = (
    "Connected regions of the attention maps, the one with the largest expected error first (attention where there is no "
    "expected-error map). Left and right are the patient's. "
    'Where little of a region is "in the mask", the mask may leave out something there; where most is, it may hold too much.'
)
_VIEW = "Radiological view: the patient's right is on the left of the picture. CT window 400 HU wide at 40 HU."


def write_report(
    case: CaseFolder,
    path: Path,
    *,
    evaluation: Evaluation | None = None,
    assembled: Mapping[str, Any] | None = None,
    reference_note: str = "",
    notes: Sequence[str] = (),
) -> Path:
    """Write the report of a case; the same inputs give the same bytes. What is missing is said in it.

    Args:
        case: A case folder in any state.
        path: The HTML file.
        evaluation: Agreement with a reference, from `evaluate_case`.
        assembled: The manifest of the assembled case.
        reference_note: What the reader must know of the reference, such as NETWORK_REFERENCE.
        notes: What is said at the top, one paragraph each.

    Returns:
        `path`.

    Raises:
        InputError: matplotlib is not installed, or a file of the case is damaged.
        GeometryError: A file of the case lies on another grid.
        DatasetError: The case has neither a CT nor labels.
        StorageError: The file cannot be written.
    """
    require_matplotlib()
    report = read_report_case(case, (assembled or {}).get("parameters", {}).get("dataset"))
    spots = find_hot_spots(case)
    if not spots:
        marked = "The attention maps mark no voxel" if case.average.organs("attention") else "There are no attention maps"
        report.missing.append(f"{marked}, so that there are no hot spots to show.")
    priority = report_tables.priority_table(case, report.missing)
    body = [
        *_head(report),
        *(paragraph(note, "notice") for note in notes),
        section("Labels", _overview(report)),
        section("What to check first", paragraph(_PRIORITY, "note") if priority else "", priority),
        section("Hot spots", *_hot_spots(report, spots)),
        section("Volumes", report_tables.volume_table(report)),
        section("Agreement with a reference", *(report_tables.agreement(evaluation, reference_note) if evaluation else [])),
        section("Revisions", report_tables.revision_table(case)),
        section("Assembled labels", *(report_tables.assembly_table(assembled) if assembled else [])),
        section("CT", report_tables.ct_table(report)),
        section("Provenance", model_table(case), step_table(case)),
    ]
    write_bytes(Path(path), page(f"{case.name}: Atlas Annotator report", body))
    return Path(path)


def _head(report: ReportCase) -> list[str]:
    case = report.case
    count = len(case.models())
    models = f"{count} model{'' if count == 1 else 's'}"
    about = (
        f"Organ labels of one CT, proposed by {models}, with the places where they are probably wrong. "
        "Use it to decide what to correct first, and to see where every label is from."
    )
    return [
        f"<h1>{text(case.name)}</h1>",
        paragraph(f"Dataset {case.dataset}", "note"),
        paragraph(about),
        paragraph("Not for clinical use: labels for research and for training, not for diagnosis.", "notice"),
        bullets(report.missing, "missing"),
    ]


def _overview(report: ReportCase) -> str:
    if not report.organs:
        return ""
    kinds = [kind for kind in ("original", "revised", "predicted") if kind in report.sources.values()]
    caption = f"The masks that count ({', '.join(kinds)}), in the slices that meet the most organs. {_VIEW}"
    names = ", ".join(display_name(organ) for organ in report.organs)
    return picture(overview_png(report), caption, f"Axial, coronal and sagittal CT slices with the labels {names}.")


def _hot_spots(report: ReportCase, spots: Sequence[HotSpot]) -> list[str]:
    if not spots:
        return []
    pictures = [_hot_spot(report, spot, spots.index(spot) + 1) for spot in top_spots(spots)]
    return [paragraph(_SPOTS, "note"), report_tables.hot_spot_table(spots), paragraph(_VIEW, "note"), *pictures]


def _hot_spot(report: ReportCase, spot: HotSpot, number: int) -> str:
    name = display_name(spot.organ)
    caption = f"Hot spot {number}: {name}{', ' if spot.place else ''}{spot.place}; {spot.volume_mm3 / 1000:.1f} ml"
    description = f"Axial, coronal and sagittal slices through hot spot {number} ({name}): above the labels, below the attention map."
    return picture(hot_spot_png(report, spot, number), caption, description)
