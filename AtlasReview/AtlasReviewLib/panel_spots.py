"""The buttons that go from hot spot to hot spot, and those that show and hide overlay and masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from slicer.i18n import tr as _

from AtlasReviewLib import scene
from AtlasReviewLib.panel_links import Links
from AtlasReviewLib.panel_task import TaskPanel
from AtlasReviewLib.panel_texts import spotText
from AtlasSegmentLib.panel_errors import guarded
from AtlasSegmentLib.scene import jump_to


class SpotPanel:
    """Where to look in the open task.

    Args:
        ui: The widgets of the panel.
        task: The open task.
    """

    def __init__(self, ui: Any, task: TaskPanel) -> None:
        self.ui, self._task = ui, task
        self._number = 0
        self._session: Any = None
        self._places: Sequence[Any] | None = None
        self._text: Callable[[Any, int, int], str] = spotText
        self._links = Links(
            (ui.nextSpotButton, "clicked(bool)", guarded(lambda: self.go(1))),
            (ui.previousSpotButton, "clicked(bool)", guarded(lambda: self.go(-1))),
            (ui.overlayButton, "toggled(bool)", guarded(self._showOverlay)),
            (ui.maskButton, "toggled(bool)", guarded(self._showMask)),
        )

    @property
    def _spots(self) -> Sequence[Any]:
        if self._task.session is None:
            return ()
        return self._places if self._places is not None else self._task.session.loaded.hot_spots

    def use(self, places: Sequence[Any] | None, text: Callable[[Any, int, int], str] = spotText) -> None:
        """Go through other places than the hot spots, or through them again.

        Args:
            places: Each has a `center` in RAS mm; None are the hot spots.
            text: Says in one line what place, number and count are.
        """
        self._places, self._text, self._number = places, text, 0
        self._show()

    def go(self, step: int) -> None:
        """Go to another hot spot; after the last one comes the first."""
        if self._spots:
            self._number = (self._number + step) % len(self._spots)
            jump_to(self._spots[self._number].center)
            self._show()

    def update(self) -> None:
        """Show the hot spots of the task that is open now."""
        if self._task.session is not self._session:
            self._session, self._number, self._places, self._text = self._task.session, 0, None, spotText
        self.ui.nextSpotButton.setEnabled(bool(self._spots))
        self.ui.previousSpotButton.setEnabled(bool(self._spots))
        self._show()

    def _show(self) -> None:
        if self._spots:
            text = self._text(self._spots[self._number], self._number + 1, len(self._spots))
        else:
            text = _("No hot spot is known for this organ.") if self._task.session is not None else ""
        self.ui.spotLabel.setText(text)

    def _showOverlay(self) -> None:
        if self._task.session is not None and self._task.nodes is not None:
            scene.set_overlay_shown(self._task.nodes, self.ui.overlayButton.checked)

    def _showMask(self) -> None:
        if self._task.session is not None and self._task.nodes is not None:
            scene.set_mask_shown(self._task.nodes, self.ui.maskButton.checked)

    def cleanup(self) -> None:
        """Let go of the buttons."""
        self._links.cut()
        self._session = None
