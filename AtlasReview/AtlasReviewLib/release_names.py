"""Names of cases in a release: what a layout allows, unique, and the same each time the release is made again."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping

from AtlasQualityLib.csv_text import csv_text, no_formula
from AtlasSegmentLib.errors import InputError

_MOST = 100


def letters_and_digits(name: str) -> str:
    """Return a name as BIDS labels allow it: ASCII letters and digits alone."""
    return re.sub(r"[^A-Za-z0-9]", "", _ascii(name))[:_MOST] or "case"


def plain_identifier(name: str) -> str:
    """Return a name as nnU-Net's file names take it everywhere: ASCII letters, digits, "_", "-" and "."."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", _ascii(name)).strip("._-")[:_MOST] or "case"


def checked_prefix(prefix: str, *, letters_only: bool) -> str:
    """Return a prefix of numbered cases, without "_" and "-" for BIDS.

    Raises:
        InputError: It is something else than letters, digits, "_" and "-".
    """
    if prefix and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,40}", prefix):
        message = f"{prefix!r} cannot be the prefix of case names."
        raise InputError(message, 'Use letters, digits, "_" and "-", such as BDMAP_.')
    return re.sub(r"[_-]", "", prefix) if letters_only else prefix


def unchanged(name: str) -> str:
    """Return the name itself."""
    return name


def _ascii(name: str) -> str:
    return unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode("ascii")


def assign_names(cases: Iterable[str], rule: Callable[[str], str], known: Mapping[str, str], prefix: str = "") -> dict[str, str]:
    """Return case to its name in the release.

    Args:
        cases: Names of the assembled cases.
        rule: Makes an allowed name of one.
        known: Names that were given before; they are kept, and never given to another case.
        prefix: When not empty, cases are numbered instead: BDMAP_ gives BDMAP_00000001, ...

    Names that the rule makes alike, also in upper and lower case, get a number at their end.
    """
    taken = {name.casefold() for name in known.values()}
    result: dict[str, str] = {}
    for case in sorted(cases):
        wanted = known.get(case) or _free(rule(case), prefix, taken)
        taken.add(wanted.casefold())
        result[case] = wanted
    return result


def _free(wanted: str, prefix: str, taken: set[str]) -> str:
    number = 1
    while True:
        name = f"{prefix}{number:08d}" if prefix else wanted if number == 1 else f"{wanted}{number}"
        if name.casefold() not in taken:
            return name
        number += 1


def names_csv(names: Mapping[str, str]) -> str:
    """Return the table of released and assembled names as CSV."""
    rows = [(no_formula(released), no_formula(case)) for case, released in sorted(names.items(), key=lambda item: item[1])]
    return csv_text([("released", "assembled"), *rows])
