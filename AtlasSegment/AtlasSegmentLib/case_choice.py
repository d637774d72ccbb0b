"""Which case of a dataset folder an image belongs to: that which holds it already, else the first free name."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from AtlasSegmentLib import geometry, nifti
from AtlasSegmentLib.case_folder import CaseFolder, new_case
from AtlasSegmentLib.errors import AtlasError, DatasetError
from AtlasSegmentLib.volume import Volume

_MOST_NAMES = 1000
_LONGEST = 120  # bytes; more of a name tells nobody anything


def case_name(name: str) -> str:
    """Return a name made safe for a folder: "5: Abd/Pel  1.0" becomes "5_ Abd_Pel 1.0". Never empty."""
    kept = "".join("_" if character in '/\\:"<>|?*' or not character.isprintable() else character for character in name)
    kept = re.sub(r"\s+", " ", kept).strip().lstrip(".").strip()
    kept = kept.encode("utf-8", "ignore")[:_LONGEST].decode("utf-8", "ignore").strip()
    return kept or "CT"


def choose_case(folder: Path, name: str, ct: Volume) -> CaseFolder:
    """Return the case `name` when it is free or holds this very image, else "name 2", "name 3" and so on; nothing is made.

    Args:
        folder: The dataset folder.
        name: Any text; see `case_name`.
        ct: The image.

    Raises:
        DatasetError: A case of that name leads outside the folder, or all names are taken.
    """
    base = case_name(name)
    for number in range(1, _MOST_NAMES):
        case = new_case(folder, base if number == 1 else f"{base} {number}")
        if not case.folder.exists() or _is_free(case) or _holds(case, ct):
            return case
    message = f"{folder}: the names {base} to {base} {_MOST_NAMES - 1} are all taken by other images."
    raise DatasetError(message, "Choose another folder.")


def _is_free(case: CaseFolder) -> bool:
    """Tell whether nothing was put into a case yet: an earlier run may have been stopped before."""
    return not case.ct.exists() and not case.models() and not case.average.folder.exists() and not case.original_label.exists()


def _holds(case: CaseFolder, ct: Volume) -> bool:
    try:
        grid = nifti.read_grid(case.ct)
        if not geometry.same_grid(grid.shape, grid.affine, ct.shape, ct.affine):
            return False
        return bool(np.array_equal(nifti.read_nifti(case.ct).array, ct.array))
    except AtlasError:  # a damaged or missing CT is another image
        return False
