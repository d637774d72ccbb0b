"""Carrying corrections to the slices between: proposed, shown in the views with what would change, kept as one undo step or discarded."""

from __future__ import annotations

from typing import Any

import slicer
from slicer.i18n import tr as _

from AtlasReviewLib import scene_carry
from AtlasReviewLib.panel_links import Links
from AtlasReviewLib.panel_task import TaskPanel
from AtlasReviewLib.simulation_case import AXES
from AtlasReviewLib.slice_carry import Carried, carry, corrected_slices, edited_axis, kept_reference
from AtlasSegmentLib.panel_errors import guarded
from AtlasSegmentLib.panel_shortcuts import PanelShortcuts
from AtlasSegmentLib.sparse import SparseVolume


def carriedText(found: Carried) -> str:
    """Return such as "12 axial slices would change: 3.4 ml added, 0.8 ml removed"."""
    names = {"sagittal": _("sagittal"), "coronal": _("coronal"), "axial": _("axial")}
    text = _("{count} {direction} slices would change: {added:.1f} ml added, {removed:.1f} ml removed.")
    if len(found.changed) == 1:
        text = _("{count} {direction} slice would change: {added:.1f} ml added, {removed:.1f} ml removed.")
    return str(text.format(count=len(found.changed), direction=names[AXES[found.across]], added=found.added_ml, removed=found.removed_ml))


class CarryPanel:
    """The button that carries corrections, and what is shown until the reader keeps or discards them.

    Args:
        ui: The widgets of the panel.
        task: The open task.
        say: Shows one line about what just happened.
    """

    def __init__(self, ui: Any, task: TaskPanel, say: Any) -> None:
        self.ui, self._task, self._say = ui, task, say
        self._session: Any = None
        self._references: list[SparseVolume] = []
        self._found: Carried | None = None
        self._preview: Any = None
        self._madeOf: Any = None
        ui.carryDirectionCombo.clear()
        ui.carryDirectionCombo.addItem(_("Direction as edited"), -1)
        for name, axis in ((_("Axial slices"), 2), (_("Coronal slices"), 1), (_("Sagittal slices"), 0)):
            ui.carryDirectionCombo.addItem(name, axis)
        self._tip = ui.carryButton.toolTip
        self._links = Links(
            (ui.carryButton, "clicked(bool)", guarded(self.propose)),
            (ui.carryKeepButton, "clicked(bool)", guarded(self.keep)),
            (ui.carryDiscardButton, "clicked(bool)", guarded(self.discard)),
            (ui.carryDirectionCombo, "currentIndexChanged(int)", guarded(self._directionChosen)),
        )
        self.update()

    def bindKeys(self, shortcuts: PanelShortcuts) -> None:
        """Bind the keys of the three buttons."""
        for button, key in ((self.ui.carryButton, "C"), (self.ui.carryKeepButton, "Shift+C"), (self.ui.carryDiscardButton, "X")):
            shortcuts.bind(key, button)

    @property
    def proposed(self) -> Carried | None:
        """What is shown and not decided yet."""
        return self._found

    def propose(self) -> None:
        """Show what would change between the corrected slices. Raises AtlasError when nothing can be carried."""
        self.discard()
        now, nodes, session = self._task.mask(), self._task.nodes, self._task.session
        if now is None or nodes is None or session is None or not self._task.editable:
            return
        with slicer.util.WaitCursor():  # a moment for a large organ
            found = carry(self._references, now, self._across(), neighbors=self._neighbors())
            self._preview = scene_carry.show_preview(nodes, found.shown, _("{organ} proposed").format(organ=session.task.organ))
        self._found, self._madeOf = found, self._task.stamp
        self._show()

    def _across(self) -> int | None:
        axis = int(self.ui.carryDirectionCombo.itemData(self.ui.carryDirectionCombo.currentIndex))
        return None if axis < 0 else axis

    def _neighbors(self) -> list[SparseVolume]:
        """Return the masks that nothing may be added to, as in the editor."""
        session = self._task.session
        if session is None or not self.ui.keepOutCheckBox.checked:
            return []
        return [other.mask for organ, other in session.loaded.organs.items() if organ != session.loaded.organ]

    def keep(self) -> None:
        """Put the proposal into the editor as one step that can be undone."""
        found = self._found
        if found is None or not self._task.editable:
            self.discard()
            return
        if self._madeOf != self._task.stamp:
            self.propose()
            self._say(_("The mask was changed since: this is the proposal for it as it is now."))
            return
        self.discard()
        before = self._references[-1]
        self._task.putMask(found.mask)
        self._references.append(kept_reference(before, found))
        self._say(_("Carried to {count} slices. Undo takes it back in one step.").format(count=len(found.changed)))

    def discard(self) -> None:
        """Take the proposal away; the mask was never changed."""
        scene_carry.remove_preview(self._preview)
        self._preview = self._found = self._madeOf = None
        self._show()

    def corrected(self) -> tuple[int, list[int]] | None:
        """Return RAS axis and RAS numbers of the slices that the reader corrected; None when no mask was changed. Raises AtlasError."""
        now = self._task.mask() if self._references else None
        axis = None if now is None else edited_axis(self._references, now)
        return None if now is None or axis is None else (axis, corrected_slices(self._references, now, axis))

    def update(self) -> None:
        """Follow the open task: another one begins without corrections, a changed mask without a proposal."""
        session = self._task.session
        if session is not self._session:
            self.discard()
            self._session = session
            self._references = [] if session is None else [session.loaded.baseline.mask]
        if not self._task.editable and self._found is not None:  # accepted meanwhile
            self.discard()
        if self._found is not None and (self._madeOf != self._task.stamp or not slicer.mrmlScene.IsNodePresent(self._preview)):
            self.discard()
            self._say(_("The mask was changed: press Carry between slices again for a new proposal."))
        self._show()

    def _show(self) -> None:
        reason = "" if self._task.editable else _("Open a task that you can edit first.")
        self.ui.carryButton.setEnabled(not reason)
        self.ui.carryButton.setToolTip(reason or self._tip)
        self.ui.carryDirectionCombo.setEnabled(not reason)
        self.ui.carryFrame.setVisible(self._found is not None)
        if self._found is not None:
            self.ui.carryLabel.setText(carriedText(self._found))
        for button in (self.ui.carryKeepButton, self.ui.carryDiscardButton):
            button.setEnabled(self._found is not None)

    def _directionChosen(self) -> None:
        if self._found is not None:
            self.propose()

    def cleanup(self) -> None:
        """Let go of everything."""
        self.discard()
        self._links.cut()
        self._session, self._references = None, []
