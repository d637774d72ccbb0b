"""The banner at the top of the panel that offers unsaved edits of an earlier session: recover, discard, later."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from AtlasReviewLib.autosave import Autosave, discard_autosave
from AtlasReviewLib.autosave_age import newer_revision
from AtlasReviewLib.panel_links import Links
from AtlasReviewLib.panel_texts import localTime
from AtlasSegmentLib.panel_errors import displayable, guarded


class RecoveryBanner:
    """Offers unsaved edits one after another, the newest first.

    Args:
        ui: The widgets of the panel.
        onRecover: Called with the edits that the reader wants.
    """

    def __init__(self, ui: Any, onRecover: Callable[[Autosave], None]) -> None:
        self.ui, self._onRecover = ui, onRecover
        self._offered: list[Autosave] = []
        self._later: set[Path] = set()
        self._links = Links(
            (ui.bannerYesButton, "clicked(bool)", guarded(self._recover)),
            (ui.bannerNoButton, "clicked(bool)", guarded(self._discard)),
            (ui.bannerLaterButton, "clicked(bool)", guarded(self._postpone)),
        )
        self._show()

    @property
    def offered(self) -> Sequence[Autosave]:
        """What is offered now."""
        return self._offered

    def offer(self, autosaves: Sequence[Autosave], again: bool = False) -> None:
        """Offer edits; those that were put off stay so unless they are offered `again`, as when their task is opened."""
        if again:
            self._later -= {autosave.file for autosave in autosaves}
        known = {autosave.file for autosave in self._offered} | self._later
        self._offered = [*(autosave for autosave in autosaves if autosave.file not in known), *self._offered]
        self._show()

    def withdraw(self, autosave: Autosave) -> None:
        """Offer these edits no more, as they are in the editor; they stay on the disk until they are a revision."""
        self._offered = [other for other in self._offered if other.file != autosave.file]
        self._later.add(autosave.file)
        self._show()

    def clear(self) -> None:
        """Offer nothing, as when another dataset is opened."""
        self._offered, self._later = [], set()
        self._show()

    def cleanup(self) -> None:
        """Let go of the buttons."""
        self._links.cut()

    def _show(self) -> None:
        self._offered = [autosave for autosave in self._offered if autosave.file.exists()]
        self.ui.bannerFrame.setVisible(bool(self._offered))
        if not self._offered:
            return
        first = self._offered[0]
        text = _("Unsaved edits of {time}: {organ} of {case}.").format(time=localTime(first.time), organ=first.organ, case=first.case.name)
        if first.voxels is not None:
            text += " " + _("{count} voxels.").format(count=first.voxels)
        newer = newer_revision(first)
        if newer is not None:
            text += " " + _("{reader} saved a newer revision at {time}.").format(reader=newer[1], time=localTime(newer[0]))
        if len(self._offered) > 1:
            text += " " + _("{count} more after this.").format(count=len(self._offered) - 1)
        self.ui.bannerLabel.setText(displayable(text))

    def _recover(self) -> None:
        if self._offered:
            chosen = self._offered.pop(0)
            self._later.add(chosen.file)  # it stays on the disk until it is a revision
            self._show()
            self._onRecover(chosen)

    def _discard(self) -> None:
        if not self._offered:
            return
        first = self._offered[0]
        question = _("Remove the unsaved edits of {organ} of {case} for good?").format(organ=first.organ, case=first.case.name)
        if slicer.util.confirmYesNoDisplay(displayable(question)):
            discard_autosave(first)
            self._offered.pop(0)
            self._show()

    def _postpone(self) -> None:
        if self._offered:
            self._later.add(self._offered.pop(0).file)
            self._show()
