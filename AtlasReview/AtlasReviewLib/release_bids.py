"""The layout of BIDS derivatives: dataset_description.json, sub-<label>/ct/..._ct.nii.gz, sub-<label>/anat/..._dseg.nii.gz with its .tsv.

BIDS has no modality for CT yet (BEP024 proposes `ct`), so those files are named in .bidsignore.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from AtlasReviewLib.merge import PREDICTED
from AtlasReviewLib.release_files import PlannedFile, json_text, write_changed
from AtlasReviewLib.release_layout import ReleaseFolder
from AtlasSegmentLib.labels import structure_for

VERSION = "1.10.0"
_IGNORED = ("DATASET_CARD.md", "dataset_card.json", "SHA256SUMS", "**/*_ct.nii.gz", "**/ct/")


def case_files(folder: ReleaseFolder, name: str, manifest: Mapping[str, Any]) -> list[PlannedFile]:
    """Return the files of a case: its CT, its label map with the published values, and what the values mean.

    Args:
        folder: The assembled case.
        name: Its label: letters and digits.
        manifest: Of the assembled case.
    """
    ct, labels = f"sub-{name}/ct/sub-{name}_ct.nii.gz", f"sub-{name}/anat/sub-{name}_desc-assembled_dseg"
    organs = manifest["organs"]
    sidecar = {
        "Description": "Organs assembled from original labels, revisions and predictions, in this order.",
        "Sources": [f"bids::{ct}"],
        "SpatialReference": f"bids::{ct}",
        "Manual": all(organ["source"] != PREDICTED for organ in organs.values()),
        "OrganSources": {name: organ["source"] for name, organ in organs.items()},
    }
    return [
        PlannedFile(ct, folder.ct),
        PlannedFile(f"{labels}.nii.gz", folder.combined),
        PlannedFile(f"{labels}.json", content=json_text(sidecar).encode()),
        PlannedFile(f"{labels}.tsv", content=_table(organs).encode()),
    ]


def _table(organs: Mapping[str, Any]) -> str:
    rows = ["index\tname\tcolor"]
    for name, organ in sorted(organs.items(), key=lambda item: int(item[1]["value"])):
        red, green, blue = structure_for(name).color
        rows.append(f"{organ['value']}\t{name}\t#{red:02X}{green:02X}{blue:02X}")
    return "\n".join(rows) + "\n"


def write_dataset_files(root: Path, names: Mapping[str, str], facts: Mapping[str, Any]) -> None:
    """Write dataset_description.json, participants.tsv and .bidsignore.

    Args:
        root: Folder of the release.
        names: Assembled case to label.
        facts: name, version, license and sources of the dataset.
    """
    description = {
        "Name": facts["name"],
        "BIDSVersion": VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "Atlas Annotator", "Version": facts["version"]}],
        **({"License": facts["license"]} if facts.get("license") else {}),
    }
    write_changed(root / "dataset_description.json", json_text(description))
    write_changed(root / "participants.tsv", "\n".join(["participant_id", *sorted(f"sub-{label}" for label in names.values())]) + "\n")
    write_changed(root / ".bidsignore", "\n".join(_IGNORED) + "\n")
