"""Rules about masks together: the same mask twice, organs and pieces on the wrong side, a mirrored case.

Sides are decided in world coordinates: right has the larger x (RAS mm), against the midline of the spine, else of the body.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from AtlasQualityLib import checks_ranges as ranges
from AtlasQualityLib.checks_finding import ERROR, WARNING
from AtlasQualityLib.checks_measures import Measures, Piece
from AtlasQualityLib.checks_rules import Case, ancestors
from AtlasSegmentLib.components import Mask
from AtlasSegmentLib.labels import structure_for
from AtlasSegmentLib.repair_midline import Midline
from AtlasSegmentLib.sparse import box_shape, intersection, relative

_SIDE_MM = 10.0
_PIECE_MM = 20.0
_PIECE_PART = 0.02
_LEAST_MIRRORED = 3
_SAME_DICE = 0.9
_CROSSES = frozenset({"brachiocephalic_vein_left", "brachiocephalic_vein_right"})


def check_sides(case: Case, midline: Midline | None) -> None:
    """Report organs on the wrong side of the midline; when all are, the case is mirrored, which is one finding."""
    sided = [(organ, side) for organ in case.organs.values() if organ.center is not None and (side := _side_of(organ.name))]
    wrong = [(organ, side) for organ, side in sided if _is_wrong(case, organ, side, midline)]
    if len(wrong) == len(sided) and len(wrong) >= _LEAST_MIRRORED:
        message = f"all {len(wrong)} organs that have a side lie on the wrong one: the case is mirrored, or its masks are."
        remedy = "Check the orientation of CT and masks in the export; if the patient has situs inversus, accept it."
        case.add("", "mirrored", ERROR, message, remedy, value=float(len(wrong)), unit="organs", expected="0")
        return
    names = {organ.name for organ, _ in wrong}
    for organ, side in wrong:
        _report(case, organ, side, midline, is_swapped=structure_for(organ.name).partner in names)
    for organ, side in sided:
        if midline is not None and organ.name not in names and organ.name not in _CROSSES:
            _check_pieces_of(case, organ, side, midline)


def _side_of(name: str) -> int:
    """Return +1 for an organ of the patient's right, -1 of the left, 0 of neither."""
    if name in ranges.RIGHT_ONLY or name in ranges.LEFT_ONLY:
        return 1 if name in ranges.RIGHT_ONLY else -1
    if structure_for(name).partner is None:
        return 0
    words = name.split("_")
    return 1 if "right" in words else -1 if "left" in words else 0


def _is_wrong(case: Case, organ: Measures, side: int, midline: Midline | None) -> bool:
    if organ.center is None:
        return False
    beyond = midline is not None and side * float(midline.rightward(organ.center[0], organ.center[2])) < -_SIDE_MM
    other = _partner(case, organ)
    if other is None or other.center is None:
        return beyond
    apart = side * (organ.center[0] - other.center[0])
    if midline is None:
        return apart < -_SIDE_MM
    return beyond and (apart < 0 or midline.source == "spine")  # a body that is cut at one side has its middle elsewhere


def _partner(case: Case, organ: Measures) -> Measures | None:
    name = structure_for(organ.name).partner
    return next((other for other in case.organs.values() if other.name == name and other.center is not None), None)


def _report(case: Case, organ: Measures, side: int, midline: Midline | None, *, is_swapped: bool) -> None:
    wanted, found = ("right", "left") if side > 0 else ("left", "right")
    away = (
        float(abs(midline.rightward(organ.center[0], organ.center[2])))
        if midline is not None and organ.center is not None
        else float("nan")
    )
    swapped = f"; {structure_for(organ.name).partner} is on the other wrong side, so the two names are swapped" if is_swapped else ""
    message = f"lies on the patient's {found}, {away:.0f} mm from the midline{swapped}."
    remedy = "Exchange the two masks." if is_swapped else f"Draw it on the {wanted}; if the anatomy is really so, accept it with a comment."
    case.add(organ.organ, "side", ERROR, message, remedy, place=organ.center, value=away, unit="mm", expected=f"on the patient's {wanted}")


def _check_pieces_of(case: Case, organ: Measures, side: int, midline: Midline) -> None:
    if organ.name in ranges.RIGHT_ONLY | ranges.LEFT_ONLY:
        return
    strays = [piece for piece in organ.pieces[1:] if _is_stray(case, organ, piece, side, midline)]
    if strays:
        total = sum(piece.ml for piece in strays)
        message = f"{total:.3g} ml of it lie on the other side of the body, away from the rest."
        remedy = "Go there: give the piece to its partner, or remove it."
        case.add(organ.organ, "piece-side", WARNING, message, remedy, place=strays[0].center, value=total, unit="ml", expected="0 ml")


def _is_stray(case: Case, organ: Measures, piece: Piece, side: int, midline: Midline) -> bool:
    large = piece.ml >= max(case.options.speck_ml, _PIECE_PART * organ.ml)
    return large and side * float(midline.rightward(piece.center[0], piece.center[2])) < -_PIECE_MM


def check_duplicates(case: Case) -> None:
    """Report the same mask, or nearly the same, under two names."""
    for first, second, dice in _alike(list(case.organs.values())):
        same = dice == 1.0
        message = f"is {'the same mask as' if same else f'nearly the same mask as (Dice {dice:.3f})'} {second.organ}."
        remedy = f"Find out which of the two it is, and draw the other: {first.organ} or {second.organ}."
        for organ, text in ((first, message), (second, message.replace(second.organ, first.organ))):
            severity = ERROR if same else WARNING
            expected = f"Dice below {_SAME_DICE:g}"
            case.add(organ.organ, "duplicate", severity, text, remedy, place=organ.center, value=dice, unit="Dice", expected=expected)


def _alike(organs: list[Measures]) -> Iterator[tuple[Measures, Measures, float]]:
    for number, first in enumerate(organs):
        for second in organs[number + 1 :]:
            smaller, larger = sorted((first.ml, second.ml))
            if not smaller or smaller < larger * _SAME_DICE / (2 - _SAME_DICE):  # the Dice of nested masks of these sizes
                continue
            dice = _dice(first, second)
            related = first.name in ancestors(second.name) or second.name in ancestors(first.name)
            if dice == 1.0 or (dice >= _SAME_DICE and not related):
                yield first, second, dice


def _dice(first: Measures, second: Measures) -> float:
    shared = intersection(first.box, second.box)
    if shared is None or np.prod(box_shape(shared)) < 0.5 * min(np.prod(box_shape(first.box)), np.prod(box_shape(second.box))):
        return 0.0
    a, b = first.crop, second.crop
    both = int(np.count_nonzero(_within(a, first, shared) & _within(b, second, shared)))
    total = int(np.count_nonzero(a)) + int(np.count_nonzero(b))
    return 2 * both / total if total else 0.0


def _within(crop: Mask, organ: Measures, box: tuple[slice, slice, slice]) -> Mask:
    return crop[relative(box, organ.box)]
