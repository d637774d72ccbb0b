"""CT and region of interest on the panel of Atlas Segment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from AtlasSegmentLib.panel_errors import shownErrors

_BELOW = 2  # pixels between the button and its menu


class InputSection:
    """Gets a sample CT and makes regions of interest.

    Args:
        ui: The panel's widgets.
        setCt: Called with the volume node of the sample.
        getCt: Returns the chosen volume node or None.
        setRoi: Called with the ROI node that was made.
    """

    def __init__(self, ui: Any, setCt: Callable[[Any], None], getCt: Callable[[], Any], setRoi: Callable[[Any], None]) -> None:
        self._ui, self._setCt, self._getCt, self._setRoi = ui, setCt, getCt, setRoi
        ui.sampleButton.connect("clicked(bool)", self._loadSample)
        ui.createRoiButton.connect("clicked(bool)", self._createRoi)
        self.showDoubt("")

    def cleanup(self) -> None:
        """Let go of the widgets."""
        self._ui.sampleButton.disconnect("clicked(bool)", self._loadSample)
        self._ui.createRoiButton.disconnect("clicked(bool)", self._createRoi)

    def showDoubt(self, text: str) -> None:
        """Show why the volume may be no CT, or nothing."""
        self._ui.ctWarningLabel.setText(_("Warning: {doubt}").format(doubt=text) if text else "")
        self._ui.ctWarningLabel.setVisible(bool(text))

    def setUsable(self, usable: bool) -> None:
        """Enable what needs a CT."""
        self._ui.createRoiButton.setEnabled(usable)

    def _loadSample(self, _checked: bool = False) -> None:
        from AtlasSegmentLib.scene_samples import LIVER, PHANTOM, load_sample

        button, names = self._ui.sampleButton, {_("Phantom, drawn here"): PHANTOM, _("CT of a liver, from Slicer's samples"): LIVER}
        menu = qt.QMenu(button)
        for title in names:
            menu.addAction(title)
        chosen = menu.exec_(button.mapToGlobal(qt.QPoint(0, button.height + _BELOW)))
        name = None if chosen is None else names[str(chosen.text)]
        menu.deleteLater()
        if name is not None:
            with shownErrors(), slicer.util.WaitCursor():
                self._setCt(load_sample(name))

    def _createRoi(self, _checked: bool = False) -> None:
        from AtlasSegmentLib.scene import volume_from_node
        from AtlasSegmentLib.scene_roi import node_from_roi, roi_around_body

        ct = self._getCt()
        if ct is None:
            return
        with shownErrors(), slicer.util.WaitCursor():
            name = slicer.mrmlScene.GenerateUniqueName(f"{ct.GetName()} region")
            self._setRoi(node_from_roi(roi_around_body(volume_from_node(ct)), name))
