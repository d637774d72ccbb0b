"""What people had already annotated in the public datasets of AbdomenAtlas, and what their label values mean.

Classes are the values of the table "abdomenatlas" (inference order, 1..32). Source of all numbers: AbdomenAtlas.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from AtlasSegmentLib.errors import LabelError
from AtlasSegmentLib.files import read_json
from AtlasSegmentLib.resources import resource_path

TARGET_CLASSES = (1, 2, 3, 4, 6, 7, 8, 9, 11)
"""The nine organs that get attention maps (AbdomenAtlas: target)."""

OVERLAP_CLASSES = (1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 14, 16, 17, 18, 19, 20, 21, 22, 23, 24)
"""The twenty organs whose masks must not overlap: no vessels, no lesions (AbdomenAtlas: create_attention)."""

ORGAN_PARTS = {(2, 3): (26, 32), (6,): (15, 27, 29), (11,): (28,), (16, 17): (30,), (18,): (31,)}
"""The lesions and vessels inside an organ (right, left of a pair) that its mask includes, for classes are independent.

AbdomenAtlas merges them so in training; that its list gives the colon tumor (31) to 19, the intestine, is a slip."""

_DECATHLON = "10"
_DECATHLON_TASKS = {"colon": "10", "hepaticvessel": "08", "liver": "03", "lung": "06", "pancreas": "07", "spleen": "09"}


@cache
def _datasets() -> Mapping[str, Mapping[str, Any]]:
    datasets: Mapping[str, Mapping[str, Any]] = read_json(resource_path("Labels", "abdomenatlas_datasets.json"))["datasets"]
    return datasets


def dataset_keys() -> list[str]:
    """Return the keys of all datasets that are known, such as "01" or "10_03"."""
    return list(_datasets())


def dataset_key(dataset: str, case: str = "") -> str | None:
    """Return the key of a dataset: the two leading digits of its folder name, with the task for 10 (Decathlon).

    The task comes from "TaskNN" (AbdomenAtlas: characters 17-18 of "10_Decathlon/TaskNN_..."), else from the organ in the
    names ("10_Decathlon_colon", "10_Decathlon/liver_12").

    Args:
        dataset: The dataset folder, or a case path that begins with it, relative to the data root.
        case: The case name, when `dataset` does not hold it.

    Returns:
        A key, or None for a dataset that is not known; nothing counts as annotated there.
    """
    parts = [part for part in re.split(r"[/\\]", f"{dataset}/{case}") if part not in {"", "."}]
    number = re.match(r"(\d\d)(?!\d)", parts[0]) if parts else None
    if number is None:
        return None
    key = _decathlon_key("/".join(parts)) if number[1] == _DECATHLON else _list_key(parts[0], number[1])
    return key if key in _datasets() else None


def _list_key(folder: str, number: str) -> str:
    """Return a key of two tokens such as "01_2" when the folder name begins with it, else its number."""
    two_tokens = "_".join(folder.split("_")[:2])
    return two_tokens if two_tokens in _datasets() else number


def _decathlon_key(path: str) -> str | None:
    number = re.search(r"(?:^10_|[/_]task)(\d\d)(?!\d)", path, flags=re.IGNORECASE)
    if number is not None:
        return f"{_DECATHLON}_{number[1]}"
    organs = [token for token in re.split(r"[/_]", path.lower()) if token in _DECATHLON_TASKS]
    return f"{_DECATHLON}_{_DECATHLON_TASKS[organs[0]]}" if organs else None


def annotated_classes(key: str | None) -> frozenset[int]:
    """Return the classes people annotated in a dataset; they get no attention. Empty when `key` is None or unknown."""
    entry = _datasets().get(key) if key is not None else None
    return frozenset(entry["annotated"]) if entry else frozenset()


def original_value_map(key: str | None) -> dict[int, int]:
    """Return the class of each value of the dataset's original label maps; 0 drops the value.

    A class that holds both sides of a paired organ is split with `merged_sides`.

    Raises:
        LabelError: No map is known for this dataset.
    """
    entry = _datasets().get(key) if key is not None else None
    classes = entry["original_values"] if entry else None
    if classes is None:
        known = ", ".join(known for known, other in _datasets().items() if other["original_values"])
        message = f"The values of the original labels of dataset {key!r} are not known."
        remedy = f"Known are {known}; save corrected organs as <organ>_revised.nii.gz, or remove original_label.nii.gz from the cases."
        raise LabelError(message, remedy)
    return {value: int(new) for value, new in enumerate(classes, start=1)}


def organ_parts(key: str | None) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Return the annotated organs of a dataset whose parts (lesions, vessels) its original label maps can hold as other values.

    Each is (class of the organ, or of its right and left, classes of the parts); see ORGAN_PARTS. An organ that is not
    annotated in the dataset is left out, whatever lesions are. Raises LabelError as `original_value_map`.
    """
    values, annotated = set(original_value_map(key).values()), annotated_classes(key)
    there = [(organs, tuple(part for part in parts if part in values)) for organs, parts in ORGAN_PARTS.items()]
    return [(organs, parts) for organs, parts in there if parts and annotated.issuperset(organs)]


def merged_sides(key: str | None) -> list[tuple[int, int, int]]:
    """Return (class in `original_value_map` that holds both sides, class of the right, class of the left)."""
    entry = _datasets().get(key) if key is not None else None
    return [(both, right, left) for both, right, left in entry["merged_sides"]] if entry else []
