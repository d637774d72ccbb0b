"""The label table beside an exported label map: what each value means, for people (CSV) and for programs (JSON)."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from AtlasSegmentLib.files import write_json, write_text
from AtlasSegmentLib.labels import LABELS_FORMAT, Structure
from AtlasSegmentLib.volume_io import strip_suffix

COLUMNS = ("value", "name", "red", "green", "blue", "voxels", "snomed_code", "snomed_meaning", "snomed_modifier", "snomed_region")
_SIDES = {"7771000": "left", "24028007": "right", "51440002": "right and left"}
_FORMULA = re.compile("^'*[=+\\-@\uff1d\uff0b\uff0d\uff20]")


@dataclass(frozen=True)
class LabelEntry:
    """One value of an exported label map.

    Attributes:
        value: 1..65535.
        name: Published name.
        structure: Color and SNOMED code.
        voxels: How many voxels of the label map have the value.
    """

    value: int
    name: str
    structure: Structure
    voxels: int


def table_paths(label_map: Path) -> tuple[Path, Path]:
    """Return where the tables (CSV, JSON) of a label map lie: liver.nii.gz has liver_labels.csv and liver_labels.json."""
    stem = strip_suffix(Path(label_map).name)
    return Path(label_map).with_name(f"{stem}_labels.csv"), Path(label_map).with_name(f"{stem}_labels.json")


def write_tables(label_map: Path, entries: Sequence[LabelEntry], title: str, source: str) -> list[Path]:
    """Write both tables of a label map, atomically, and return their paths.

    The JSON has the format of Resources/Labels with `structures` added, so `LabelTable.from_json` reads it.

    Raises:
        StorageError: A file cannot be written.
    """
    csv_path, json_path = table_paths(label_map)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([_cell(value) for value in _row(entry).values()] for entry in entries)
    write_text(csv_path, text.getvalue())
    labels = {str(entry.value): entry.name for entry in entries}
    name = strip_suffix(Path(label_map).name)
    data = {"format": LABELS_FORMAT, "name": name, "title": title, "source": source, "labels": labels}
    write_json(json_path, {**data, "structures": [_plain(entry) for entry in entries]})
    return [csv_path, json_path]


def _row(entry: LabelEntry) -> dict[str, Any]:
    snomed = entry.structure.snomed
    code = ("", "", "", "")
    if snomed is not None:
        code = (snomed.code, snomed.meaning, _SIDES.get(snomed.modifier or "", ""), snomed.region[1] if snomed.region else "")
    return dict(zip(COLUMNS, (entry.value, entry.name, *entry.structure.color, entry.voxels, *code), strict=True))


def _cell(value: Any) -> Any:
    """Return a cell that no spreadsheet takes for a formula: a name may begin with = + - @."""
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def _plain(entry: LabelEntry) -> dict[str, Any]:
    snomed = entry.structure.snomed
    code = None
    if snomed is not None:
        region = list(snomed.region) if snomed.region else None
        code = {"code": snomed.code, "meaning": snomed.meaning, "modifier": snomed.modifier, "category": snomed.category, "region": region}
    return {"value": entry.value, "name": entry.name, "color": list(entry.structure.color), "voxels": entry.voxels, "snomed": code}
