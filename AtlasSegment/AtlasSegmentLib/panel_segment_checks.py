"""Why Apply is disabled: the first thing that is missing or wrong, as one sentence with the next step."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from AtlasSegmentLib.ct_check import ct_doubt, unusable_reason
from AtlasSegmentLib.errors import AtlasError
from AtlasSegmentLib.model_facts import ModelFacts
from AtlasSegmentLib.packages import TORCH
from AtlasSegmentLib.panel_packages import canGetTorch


@dataclass(frozen=True)
class CtVerdict:
    """What is thought of the chosen volume.

    Attributes:
        reason: Why it cannot be segmented, or "".
        doubt: Why it may be no CT, or "".
    """

    reason: str = ""
    doubt: str = ""


class CtJudge:
    """Looks at a volume once for each state of its voxels and place."""

    def __init__(self) -> None:
        self._seen: tuple[Any, ...] = ()
        self._verdict = CtVerdict()

    def judge(self, node: Any | None) -> CtVerdict:
        """Return the verdict on a volume node."""
        if node is None:
            return CtVerdict(_("Load a CT first: drag it into Slicer, or press Sample…"))
        image, transform = node.GetImageData(), node.GetParentTransformNode()
        seen = (node.GetID(), image.GetMTime() if image else 0, node.GetMTime(), transform.GetMTime() if transform else 0)
        if seen != self._seen:
            self._seen, self._verdict = seen, _verdict(node)
        return self._verdict


def _verdict(node: Any) -> CtVerdict:
    from AtlasSegmentLib.scene import volume_from_node

    try:
        array = volume_from_node(node).array
    except AtlasError as error:
        return CtVerdict(str(error))
    reason = unusable_reason(array)
    return CtVerdict(reason, "" if reason else ct_doubt(array))


def modelReason(facts: Sequence[ModelFacts], listIsEmpty: bool) -> str:
    """Return why the checked models cannot run, or ""."""
    if listIsEmpty:
        return _("Add a model first: press Add model…")
    if not facts:
        return _("Check at least one model.")
    wrong = next((one for one in facts if not one.usable), None)
    if wrong is not None:
        return _("{model}: {problem} Uncheck it, or: {remedy}").format(model=wrong.name, problem=wrong.problem, remedy=wrong.remedy)
    torch = next((one.name for one in facts if TORCH in one.needs), None)
    if torch is not None and not canGetTorch():
        return _(
            "{model} needs PyTorch: install the extension PyTorch in the Extensions Manager and restart Slicer, or uncheck it."
        ).format(model=torch)
    names = [one.name for one in facts]
    twice = next((name for name in names if names.count(name) > 1), None)
    return _("Two of the checked models are called {name}: uncheck one.").format(name=twice) if twice else ""


def regionReason(ct: Any, roi: Any | None, facts: Sequence[ModelFacts]) -> str:
    """Return why the region of interest cannot be used, or ""."""
    from AtlasSegmentLib import regions
    from AtlasSegmentLib.scene import grid_of_node
    from AtlasSegmentLib.scene_roi import roi_of_node

    if roi is None:
        needy = next((one.name for one in facts if one.needs_roi), None)
        return _("{model} needs a region: choose one, or press Create ROI.").format(model=needy) if needy else ""
    try:
        grid = grid_of_node(ct)
        regions.require_covered(grid, regions.roi_box(grid, roi_of_node(roi)))
    except AtlasError as error:
        return str(error)
    return ""


def folderOf(text: str) -> Path:
    """Return the folder that a text means; "~" is the user's home."""
    try:
        return Path(text.strip()).expanduser()
    except RuntimeError:  # the home of somebody who is not known here
        return Path(text.strip())


def folderReason(text: str) -> str:
    """Return why results cannot go to a folder, or ""; "" is the temporary folder."""
    if not text.strip():
        return ""
    folder = folderOf(text)
    if not folder.is_absolute():
        return _("Results in: give the whole path of a folder, not {folder}.").format(folder=text)
    if folder.exists() and not folder.is_dir():
        return _("Results in: {folder} is a file; choose a folder.").format(folder=folder)
    present = next((parent for parent in (folder, *folder.parents) if parent.exists()), None)
    if present is None or not os.access(present, os.W_OK | os.X_OK):
        return _("Results in: {folder} cannot be written; choose another folder.").format(folder=present or folder)
    return ""
