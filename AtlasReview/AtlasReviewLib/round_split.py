"""Which cases a network is trained on and which ones it is judged by: the same in every round, and no patient in both.

A case's place is decided by the hash of its patient, so that it depends neither on the order nor on the number of cases; once
decided it stays, also when the share is changed later.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from AtlasSegmentLib.errors import InputError

Part = Literal["training", "validation"]


def split(cases: Iterable[str], patients: Mapping[str, str], share: float, seed: int, before: Mapping[str, Part]) -> dict[str, Part]:
    """Return the part of each case.

    Args:
        cases: Names.
        patients: Case to patient; a case that is missing is a patient of its own.
        share: Of the patients that validate, 0 <= share < 1.
        seed: Another one gives another split.
        before: Parts of earlier rounds, which are kept; a new case of a known patient gets that patient's part.

    Raises:
        InputError: The share is out of range, or an earlier round has one patient in both parts.
    """
    if not 0 <= share < 1:
        message = f"a share of {share:g} for validation."
        raise InputError(message, "Give a number from 0 to below 1, such as 0.2.")
    known: dict[str, Part] = {}
    for case, part in before.items():
        patient = patients.get(case, case)
        if known.setdefault(patient, part) != part:
            message = f"{case}: its patient {patient!r} is in training and in validation of earlier rounds."
            raise InputError(message, "Mend the list of patients; or begin a new series of rounds in another folder.")
    found: dict[str, Part] = {}
    for case in cases:
        patient = patients.get(case, case)
        found[case] = known.setdefault(patient, "validation" if _draw(patient, seed) < share else "training")
    return found


def without_patient(cases: Iterable[str], patients: Mapping[str, str] | None) -> list[str]:
    """Return the cases that a list of patients does not name, each of which is taken for a patient of its own; [] without a list.

    Raises:
        InputError: It names none of them: then it is of another dataset, or written in another way.
    """
    if patients is None:
        return []
    every = sorted(cases)
    found = [case for case in every if case not in patients]
    if len(found) == len(every):
        message = f"The list of patients names none of the {len(every)} cases of this round, such as {every[0]!r}."
        raise InputError(message, "Write the names of the case folders into its column case.")
    return found


def _draw(patient: str, seed: int) -> float:
    """Return a number from 0 to below 1 that depends on the patient and the seed alone."""
    digest = hashlib.sha256(f"{seed}\0{patient}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def read_patients(path: Path) -> dict[str, str]:
    """Read a CSV with the columns `case` and `patient`.

    Raises:
        InputError: It cannot be read, lacks a column or any row, or gives one case two patients.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file)
            rows = list(table)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        message = f"{path}: cannot be read ({error})."
        raise InputError(message, "Give a CSV with the columns case,patient.") from error
    lacking = [name for name in ("case", "patient") if name not in (table.fieldnames or ())]
    if lacking or not rows:
        message = f"{path}: has no column {lacking[0]!r}." if lacking else f"{path}: names no case."
        raise InputError(message, "Give a CSV with the columns case,patient and a line for each case.")
    found: dict[str, str] = {}
    for number, row in enumerate(rows, start=2):
        case, patient = (row.get("case") or "").strip(), (row.get("patient") or "").strip()
        if not case or not patient:
            message = f"{path}, line {number}: has no case or no patient."
            raise InputError(message, "Give a CSV with the columns case,patient.")
        if found.setdefault(case, patient) != patient:
            message = f"{path}, line {number}: {case} has the patients {found[case]!r} and {patient!r}."
            raise InputError(message, "Give each case one patient.")
    return found
