"""Rules about one mask alone: volume, mean HU, number of components, holes, emptiness."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from AtlasQualityLib import checks_ranges as ranges
from AtlasQualityLib.checks_finding import ERROR, NOTE, WARNING, Finding, Severity
from AtlasQualityLib.checks_measures import Measures, Piece
from AtlasSegmentLib.labels import catalog, structure_for

_LARGE_PIECE = 0.2  # of the organ: more than a fragment
_LESION_NAMES = ("tumor", "cyst", "lesion")


@dataclass(frozen=True)
class CheckOptions:
    """Attributes:
    speck_ml: Components and holes below this volume are ignored.
    model: Name of the model to look at; "" for the masks that count.
    """

    speck_ml: float = 0.5
    model: str = ""


@dataclass
class Case:
    """What rules need to know about the case.

    Attributes:
        dataset, name, folder: Which.
        options: See `CheckOptions`.
        organs: Measures of every mask that could be read, by file name.
        findings: Filled by the rules.
    """

    dataset: str
    name: str
    folder: str
    options: CheckOptions
    organs: dict[str, Measures] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def add(self, organ: str, kind: str, severity: Severity, message: str, remedy: str, **seen: Any) -> None:
        """Add a finding; `seen` is its place, value, unit and expected, as `Finding` takes them."""
        what = f"{organ}: {message}" if organ else message
        self.findings.append(Finding(self.dataset, self.name, organ, kind, severity, what, remedy, **seen))


Rule = Callable[[Case, Measures], None]


def is_lesion(name: str) -> bool:
    """Tell whether a structure is a tumor or cyst, of which there may be none or many."""
    snomed = structure_for(name).snomed
    return (snomed is not None and snomed.category == "lesion") or any(word in name for word in _LESION_NAMES)


def check_empty(case: Case, organ: Measures) -> None:
    """An empty mask: nothing to say of a lesion; unusual where the organ must be in the image."""
    if organ.ml > 0 or is_lesion(organ.name):
        return
    why = _expected_because(case, organ.name)
    unusual = why and organ.name not in ranges.MAY_BE_ABSENT
    message = f"the mask is empty, {why}." if why else "the mask is empty."
    remedy = "Draw it, or accept it as empty if it was removed." if why else "Check that the organ is really outside of the image."
    case.add(organ.organ, "empty", WARNING if unusual else NOTE, message, remedy, value=0.0, unit="ml", expected="more than 0 ml")


def _expected_because(case: Case, name: str) -> str:
    """Return why an organ must be in the image, or "" when it need not be."""
    present = {other.name for other in case.organs.values() if other.ml > case.options.speck_ml}
    partner = structure_for(name).partner
    if partner in present:
        return f"but {partner} is there"
    level = ranges.LEVELS.get(name)
    if level is None:
        return ""
    above = sorted(other for other in present if ranges.LEVELS.get(other, 99) < level)
    below = sorted(other for other in present if ranges.LEVELS.get(other, 0) > level)
    return f"but {above[0]} above and {below[0]} below are there" if above and below else ""


def check_volume(case: Case, organ: Measures) -> None:
    """A volume outside of what is published for the organ; one that the image cuts may be as small as it likes."""
    known = ranges.VOLUMES.get(organ.name)
    if known is None or organ.ml == 0:
        return
    (low, high), (least, most) = known.usual, known.possible
    if organ.ml > high:
        severity, word = (ERROR if organ.ml > most else WARNING), "large"
    elif organ.ml < low and not organ.is_cut:
        severity, word = (ERROR if organ.ml < least else WARNING), "small"
    else:
        return
    message = f"{organ.ml:.4g} ml is implausibly {word} (plausible {low:.0f} to {high:.0f} ml)."
    remedy = "Look for what is missing or cut off." if word == "small" else "Look for what belongs to a neighbor."
    expected = f"{low:.0f} to {high:.0f} ml ({known.source})"
    case.add(organ.organ, "volume", severity, message, remedy, place=organ.center, value=organ.ml, unit="ml", expected=expected)


def check_hu(case: Case, organ: Measures) -> None:
    """A mean HU inside of the mask that the organ cannot have."""
    known = ranges.hu_range(organ.name)
    if known is None or math.isnan(organ.hu) or (known[0] <= organ.hu <= known[1]):
        return
    low, high = known
    far = max(low - organ.hu, organ.hu - high)
    severity = ERROR if far > ranges.HU_ERROR_MARGIN else WARNING
    message = f"the CT has {organ.hu:.0f} HU on average inside of the mask (plausible {low:.0f} to {high:.0f})."
    expected = f"{low:.0f} to {high:.0f} HU ({ranges.HU_SOURCE})"
    remedy = "Check that the mask lies on the organ and that the CT is in Hounsfield units."
    case.add(organ.organ, "hu", severity, message, remedy, place=organ.center, value=organ.hu, unit="HU", expected=expected)


def check_pieces(case: Case, organ: Measures) -> None:
    """More components than anatomy allows. Specks do not count, nor pieces that the image cuts apart."""
    most = ranges.most_pieces(organ.name)
    if most is None or is_lesion(organ.name):
        return
    large = [piece for piece in organ.pieces if piece.ml >= case.options.speck_ml]
    extra = list(_beyond(large, most))
    if not extra:
        return
    worst = extra[0]
    severity = ERROR if worst.ml > _LARGE_PIECE * organ.ml else WARNING
    message = f"{len(large)} pieces of {case.options.speck_ml:g} ml or more, the largest too many has {worst.ml:.3g} ml."
    remedy = "Go there: remove it, or connect it if it is the organ."
    case.add(
        organ.organ,
        "components",
        severity,
        message,
        remedy,
        place=worst.center,
        value=float(len(large)),
        unit="pieces",
        expected=f"at most {most}",
    )


def _beyond(pieces: Sequence[Piece], most: int) -> Iterator[Piece]:
    """Yield the pieces that are too many, largest first; cut ones are one organ that goes on outside of the image."""
    kept = 0
    for piece in pieces:
        if piece.is_cut and kept:
            continue
        kept += 1
        if kept > most:
            yield piece


def check_holes(case: Case, organ: Measures) -> None:
    """Background that the mask encloses on all sides."""
    if organ.largest_hole is None or organ.largest_hole[0] < case.options.speck_ml:
        return
    size, place = organ.largest_hole
    message = f"the mask encloses {organ.hole_ml:.3g} ml of background, the largest hole has {size:.3g} ml."
    severity = NOTE if organ.name in ranges.HOLLOW else WARNING
    remedy = "Fill the hole, unless the label is meant to leave out the content."
    case.add(organ.organ, "holes", severity, message, remedy, place=place, value=organ.hole_ml, unit="ml", expected="0 ml")


RULES: tuple[Rule, ...] = (check_empty, check_volume, check_hu, check_pieces, check_holes)


def ancestors(name: str) -> set[str]:
    """Return the structures that hold all of one, such as lung for lung_left."""
    found: set[str] = set()
    known: Mapping[str, object] = catalog()
    while name in known:
        parent = structure_for(name).part_of
        if parent is None or parent in found:
            break
        found.add(parent)
        name = parent
    return found
