"""The layout of an nnU-Net raw dataset: DatasetNNN_Name/{imagesTr, labelsTr, dataset.json}, labels numbered 1, 2, 3, ..."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from AtlasReviewLib.release_files import PlannedFile, json_text, write_changed
from AtlasReviewLib.release_layout import ReleaseFolder
from AtlasSegmentLib.errors import InputError

_FOLDER = re.compile(r"^Dataset\d{3}_[A-Za-z0-9_-]+$")


def require_name(root: Path) -> None:
    """Check that a folder is named as nnU-Net finds it. Raises InputError."""
    if not _FOLDER.match(Path(root).name):
        message = f"{root}: nnU-Net takes datasets only from folders named DatasetNNN_Name."
        raise InputError(message, "Name it, for example, nnUNet_raw/Dataset501_Atlas.")


def label_values(organs: Mapping[str, int]) -> dict[str, int]:
    """Return organ to its label 1, 2, 3, ... in ascending order of the values of the release."""
    return {organ: number for number, organ in enumerate(sorted(organs, key=lambda name: organs[name]), start=1)}


def case_files(folder: ReleaseFolder, name: str, organs: Mapping[str, int], manifest: Mapping[str, Any]) -> list[PlannedFile]:
    """Return the files of a case.

    Args:
        folder: The assembled case.
        name: Its identifier.
        organs: Organs of the dataset to their values in combined_labels.nii.gz; other values become background.
        manifest: Of the assembled case.
    """
    wanted = label_values(organs)
    values = {organs[organ]: wanted[organ] for organ in organs}
    is_same = all(old == new for old, new in values.items())
    labels = PlannedFile(f"labelsTr/{name}.nii.gz", folder.combined, {} if is_same and _has_only(manifest, values) else values)
    return [PlannedFile(f"imagesTr/{name}_0000.nii.gz", folder.ct), labels]


def _has_only(manifest: Mapping[str, Any], values: Mapping[int, int]) -> bool:
    """Tell whether no mask of the case has a value that is not wanted, so that the map can be taken as it is."""
    return all(organ["value"] in values or not organ["voxels"] for organ in manifest["organs"].values())


def write_dataset_json(root: Path, organs: Mapping[str, int], cases: int, facts: Mapping[str, Any]) -> None:
    """Write dataset.json.

    Args:
        root: The dataset folder.
        organs: As `case_files` takes them.
        cases: Number of training cases.
        facts: More entries, such as name, description and licence.
    """
    labels = {"background": 0, **label_values(organs)}
    content = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": cases, "file_ending": ".nii.gz"}
    write_changed(root / "dataset.json", json_text({**content, **facts}))


def common_organs(manifests: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return the organs that every case has a mask of (it may be empty), with their values.

    One that some case lacks would be taught as background there, so it is left out.
    """
    shared = set.intersection(*(set(manifest["organs"]) for manifest in manifests)) if manifests else set()
    first = manifests[0]["organs"] if manifests else {}
    return {organ: int(first[organ]["value"]) for organ in sorted(shared)}
