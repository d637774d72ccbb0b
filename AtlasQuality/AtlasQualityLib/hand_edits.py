"""Average masks that somebody changed in place, in another program, instead of saving a revision: kept before they are replaced."""

from __future__ import annotations

import logging
from datetime import datetime, timezone

from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.files import copy_file
from AtlasSegmentLib.outdated import changed_masks

_log = logging.getLogger(__name__)


def keep_hand_edits(case: CaseFolder) -> list[str]:
    """Copy changed masks to `average/revisions/<organ>/<UTC>_unknown.nii.gz` and return their organs.

    A mask is changed when its hash is not the one that the average step recorded. `atlas revise CASE ORGAN` lists the copy,
    and --roll-back makes it current.
    """
    kept = []
    for organ in changed_masks(case.average):
        mask = case.average.mask(organ)
        time = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S.%fZ")
        copy_file(mask, case.average.revisions(organ) / f"{time}_unknown.nii.gz")
        _log.warning("%s was changed by another program: kept as a revision before it is replaced.", mask)
        kept.append(organ)
    return kept
