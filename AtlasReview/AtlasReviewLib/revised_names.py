"""Which case and organ a file of a folder means that somebody revised in another program: CASE_ORGAN, CASE/ORGAN, CASE/any/folder/ORGAN."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from AtlasReviewLib.organ_names import known_organ
from AtlasSegmentLib.case_folder import REVISED, CaseFolder
from AtlasSegmentLib.errors import AtlasError, InputError
from AtlasSegmentLib.volume_io import strip_suffix

_SEPARATORS = ("_", "-", " ", ".")
_ENDINGS = (".seg", REVISED, "-label")


@dataclass(frozen=True)
class Meant:
    """What a file name says.

    Attributes:
        case: The case.
        organ: Name that the organ has there; "" where the name says none and the file itself has to.
        unknown: Why what stands in place of an organ is none, "" otherwise.
    """

    case: CaseFolder
    organ: str = ""
    unknown: str = ""


def by_name(cases: Sequence[CaseFolder]) -> dict[str, CaseFolder]:
    """Return the cases by their names in one Unicode form: a Mac writes accents as signs of their own."""
    return {_form(case.name): case for case in cases}


def meant_by(parts: Sequence[str], cases: Mapping[str, CaseFolder]) -> Meant:
    """Return what the path of a file means.

    Args:
        parts: Folders and name, relative to the folder that was revised.
        cases: As `by_name` gives them.

    Raises:
        InputError: It names no case, or can be read as two organs.
    """
    stem = _stem(parts[-1])
    folder = next((cases[_form(part)] for part in reversed(parts[:-1]) if _form(part) in cases), None)
    found = [(folder, stem)] if folder is not None else []
    found += [(case, stem[len(name) :].strip("".join(_SEPARATORS))) for name, case in cases.items() if _begins(stem, name, folder, case)]
    if not found:
        message = f"{'/'.join(parts)}: neither a folder above it nor the beginning of its name is a case of the dataset."
        raise InputError(message, "Name it CASE_ORGAN.nii.gz, or put it into a folder named as the case.")
    read = [_read(case, rest) for case, rest in found]
    known = {(one.case.name, one.organ): one for one in read if one.organ}
    if len(known) > 1:
        texts = " or ".join(f"{organ} of {case}" for case, organ in sorted(known))
        message = f"{'/'.join(parts)}: means {texts}."
        raise InputError(message, "Put it into a folder named as the case.")
    if known:
        return next(iter(known.values()))
    return max(read, key=lambda one: len(one.case.name)) if folder is None else min(read, key=lambda one: bool(one.unknown))


def _begins(stem: str, name: str, folder: CaseFolder | None, case: CaseFolder) -> bool:
    """Tell whether a name may begin with that of a case; in the folder of a case only with that one."""
    follows = stem == name or stem.startswith(tuple(name + separator for separator in _SEPARATORS))
    return follows and folder in (None, case)


def _read(case: CaseFolder, rest: str) -> Meant:
    if not rest:
        return Meant(case)
    try:
        return Meant(case, known_organ(case, rest))
    except AtlasError as error:
        return Meant(case, unknown=str(error))


def _stem(name: str) -> str:
    stem = _form(strip_suffix(name))
    for ending in _ENDINGS:
        stem = stem.removesuffix(ending)
    return stem


def _form(name: str) -> str:
    return unicodedata.normalize("NFC", name)
