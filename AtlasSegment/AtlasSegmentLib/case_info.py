"""What is in a case and what is missing, from the files alone."""

from __future__ import annotations

from typing import Any

from AtlasSegmentLib import geometry, nifti
from AtlasSegmentLib.case_folder import CaseFolder, LabelFolder
from AtlasSegmentLib.errors import AtlasError
from AtlasSegmentLib.files import read_json
from AtlasSegmentLib.outdated import changed_masks, models_newer_than_average
from AtlasSegmentLib.volume import Grid


def describe_grid(grid: Grid) -> dict[str, Any]:
    """Return shape, spacing (mm), extent (mm) and orientation of a grid."""
    spacing = geometry.spacing_of(grid.affine)
    return {
        "shape": list(grid.shape),
        "spacing_mm": [round(float(s), 4) for s in spacing],
        "extent_mm": [round(float(n * s), 1) for n, s in zip(grid.shape, spacing, strict=True)],
        "orientation": grid.orientation,
    }


def describe_case(case: CaseFolder) -> dict[str, Any]:
    """Return what a case holds: CT, models, average, attention, revisions, and a list of what is missing or broken."""
    attention = LabelFolder(case.average.folder / "attention")
    problems: list[str] = []
    models = {name: _describe_folder(case.backbone(name), problems) for name in case.models()}
    found: dict[str, Any] = {
        "dataset": case.dataset,
        "case": case.name,
        "ct": _describe_ct(case, problems),
        "original_label": case.original_label.is_file(),
        "models": models,
        "average": case.average.organs(),
        "attention": case.average.organs("attention"),
        "revised": case.average.revised_organs(),
    }
    steps = [
        (not models, "no model has predicted it: atlas segment"),
        (bool(models) and not found["average"], "no average: atlas average"),
        (bool(models_newer_than_average(case)), "the average is older than its models: atlas average"),
        (bool(changed_masks(case.average)), "average masks were changed in place: save them with atlas revise"),
        (bool(found["average"]) and not found["attention"] and not attention.run_record.is_file(), "no attention: atlas attention"),
    ]
    found["missing"] = [text for absent, text in steps if absent] + problems
    return found


def _describe_ct(case: CaseFolder, problems: list[str]) -> dict[str, Any] | None:
    if not case.ct.is_file():
        problems.append("ct.nii.gz is missing")
        return None
    try:
        return describe_grid(nifti.read_grid(case.ct))
    except AtlasError as error:
        problems.append(error.message)
        return None


def _describe_folder(folder: LabelFolder, problems: list[str]) -> dict[str, Any]:
    organs = folder.organs()
    name = folder.folder.name
    if not folder.run_record.is_file():
        problems.append(f"model {name} has not finished (no run.json), or another program made it")
        return {"organs": organs}
    try:
        record = read_json(folder.run_record)
        model = record["parameters"]["model"]
        return {"organs": organs, "finished": record["finished"], "sha256": model["sha256"], "version": model["version"]}
    except (AtlasError, KeyError, TypeError):
        problems.append(f"model {name}: run.json is damaged: atlas segment --force")
        return {"organs": organs}
