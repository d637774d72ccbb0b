"""Which cases of some folders can teach label quality: those with a CT and a reference, and the predictions that lie beside them.

Four layouts are known. SegAE's: `<sample>/{ct, label}.nii.gz` with folders `<text>_<class id>` of masks. A case folder with a
reference label map in it, whose `backbones` and `average` are real predictions. nnU-Net's `imagesTr` and `labelsTr`. And any two files,
given as CT=LABELS. Folders named train, val or test say which part their cases belong to.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from AtlasSegmentLib.case_folder import REVISED
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.export_table import table_paths
from AtlasSegmentLib.labels import load_table, structure_for
from AtlasSegmentLib.train_cases import ct_key
from AtlasSegmentLib.volume_io import strip_suffix, suffix_of

Part = Literal["train", "val", "test", "organs"]
"""Of what use a case is; "organs": the only case, a part of whose organs is held out."""
PARTS: tuple[Part, ...] = ("train", "val", "test")
REFERENCES = ("reference_label", "label", "labels", "combined_labels", "original_label")
"""Names, without suffix, under which a reference label map is looked for, the first one first."""
_SEGAE_TABLE = "segae"
_DEPTH = 3
_MASKS = "segmentations"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prediction:
    """A real mask.

    Attributes:
        source: What made it.
        organ: Canonical name of what it should be.
        path: The mask, 0 is outside.
    """

    source: str
    organ: str
    path: Path


@dataclass(frozen=True)
class PairSource:
    """A case to learn from.

    Attributes:
        name: Of the case.
        ct: A file, or a folder of DICOM slices.
        reference: The label map.
        table: Which table names its values; None takes the one beside it.
        predictions: Real masks of the case.
        part: What it is used for; None is decided by `split_by_case`.
    """

    name: str
    ct: Path
    reference: Path
    table: str | None = None
    predictions: tuple[Prediction, ...] = ()
    part: Part | None = None


def find_pairs(data: Iterable[str | Path], table: str | None = None) -> list[PairSource]:
    """Return the cases of folders, sorted by path, with names that differ.

    Args:
        data: Folders of cases, single cases, or "CT=LABELS".
        table: Label table of the references, in place of what lies beside each.

    Raises:
        InputError: One is not there or holds no case with a reference; the message says what was there.
    """
    found: list[PairSource] = []
    for one in data:
        cases = _explicit(str(one), table) if "=" in str(one) and not Path(one).exists() else _in_folder(Path(one), table)
        found += cases
    seen: dict[tuple[Path, Path], PairSource] = {(case.ct.resolve(), case.reference.resolve()): case for case in reversed(found)}
    return _named_apart([case for case in found if seen[case.ct.resolve(), case.reference.resolve()] is case])


def _explicit(text: str, table: str | None) -> list[PairSource]:
    ct, labels = (Path(part) for part in text.split("=", 1))
    for path in (ct, labels):
        if not path.exists():
            message = f"{path}: there is no such file."
            raise InputError(message, "Check the path; a pair is given as CT=LABELS.")
    return [PairSource(strip_suffix(labels.name), ct, labels, table)]


def _in_folder(folder: Path, table: str | None) -> list[PairSource]:
    if not folder.is_dir():
        message = f"{folder}: there is no such folder."
        raise InputError(message, "Give folders of cases with references, or pairs as CT=LABELS.")
    without: list[Path] = []
    found = list(_walk(folder, table, None, _DEPTH, without))
    if not found:
        many = (
            f"{len(without)} folders in it have a CT but no reference, the first one is {without[0]}"
            if without
            else "no CT was found in it"
        )
        message = f"{folder}: there is nothing to learn from: {many}."
        raise InputError(message, f"Put a label map beside each ct.nii.gz, named {', '.join(REFERENCES[:2])} or original_label (.nii.gz).")
    if without:
        _log.warning("%s: %d folders have a CT but no reference and are left out, such as %s.", folder, len(without), without[0].name)
    return found


def _walk(folder: Path, table: str | None, part: Part | None, depth: int, without: list[Path]) -> Iterator[PairSource]:
    part = next((known for known in PARTS if known == folder.name), part)
    ct = _ct_of(folder)
    if ct is not None:
        reference = next((path for name in REFERENCES for path in _named(folder, name)), None)
        if reference is None:
            without.append(folder)
            return
        ids = list(_class_masks(folder))
        stated = table or (_SEGAE_TABLE if ids and not table_paths(reference)[1].is_file() else None)
        yield PairSource(folder.name, ct, reference, stated, (*ids, *_organ_masks(folder)), part)
        return
    if (folder / "imagesTr").is_dir() and (folder / "labelsTr").is_dir():
        yield from _nnunet(folder, table, part)
        return
    if depth:
        for child in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
            yield from _walk(child, table, part, depth - 1, without)


def _ct_of(folder: Path) -> Path | None:
    dicom = folder / "dicom"
    return next(iter(_named(folder, "ct")), dicom if dicom.is_dir() else None)


def _named(folder: Path, name: str) -> list[Path]:
    return [path for path in sorted(folder.glob(f"{name}.*")) if suffix_of(path.name) and strip_suffix(path.name) == name]


def _class_masks(folder: Path) -> Iterator[Prediction]:
    """Masks of SegAE's layout: the second word of a folder's name is the class."""
    known = load_table(_SEGAE_TABLE)
    for child in sorted(path for path in folder.iterdir() if path.is_dir()):
        words = child.name.split("_")
        if len(words) < 2 or not words[1].isdigit() or int(words[1]) not in known.labels:
            continue
        organ = known.structure_of(int(words[1])).name
        for mask in sorted(path for path in child.iterdir() if path.name.endswith(".nii.gz") and not path.name.startswith(".")):
            yield Prediction(strip_suffix(mask.name), organ, mask)


def _organ_masks(folder: Path) -> Iterator[Prediction]:
    """Masks of a case folder: those of its models and their average, without what readers revised."""
    models = sorted(path for path in (folder / "backbones").glob("*") if path.is_dir() and not path.name.startswith("."))
    for model in (*models, folder / "average"):
        for mask in sorted((model / _MASKS).glob("*.nii.gz")):
            organ = strip_suffix(mask.name)
            if not organ.endswith(REVISED) and not organ.startswith("."):
                yield Prediction(model.name, structure_for(organ).name, mask)


def _nnunet(folder: Path, table: str | None, part: Part | None) -> Iterator[PairSource]:
    for labels in sorted(path for path in (folder / "labelsTr").iterdir() if suffix_of(path.name) and not path.name.startswith(".")):
        ct = folder / "imagesTr" / f"{strip_suffix(labels.name)}_0000{suffix_of(labels.name)}"
        if ct.is_file():
            yield PairSource(strip_suffix(labels.name), ct, labels, table, (), part)


def _named_apart(cases: Sequence[PairSource]) -> list[PairSource]:
    """Give cases of one name their number in the name, so that no two share a folder or are taken for one case."""
    counts: dict[str, int] = {}
    result = []
    for case in cases:
        counts[case.name] = counts.get(case.name, 0) + 1
        number = counts[case.name]
        result.append(case if number == 1 else replace(case, name=f"{case.name}-{number}"))
    return result


def split_by_case(cases: Sequence[PairSource], seed: int = 0, validation: float = 0.15, test: float = 0.15) -> list[PairSource]:
    """Return the cases with a part each, none in two: cases with the same CT go together, whatever their names.

    The order of `cases` changes nothing. What a case's folder says (train, val, test) holds. Of the others about the given shares are
    held out, at least one for validation; a test part is made from seven cases on. With one case alone, some of its organs are
    held out, which says less, since they come from the same image: a warning says so.

    Raises:
        InputError: No case is left to train on.
    """
    parts: dict[str, Part] = {}
    keys = [ct_key(case.ct) for case in cases]
    for case, key in zip(cases, keys, strict=True):
        if case.part is not None and parts.setdefault(key, case.part) != case.part:
            message = f"{case.name}: the same CT is in the part {parts[key]!r} and in {case.part!r}."
            raise InputError(message, "Remove it from one of them: what a network was trained on cannot test it.")
    free = sorted({key for key in keys if key not in parts}, key=lambda key: hashlib.sha256(f"{seed} {key}".encode()).digest())
    count = len(free)
    wanted: dict[Part, int] = {
        "val": 0 if "val" in parts.values() or count < 2 else max(1, round(count * validation)),
        "test": 0 if "test" in parts.values() or count < 7 else round(count * test),
    }
    for part, number in wanted.items():
        parts.update(dict.fromkeys(free[:number], part))
        free = free[number:]
    parts.update(dict.fromkeys(free, "train"))
    if "train" not in parts.values():
        message = "no case is left to train on: all are for validation or for the test."
        raise InputError(message, "Add cases, or name their folder train.")
    if "val" not in parts.values():
        _log.warning("There is one case to learn from: some of its organs are held out, so validation says little of other cases.")
        parts = {key: "organs" if part == "train" else part for key, part in parts.items()}
    return [replace(case, part=parts[key]) for case, key in zip(cases, keys, strict=True)]
