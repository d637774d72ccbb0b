"""The whole chain for one CT: segment, average, attention, priority, assemble, report."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from AtlasQualityLib.attention import AttentionOptions, attention_case, attention_folder
from AtlasQualityLib.average import AverageOptions, average_case
from AtlasQualityLib.evaluation import evaluate_case
from AtlasQualityLib.priority import ORDERS, prioritize, read_scores, write_priority
from AtlasReviewLib.assemble import assemble_case
from AtlasReviewLib.assembly_plan import original_dataset
from AtlasReviewLib.release_layout import release_organs
from AtlasReviewLib.report import write_report
from AtlasSegmentLib.case_folder import find_cases
from AtlasSegmentLib.label_files import read_stated_labels
from AtlasSegmentLib.model_manifest import read_manifest
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.segment_request import SegmentRequest, segment
from AtlasSegmentLib.volume import LabelVolume, require_same_grid
from AtlasSegmentLib.volume_io import read_volume

CASES, ASSEMBLED = "cases", "assembled"
AGREEMENT_NOTE = (
    "The reference was given with --reference. If a network made it, these numbers are agreement with that network, not accuracy."
)


@dataclass(frozen=True)
class RunRequest:
    """What to do with one CT.

    Attributes:
        segment: The segmentation, which also names the case.
        out: Folder for `cases/<case>` and `assembled/<case>`.
        report: Where the report goes.
        version: Release layout, "1.0" or "1.1".
        dataset: Key of the dataset that the original labels are of, or None.
        reference: Reference label map on the CT's grid, or None.
        table: Label table of the reference.
        reference_note: What the reader of the report must know of the reference.
        notes: What the report says at its top, such as that a correction was simulated.
    """

    segment: SegmentRequest
    out: Path
    report: Path
    version: str = "1.1"
    dataset: str | None = None
    reference: Path | None = None
    table: str | None = None
    reference_note: str = AGREEMENT_NOTE
    notes: tuple[str, ...] = ()


def run_case(request: RunRequest, progress: ProgressCallback = ignore_progress) -> dict[str, Any]:
    """Run the chain; steps that are done already are skipped.

    Returns:
        Paths, scores and, with a reference, the agreement.

    Raises:
        AtlasError: As the steps; bad input is found before anything is written.
    """
    case, wanted = request.segment.case, request.segment.options
    reference = _read_reference(request)
    release_organs(request.version)
    original_dataset(case, request.dataset, request.segment.original is not None or case.original_label.is_file())
    # Only the models named now count, also when the folder holds predictions of others from an earlier run.
    models = tuple(sorted({read_manifest(folder).name for folder in request.segment.models}))
    segment(request.segment, lambda done, text: progress(0.7 * done, text))
    progress(0.7, "average")
    average_case(case, AverageOptions(models, wanted.postprocess, wanted.force))
    progress(0.75, "attention")
    attention_case(case, AttentionOptions(models, wanted.all_entropies, parts=True, force=wanted.force))
    scores = read_scores(case).organs
    progress(0.85, "assemble")
    assembled = assemble_case(case, request.out / ASSEMBLED, request.version, dataset=request.dataset, force=wanted.force)
    progress(0.9, "report")
    evaluation = None if reference is None else evaluate_case(case, reference)
    note = request.reference_note if reference is not None else ""
    report = write_report(
        case, request.report, evaluation=evaluation, assembled=assembled.manifest, reference_note=note, notes=request.notes
    )
    return {
        "case": str(case.folder),
        "assembled": str(assembled.folder),
        "report": str(report),
        "organs": {score.organ: asdict(score) for score in scores},
        **({} if evaluation is None else {"agreement": asdict(evaluation)}),
    }


def _read_reference(request: RunRequest) -> LabelVolume | None:
    if request.reference is None:
        return None
    ct = read_volume(request.segment.source, series=request.segment.series)
    reference = read_stated_labels(request.reference, request.table, ct.grid)
    require_same_grid(reference.reoriented(ct.orientation), ct)
    return reference


def rank(dataset_folder: Path) -> None:
    """Write the priority list of all cases of a dataset folder whose attention is computed."""
    done = [case for case in find_cases([dataset_folder]) if attention_folder(case).run_record.is_file()]
    write_priority(dataset_folder, "priority", prioritize([read_scores(case) for case in done], ORDERS[0]))
