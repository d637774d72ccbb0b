"""The fields that say which tasks the reader wants to be given: some organs, some cases, reading or verifying."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import Any

import slicer
from slicer.i18n import tr as _

from AtlasReviewLib.panel_context import ReviewContext
from AtlasReviewLib.panel_links import Links
from AtlasReviewLib.review_policy import SENIOR
from AtlasReviewLib.worklist_rows import ANY, TaskFilter
from AtlasSegmentLib.panel_errors import displayable, guarded

_ORGANS_KEY = "AtlasReview/onlyOrgans"
_MOST_CASES = 2000


class OnlyPanel:
    """Keeps `context.only` as the fields say.

    Args:
        ui: The widgets of the panel.
        context: Gets the filter.
        onChanged: Called when it changed.
    """

    def __init__(self, ui: Any, context: ReviewContext, onChanged: Callable[[], None]) -> None:
        self.ui, self._context, self._onChanged = ui, context, onChanged
        self.problem = ""
        ui.onlyOrgansEdit.setText(str(slicer.app.userSettings().value(_ORGANS_KEY) or ""))
        ui.onlyLevelCombo.clear()
        for text, level in ((_("read or check"), None), (_("read"), 1), (_("verify"), SENIOR)):
            ui.onlyLevelCombo.addItem(text, level)
        self._links = Links(
            (ui.onlyOrgansEdit, "textChanged(QString)", guarded(self._edited)),
            (ui.onlyCasesEdit, "textChanged(QString)", guarded(self._edited)),
            (ui.onlyLevelCombo, "currentIndexChanged(int)", guarded(self._edited)),
        )

    def update(self) -> None:
        """Read the fields again, as when another dataset was opened."""
        context, index = self._context, self._context.index
        checks = context.level >= SENIOR
        self.ui.onlyLevelCombo.setVisible(checks)
        self.problem, context.only = "", ANY
        if context.worklist is None:
            return
        organs = self._named(str(self.ui.onlyOrgansEdit.text), index.organs_named, _("organ"))
        cases = self._named(str(self.ui.onlyCasesEdit.text), index.cases_named, _("case"))
        if len(cases) > _MOST_CASES:
            self.problem = _("{count} cases match. Name fewer, at most {most}.").format(count=len(cases), most=_MOST_CASES)
        level = (None, 1, SENIOR)[max(0, int(self.ui.onlyLevelCombo.currentIndex))] if checks else None
        if not self.problem:
            context.only = TaskFilter(organs, cases, level)

    def text(self) -> str:
        """Return what the filter leaves over, "" when nothing is left out."""
        only = self._context.only
        parts = [", ".join(only.organs)] if only.organs else []
        parts += [_("{count} cases").format(count=len(only.cases))] if len(only.cases) > 1 else list(only.cases)
        parts += [str(self.ui.onlyLevelCombo.currentText)] if only.level is not None else []
        return displayable("; ".join(parts))

    def cleanup(self) -> None:
        """Let go of the fields."""
        self._links.cut()

    def _edited(self) -> None:
        slicer.app.userSettings().setValue(_ORGANS_KEY, str(self.ui.onlyOrgansEdit.text))
        self.update()
        self._onChanged()

    def _named(self, text: str, find: Callable[[str], Sequence[str]], what: str) -> tuple[str, ...]:
        """Return the names that a list with commas names; a word that is no name is a problem."""
        found: dict[str, None] = {}
        for word in (part.strip() for part in text.split(",")):
            matching = find(word) if word else []
            found |= dict.fromkeys(matching)
            if word and not matching and not self.problem:
                self.problem = self._unknown(word, what)
        return tuple(found)

    def _unknown(self, word: str, what: str) -> str:
        text = _("No task has the {what} {word}.").format(what=what, word=word)
        close = difflib.get_close_matches(word, self._context.index.organs, n=1)
        return displayable(text + (" " + _("Is it {name}?").format(name=close[0]) if close else ""))
