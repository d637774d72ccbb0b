"""Which cases of some folders and lists a network can learn from: those with a CT and a reference label map.

Known are case folders (`ct.nii.gz` or `dicom/` with a reference beside it), nnU-Net raw data sets (imagesTr, labelsTr, dataset.json),
data lists as MONAI reads them (`atlas round` writes one), and any two files, given as CT=LABELS or CT=LABELS=TABLE.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from AtlasSegmentLib.errors import AtlasError, InputError
from AtlasSegmentLib.export_table import table_paths
from AtlasSegmentLib.files import read_json, sha256_of
from AtlasSegmentLib.label_files import table_of_file
from AtlasSegmentLib.labels import LabelTable
from AtlasSegmentLib.volume_io import strip_suffix, suffix_of
from AtlasSegmentLib.voxel_sum import ct_sum

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = ("train", "val", "test")
REFERENCES = ("reference_label", "label", "labels", "combined_labels", "original_label")
"""Names, without suffix, under which a reference is looked for, the first one first."""
_DEPTH = 3
_BACKBONES, _PSEUDO = "backbones", "pseudo_label.nii.gz"
_LIST_PARTS: dict[str, Part] = {"training": "train", "validation": "val", "val": "val", "test": "test"}
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainCase:
    """A case to learn from.

    Attributes:
        name: Of the case.
        ct: A file, or a folder of DICOM slices.
        reference: The label map.
        table: What its values mean.
        part: What it is used for; None is decided by `split_cases`.
        told: Structures that the reference can tell, when these are fewer than the table has.
    """

    name: str
    ct: Path
    reference: Path
    table: LabelTable
    part: Part | None = None
    told: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Choice:
    """Which references are taken.

    Attributes:
        table: Table of references that have none beside them: a name or a JSON file.
        reference: Name of the label map in a case folder, or of the model in its `backbones`; None takes the first of REFERENCES.
    """

    table: str | None = None
    reference: str | None = None


def find_train_cases(data: Iterable[str | Path], choice: Choice | None = None) -> list[TrainCase]:
    """Return the cases of folders, lists and pairs, in their order, with names that differ.

    Args:
        data: Folders of cases, single cases, nnU-Net raw folders, data lists (.json), "CT=LABELS" or "CT=LABELS=TABLE".
        choice: Which references.

    Raises:
        InputError: One is not there or holds no case with a reference, or nobody says what a reference's values mean.
        LabelError: There is no such table.
    """
    rule = choice or Choice()
    found: list[TrainCase] = []
    for one in data:
        path = Path(one)
        if "=" in str(one) and not path.exists():
            found.append(_explicit(str(one), rule))
        elif path.is_file() and path.suffix.lower() == ".json":
            found += _listed(path, rule)
        else:
            found += _in_folder(path, rule)
    unique: dict[tuple[Path, Path], TrainCase] = {}
    for case in found:
        unique.setdefault((case.ct.resolve(), case.reference.resolve()), case)
    return _named_apart(list(unique.values()))


def _explicit(text: str, rule: Choice) -> TrainCase:
    ct, labels, *table = text.split("=")
    for path in (ct, labels):
        if not Path(path).exists():
            message = f"{path}: there is no such file."
            raise InputError(message, "Check the path; a pair is given as CT=LABELS or CT=LABELS=TABLE.")
    stem = strip_suffix(Path(ct).name)
    name = Path(ct).absolute().parent.name if stem.casefold() in {"ct", "dicom", "image"} else stem
    return TrainCase(name, Path(ct), Path(labels), _table(Path(labels), table[0] if table else None, rule))


def _table(reference: Path, stated: str | None, rule: Choice) -> LabelTable:
    """Return the table: the stated one, else the one beside the reference, else that of the command line."""
    if stated is None and not table_paths(reference)[1].is_file():
        stated = rule.table
    return table_of_file(reference, stated)


def _in_folder(folder: Path, rule: Choice) -> list[TrainCase]:
    if not folder.is_dir():
        message = f"{folder}: there is no such folder."
        raise InputError(message, "Give folders of cases with references, a data list (.json), or pairs as CT=LABELS.")
    without: list[Path] = []
    found = list(_walk(folder, rule, None, _DEPTH, without))
    if not found:
        many = f"{len(without)} folders in it have a CT but no such reference, the first is {without[0]}" if without else "no CT was found"
        wanted = rule.reference or f"{', '.join(REFERENCES[:2])} or original_label"
        message = f"{folder}: there is nothing to learn from: {many}."
        raise InputError(message, f"Put a label map beside each ct.nii.gz, named {wanted} (.nii.gz).")
    if without:
        _log.warning("%s: %d folders have a CT but no reference and are left out, such as %s.", folder, len(without), without[0].name)
    return found


def _walk(folder: Path, rule: Choice, part: Part | None, depth: int, without: list[Path]) -> Iterator[TrainCase]:
    part = next((known for known in PARTS if known == folder.name), part)
    ct = next(iter(_named(folder, "ct")), folder / "dicom" if (folder / "dicom").is_dir() else None)
    if ct is not None:
        case = _case_of(folder, ct, rule, part)
        if case is None:
            without.append(folder)
        else:
            yield case
    elif (folder / "imagesTr").is_dir() and (folder / "labelsTr").is_dir():
        yield from _nnunet(folder, part)
    elif depth:
        for child in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
            yield from _walk(child, rule, part, depth - 1, without)


def _case_of(folder: Path, ct: Path, rule: Choice, part: Part | None) -> TrainCase | None:
    names = REFERENCES if rule.reference is None else (rule.reference,)
    reference = next((path for name in names for path in _named(folder, name)), None)
    if reference is not None:
        return TrainCase(folder.name, ct, reference, _table(reference, None, rule), part)
    if rule.reference is None:
        return None
    name = rule.reference.removeprefix(f"{_BACKBONES}/")
    made = [folder / "average", folder / _BACKBONES / name] if name == "average" else [folder / _BACKBONES / name]
    for model in made:
        if (model / _PSEUDO).is_file():
            table = table_of_file(model / _PSEUDO, "abdomenatlas")
            return TrainCase(folder.name, ct, model / _PSEUDO, table, part, _told_by(model))
    return None


def _told_by(model: Path) -> tuple[str, ...] | None:
    """Return the structures that a model can tell, from its run record; None where nothing says so."""
    try:
        labels = read_json(model / "run.json")["parameters"]["manifest"]["labels"]
        return tuple(str(name) for value, name in labels.items() if int(value) != 0)
    except (AtlasError, KeyError, TypeError, ValueError, AttributeError):
        return None


def _named(folder: Path, name: str) -> list[Path]:
    return [path for path in sorted(folder.glob(f"{name}.*")) if suffix_of(path.name) and strip_suffix(path.name) == name]


def _nnunet(folder: Path, part: Part | None) -> Iterator[TrainCase]:
    content = read_json(folder / "dataset.json")
    table = _stated_table(content, folder / "dataset.json")
    for labels in sorted(path for path in (folder / "labelsTr").iterdir() if suffix_of(path.name) and not path.name.startswith(".")):
        ct = folder / "imagesTr" / f"{strip_suffix(labels.name)}_0000{suffix_of(labels.name)}"
        if ct.is_file():
            yield TrainCase(strip_suffix(labels.name), ct, labels, table, part)


def _stated_table(content: Any, path: Path) -> LabelTable:
    """Return the table of a dataset.json or a data list: {"1": name} or {name: 1}. Raises InputError."""
    labels = content.get("labels") if isinstance(content, dict) else None
    if not isinstance(labels, dict) or not labels:
        message = f"{path}: does not say what the labels mean."
        raise InputError(message, 'Add "labels": {"0": "background", "1": "liver", ...} to it.')
    try:
        by_value = labels if all(str(key).isdigit() for key in labels) else {str(int(value)): name for name, value in labels.items()}
    except (TypeError, ValueError) as error:
        message = f"{path}: its labels are regions of several values, which cannot be learned as they are."
        raise InputError(message, "Give each label one value.") from error
    return LabelTable.from_labels(path.stem, by_value)


def _listed(path: Path, rule: Choice) -> list[TrainCase]:
    """Read a data list: paths are relative to its folder, or to one of those above it."""
    content = read_json(path)
    table = _stated_table(content, path) if isinstance(content, dict) and content.get("labels") else None
    found: list[TrainCase] = []
    for key, part in _LIST_PARTS.items():
        entries = content.get(key, []) if isinstance(content, dict) else []
        for entry in entries if isinstance(entries, list) else []:
            if not isinstance(entry, dict) or not entry.get("label"):
                continue
            ct, labels = (_below(path, str(entry.get(name))) for name in ("image", "label"))
            stem = strip_suffix(ct.name)
            name = ct.parent.name if stem == "ct" else stem
            found.append(TrainCase(name, ct, labels, table or _table(labels, None, rule), part))
    if not found:
        message = f"{path}: lists no image with a label."
        raise InputError(message, 'Give {"labels": {...}, "training": [{"image": ..., "label": ...}]}, as `atlas round` writes it.')
    return found


def _below(path: Path, text: str) -> Path:
    for folder in path.absolute().parents:
        if (folder / text).exists():
            return folder / text
    message = f"{path}: names {text}, which is neither beside it nor in a folder above."
    raise InputError(message, "Keep the list inside its dataset folder, or write paths from the list's own folder.")


def _named_apart(cases: Sequence[TrainCase]) -> list[TrainCase]:
    """Give cases of one name their number in the name."""
    counts: dict[str, int] = {}
    result = []
    for case in cases:
        counts[case.name] = number = counts.get(case.name, 0) + 1
        result.append(case if number == 1 else replace(case, name=f"{case.name}-{number}"))
    return result


def split_cases(
    cases: Sequence[TrainCase], seed: int = 0, validation: float = 0.15, val: Sequence[str] = (), test: Sequence[str] = ()
) -> list[TrainCase]:
    """Return the cases with a part each; copies of one CT are never in two parts.

    What is named in `val` and `test` is held out, then what a folder or list says; when nothing is held out for validation, a share of
    the other cases is, at least one when there are three.

    Raises:
        InputError: A name is of no case, one CT is in two parts, or no case is left to train on.
    """
    names = {case.name for case in cases}
    for name in (*val, *test):
        if name not in names:
            message = f"{name}: there is no case of this name."
            raise InputError(message, f"The cases are {', '.join(sorted(names)[:12])}.")
    if both := sorted(set(val) & set(test)):
        message = f"{both[0]}: is to be held out for validation and for the test."
        raise InputError(message, "Name it once: what a network was chosen by cannot test it.")
    keys = [ct_key(case.ct) for case in cases]
    parts: dict[str, Part] = {}
    for case, key in zip(cases, keys, strict=True):
        part: Part | None = "test" if case.name in test else "val" if case.name in val else case.part
        if part is not None and parts.setdefault(key, part) != part:
            message = f"{case.name}: the same CT is in the part {parts[key]!r} and in {part!r}."
            raise InputError(message, "Remove it from one of them: what a network was trained on cannot test it.")
    free = sorted({key for key in keys if key not in parts}, key=lambda key: hashlib.sha256(f"{seed} {key}".encode()).digest())
    wanted = 0 if "val" in parts.values() or len(free) < 3 or validation <= 0 else max(1, round(len(free) * validation))
    parts.update(dict.fromkeys(free[:wanted], "val"))
    parts.update(dict.fromkeys(free[wanted:], "train"))
    if "train" not in parts.values():
        message = f"none of {len(cases)} cases is left to train on: all are for validation or for the test."
        raise InputError(message, "Add cases, or hold out fewer.")
    return [replace(case, part=parts[key]) for case, key in zip(cases, keys, strict=True)]


def ct_key(path: Path) -> str:
    """Return what two copies of one CT share, whatever their format: see `voxel_sum`; of a file that cannot be read, its bytes."""
    try:
        return ct_sum(path)
    except AtlasError:
        files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
        return hashlib.sha256("".join(sha256_of(file) for file in files).encode()).hexdigest()
