"""Two readings that disagree, for a third reader to decide: side by side and blinded, with figures, and nothing is decided for them."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from AtlasReviewLib.adjudication_source import Source
from AtlasReviewLib.background import Work
from AtlasReviewLib.disagreement import Measured
from AtlasReviewLib.panel_background import PanelWork
from AtlasReviewLib.panel_context import ReviewContext
from AtlasReviewLib.panel_links import Links
from AtlasReviewLib.panel_spots import SpotPanel
from AtlasReviewLib.panel_task import TaskPanel
from AtlasReviewLib.panel_texts import stateText
from AtlasReviewLib.reading_differences import Compared, Difference, read_compared
from AtlasReviewLib.scene_compare import SideBySide, set_organ_shown
from AtlasReviewLib.task_states import ADJUDICATE
from AtlasSegmentLib.panel_errors import errorText, guarded

_MOSTLY = 0.75
_ML = 1000.0


def figuresText(compared: Compared) -> str:
    """Return verdicts and figures of two readings, without a name."""
    text = _("Two readings disagree. A (left, orange): {a}. B (right, blue): {b}.")
    lines = [text.format(**{name.lower(): stateText(verdict) for name, verdict in compared.verdicts.items()})]
    if compared.measured is not None:
        lines.append(_measuredText(compared.measured))
    total = sum(place.volume_mm3 for place in compared.places) / _ML
    count = len(compared.places)
    where = _("They differ in one place, {volume:.2f} ml.") if count == 1 else _("They differ in {count} places, {volume:.2f} ml together.")
    lines.append(where.format(count=count, volume=total))
    return "\n".join(lines)


def _measuredText(measured: Measured) -> str:
    kappa = _("not known") if measured.kappa is None else f"{measured.kappa:.2f}"
    text = _("Dice {dice:.3f}, surface Dice {nsd:.3f} at {mm:g} mm, kappa of the hot spots {kappa}.")
    return str(text.format(dice=measured.dice, nsd=measured.nsd, mm=measured.tolerance_mm, kappa=kappa))


def placeText(place: Difference, number: int, count: int) -> str:
    """Return one line about a place where the readings differ."""
    parts = [place.place] if place.place else []
    parts.append(_("{volume:.2f} ml").format(volume=place.volume_mm3 / _ML))
    if place.in_a_share >= _MOSTLY:
        parts.append(_("in A, not in B"))
    elif place.in_a_share <= 1 - _MOSTLY:
        parts.append(_("in B, not in A"))
    return str(_("Difference {number} of {count}: {words}").format(number=number, count=count, words=", ".join(parts)))


class AdjudicationPanel:
    """What the panel shows of a task that is to be adjudicated.

    Args:
        ui: The widgets of the panel.
        context: The open dataset.
        task: The open task.
        spots: Goes through the places where the readings differ.
    """

    def __init__(self, ui: Any, context: ReviewContext, task: TaskPanel, spots: SpotPanel) -> None:
        self.ui, self._context, self._task, self._spots = ui, context, task, spots
        self._work = PanelWork(ui.adjudicateProgress)
        self._views = SideBySide()
        self._session: Any = None
        self._compared: Compared | None = None
        self._problem = ""
        self._source = Source()
        self._seen: Any = None
        self._entered = False
        self._links = Links(
            (ui.startAButton, "clicked(bool)", guarded(lambda: self.start("A"))),
            (ui.startBButton, "clicked(bool)", guarded(lambda: self.start("B"))),
            (ui.sideBySideButton, "toggled(bool)", guarded(self._showViews)),
        )
        self.update()

    @property
    def compared(self) -> Compared | None:
        """The readings that are shown."""
        return self._compared

    @property
    def undecided(self) -> bool:
        """Whether the mask in the editor is nobody's choice: the reader has neither begun from a reading nor drawn, or undid that."""
        return self._session is not None and self._source.undecided

    def enter(self) -> None:
        """Show the readings in the views."""
        self._entered = True
        self._showViews()

    def exit(self) -> None:
        """Give layout and views back while the module is left."""
        self._entered = False
        self._views.hide()

    def update(self) -> None:
        """Follow the open task. To be called after the buttons were enabled."""
        session = self._task.session
        wanted = session if session is not None and session.task.stage == ADJUDICATE else None
        if wanted is not self._session:
            self._end()
            if wanted is not None:
                self._begin(wanted)
        self._lookAtMask()
        if self._session is not None and not self.undecided and self._task.nodes is not None:
            set_organ_shown(self._task.nodes, True)
        self._show()

    def _begin(self, session: Any) -> None:
        worklist, nodes = self._context.worklist, self._task.nodes
        if worklist is None or nodes is None:
            return
        self._session, self._source, self._seen = session, Source(self._task.mask()), self._task.stamp
        set_organ_shown(nodes, False)  # it is one of both readings; which one, is not to be seen
        task, grid = session.task, session.loaded.grid
        self._work.wait(Work(lambda _work: read_compared(worklist, task, grid)), self._onRead, self._onFailed)

    def _onRead(self, compared: Compared) -> None:
        self._compared = compared
        self._showViews()
        self._spots.use(compared.places, placeText)
        self._spots.update()
        if compared.places:
            self._spots.go(0)
        self._show()

    def _onFailed(self, error: Exception) -> None:
        self._problem = errorText(error, gap="\n")
        if self._task.nodes is not None:
            set_organ_shown(self._task.nodes, True)
        self._show()

    def _end(self) -> None:
        self._work.cancel()
        self._views.hide()
        self._session = self._compared = self._seen = None
        self._source = Source()
        self._problem = ""

    def _showViews(self) -> None:
        nodes = self._task.nodes
        if self._compared is None or nodes is None or not self._entered or not self.ui.sideBySideButton.checked:
            self._views.hide()
        elif not self._views.shown:
            self._views.show(nodes, self._compared.masks)

    def start(self, name: str) -> None:
        """Put a reading into the editor, as one step that can be undone; the reader goes on from there."""
        if self._compared is None or not self._task.editable:
            return
        self._source.start(name)
        self._task.putMask(self._compared.masks[name])
        self._lookAtMask()
        if not self._comment:
            self._tellSource()

    @property
    def _comment(self) -> str:
        return str(self.ui.commentEdit.text).strip()

    def _lookAtMask(self) -> None:
        """Follow the mask after a change, such as Undo: what it comes from, and the comment that says so unless the reader wrote one."""
        if self._session is None or self._task.stamp == self._seen:
            return
        mask, told = self._task.mask(), self._sourceText()
        self._seen = self._task.stamp
        if mask is None:
            return
        self._source.follow(mask, {} if self._compared is None else self._compared.masks)
        if told and self._comment == told:
            self._tellSource()

    def _tellSource(self) -> None:
        self.ui.commentEdit.setText(self._sourceText())

    def _sourceText(self) -> str:
        name = self._source.name
        return str(_("started from reading {name}").format(name=name)) if name else ""

    def _show(self) -> None:
        compared = self._compared
        self.ui.adjudicateFrame.setVisible(self._session is not None)
        self.ui.adjudicateLabel.setText(self._problem if compared is None else figuresText(compared))
        for button in (self.ui.startAButton, self.ui.startBButton):
            button.setEnabled(compared is not None and self._task.editable)
        self.ui.sideBySideButton.setEnabled(compared is not None)
        if self._session is not None and self.undecided and self._task.editable:
            reason = _("Start from A or from B, or draw: then accept the mask that is in the editor.")
            for button in (self.ui.acceptButton, self.ui.saveButton):
                button.setEnabled(False)
                button.setToolTip(reason)

    def cleanup(self) -> None:
        """Let go of everything."""
        self._end()
        self._work.cleanup()
        self._links.cut()
