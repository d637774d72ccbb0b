"""Which series of a study is meant: the one that was named, else by rule.

The rule: CT before other modalities, axial before other planes, images before projections of them (MIP) and material maps, then most
slices; of equals the thinner slices, originals before derived images, soft kernels before those for bone or lung. Where the rule
cannot tell two apart (arterial and venous phase), it asks; and it never chooses between studies.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from AtlasSegmentLib.dicom_slices import Scan, skipped_text
from AtlasSegmentLib.dicom_stack import Stack, folders_of, stacks_of
from AtlasSegmentLib.errors import InputError

logger = logging.getLogger(__name__)

_SHOWN = 8
_IMAGES = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd")
_UID_END = 12
_CHOOSE = "Choose one with --series: its number, its UID or the end of its UID."


@dataclass(frozen=True)
class Choice:
    """A series and what else there was.

    Attributes:
        stack: What was chosen.
        others: The other series, best first.
        named: Whether the user named it.
    """

    stack: Stack
    others: tuple[Stack, ...]
    named: bool


def rank(stack: Stack) -> tuple[float, ...]:
    """Return what series are compared by; the greater the better."""
    return (
        stack.first.modality == "CT",
        stack.is_axial,
        not stack.is_projection,
        stack.is_hu,
        stack.positions,
        -round(stack.first.thickness or stack.spacing, 3),
        stack.is_original,
        not stack.is_sharp,
    )


def ranked(scan: Scan) -> list[Stack]:
    """Return the series of a folder, best first by rule, equals in the order of their numbers."""
    stacks = stacks_of(scan.slices)
    stacks.sort(key=lambda stack: (stack.first.series_number is None, stack.first.series_number or 0, stack.key))
    return sorted(stacks, key=rank, reverse=True)


def choose(scan: Scan, series: str | None = None, modality: str | None = None, file: Path | None = None) -> Choice:
    """Return the series that is meant, and log the choice and its alternatives.

    Args:
        scan: The folder.
        series: Number of the series, its UID (with "@2" for a part of it), or the end of that; None chooses by rule.
        modality: The only modality that will do, such as "CT", or None.
        file: A file whose series is meant, when `series` is None.

    Raises:
        InputError: No series, no or several series of that name, several studies, two series that the rule cannot tell
            apart, or another modality.
    """
    stacks = ranked(scan)
    if not stacks:
        raise nothing_found(scan)
    matches = _named(stacks, series) if series is not None else stacks if file is None else _holding(scan, stacks, file)
    if not matches or (series is not None and len({stack.first.group for stack in matches}) > 1):
        problem = f"has {len({stack.first.group for stack in matches}) or 'no'} series that {series!r} names among its {len(stacks)}"
        raise _which(scan, problem, stacks)
    best = matches[0]
    if modality is not None and best.first.modality != modality:
        raise _wrong_modality(scan, best, stacks, modality)
    if series is None and file is None:
        _require_one_study(scan, stacks)
    equals = [stack for stack in matches if rank(stack) == rank(best)]
    if len(equals) > 1:
        raise _which(scan, f"holds {len(stacks)} series, {len(equals)} of them alike", equals)
    damaged = next((error for path, error in scan.damaged.items() if path.parent in folders_of(best)), None)
    if damaged is not None:  # it may be a slice of this series: lost at an end, it would leave no gap
        raise damaged
    choice = Choice(best, tuple(stack for stack in stacks if stack is not best), series is not None or file is not None)
    _say(scan, choice)
    return choice


def describe(stack: Stack) -> str:
    """Return a series in one phrase, such as "'portal venous' (number 4, CT, 300 slices of 1 mm, UID …123456)"."""
    first = stack.first
    number = [] if first.series_number is None else [f"number {first.series_number}"]
    facts = ", ".join([*number, first.modality or "no modality", f"{stack.positions} slices of {first.thickness or stack.spacing:g} mm"])
    uid = f"UID …{stack.key[-_UID_END:]}" if first.series_uid else "no UID"
    plane = "" if stack.is_axial else ", not axial"
    return f"{first.description or 'no description'!r} ({facts}{plane}, {uid})"


def _named(stacks: list[Stack], wanted: str) -> list[Stack]:
    """Return the series that a text names: whole UIDs come before numbers, and numbers before ends of UIDs."""
    whole = [stack for stack in stacks if wanted in {stack.key, stack.first.series_uid}]
    number = [stack for stack in stacks if str(stack.first.series_number) == wanted]
    return whole or number or [stack for stack in stacks if stack.key.endswith(wanted) or stack.first.series_uid.endswith(wanted)]


def studies_of(stacks: list[Stack]) -> dict[str, Stack]:
    """Return the best series of each study by StudyInstanceUID; files that have none are one study."""
    found: dict[str, Stack] = {}
    for stack in stacks:
        found.setdefault(stack.first.study_uid, stack)
    return found


def _require_one_study(scan: Scan, stacks: list[Stack]) -> None:
    """Refuse to choose between patients, or between the days of one. Raises InputError."""
    studies = studies_of(stacks)
    if len(studies) > 1:
        listed = "; ".join(f"{describe(stack)} in {stack.first.path.parent}" for stack in list(studies.values())[:_SHOWN])
        message = f"{scan.folder}: holds series of {len(studies)} studies, of one or several patients: {listed}."
        raise InputError(message, "Give the folder of one study, or choose a series with --series.")


def _holding(scan: Scan, stacks: list[Stack], file: Path) -> list[Stack]:
    """Return the series that a file is a slice of. Raises InputError when it is none."""
    if file in scan.damaged:
        raise scan.damaged[file]
    found = [stack for stack in stacks if any(item.path == file for item in stack.slices)]
    uids = {item.group for item in scan.slices if item.path == file}  # a copy of a slice
    found = found or [stack for stack in stacks if stack.first.group in uids]
    if not found:
        message = f"{file}: is no slice of an image; its folder holds {_listed(stacks)}."
        raise InputError(message, "Give a slice of the CT, or its folder.")
    return found


def _say(scan: Scan, choice: Choice) -> None:
    left_out = f"; left out {skipped_text(scan)}" if scan.skipped else ""
    if choice.others or scan.skipped:
        rivals = any(stack.first.modality == choice.stack.first.modality for stack in choice.others) and not choice.named
        also = f"; also there: {_listed(choice.others)}" if choice.others else ""
        level = logging.WARNING if rivals or scan.skipped else logging.INFO
        logger.log(level, "%s: read the series %s%s%s.", scan.folder, describe(choice.stack), also, left_out)
    for path, error in scan.damaged.items():
        logger.warning("%s", error.message or path)


def _listed(stacks: tuple[Stack, ...] | list[Stack]) -> str:
    more = f" and {len(stacks) - _SHOWN} more" if len(stacks) > _SHOWN else ""
    return "; ".join(describe(stack) for stack in stacks[:_SHOWN]) + more


def _which(scan: Scan, problem: str, stacks: list[Stack]) -> InputError:
    return InputError(f"{scan.folder}: {problem}: {_listed(stacks)}.", _CHOOSE)


def _wrong_modality(scan: Scan, best: Stack, stacks: list[Stack], modality: str) -> InputError:
    message = f"{scan.folder}: the series {describe(best)} is {best.first.modality or 'of no modality'}, and {modality} is needed"
    others = [stack for stack in stacks if stack.first.modality == modality]
    if others:
        return InputError(f"{message}. There is: {_listed(others)}.", _CHOOSE)
    return InputError(f"{message}; there is no {modality} series here.", f"Give the folder of a {modality} series.")


def nothing_found(scan: Scan) -> InputError:
    """Return the error for a folder without slices."""
    if scan.damaged:
        return next(iter(scan.damaged.values()))
    message = f"{scan.folder}: holds no DICOM image slices ({skipped_text(scan) or 'no files'})."
    if scan.skipped["multi-frame image without places"]:
        return InputError(message, "Convert it first: dcm2niix -z y FOLDER.")
    if scan.folder.is_dir() and any(path.name.lower().endswith(_IMAGES) for path in scan.folder.iterdir()):
        return InputError(message, "It holds image files: name them (FOLDER/*.nii.gz), or list them with --list; one command takes many.")
    return InputError(message, "Give the folder of a CT's DICOM files; folders below it are searched too.")


def require_readable(scan: Scan, choice: Choice) -> None:
    """Refuse a series that is no image on a regular grid. Raises InputError that says why and what else there is."""
    stack = choice.stack
    if not stack.problem:
        return
    rest = [other for other in choice.others if other.first.modality == stack.first.modality and not other.problem]
    message = f"{scan.folder}: {stack.problem}."
    if len(choice.others) > 0:
        message = f"{scan.folder}: the series {describe(stack)}: {stack.problem}."
    remedy = "Export the whole series again, or convert it with dcm2niix and check the result."
    if "more than one slice" in stack.problem or "mixes slices" in stack.problem:
        remedy = "Put the slices of one image alone into a folder."
    raise InputError(message, f"{remedy} Or choose another with --series: {_listed(rest)}." if rest else remedy)


def scanned_path(path: Path) -> Path:
    """Return the folder that a path stands for: that of a DICOMDIR, else the path itself."""
    return path.parent if path.name.upper() == "DICOMDIR" and path.is_file() else path
