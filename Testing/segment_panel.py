"""What tests of Atlas Segment's panel share: the panel with tiny models and a phantom, and what a user does with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import atlas_phantoms
from AtlasSegmentLib.volume import Volume

Wait = Callable[..., None]


class SegmentPanelUser:
    """A user in front of the panel.

    Args:
        open_module: The fixture.
        wait_until: The fixture.
        folder: For models, results and settings.
    """

    def __init__(self, open_module: Callable[[str], Any], wait_until: Wait, folder: Path) -> None:
        self.folder, self._wait, self._open = folder, wait_until, open_module
        self.widget = open_module("AtlasSegment")

    @property
    def panel(self) -> Any:
        """The panel."""
        return self.widget.panel

    @property
    def ui(self) -> Any:
        """Its widgets."""
        return self.widget.ui

    @property
    def parameters(self) -> Any:
        """Its parameter node."""
        return self.widget.panel.parameters

    def load_ct(self, volume: Volume | None = None, name: str = "Abdomen") -> Any:
        """Put a CT, by default the phantom, into the scene and choose it."""
        from AtlasSegmentLib.scene import node_from_volume

        node = node_from_volume(volume or atlas_phantoms.ct(), name)
        self.parameters.ct = node
        return node

    def add_models(self, count: int = 2, prefix: str = "phantom", **changes: Any) -> list[Path]:
        """Put models into the list, checked: the first as sure as can be, each next one less."""
        made, folder = [], self.folder / "models" / prefix
        for number in range(1, count + 1):
            network = atlas_phantoms.softmax_network(softness=2000.0 * 3**number)
            made.append(atlas_phantoms.make_model(folder / f"m{number}", f"{prefix}-{number}", network, **changes))
        self.add_folder(folder)
        return made

    def add_folder(self, folder: Path) -> None:
        """Put the models of a folder into the list, checked."""
        self.panel.models._add(str(folder))

    def add_slow_model(self) -> None:
        """Put a model into the list that needs so long that every test stops it: it looks at tens of thousands of small windows."""
        seen = {"orientation": "LPS", "spacing": [1, 1, 1], "patch": [12, 12, 12], "overlap": 0.9}
        self.add_models(1, "slow", input=seen)

    def take_fast_models_instead(self, count: int = 1) -> None:
        """Uncheck the slow model and add fast ones."""
        self.check("slow-1", False)
        self.add_models(count)

    def use_folder(self) -> Path:
        """Choose a results folder and return it."""
        folder = self.folder / "data"
        self.ui.resultsFolderEdit.setText(str(folder))
        return folder

    def reason(self) -> str:
        """Return why Apply is disabled, "" when it is not; label and tool tip must say the same."""
        enabled = self.ui.applyButton.enabled
        assert self.ui.reasonLabel.isHidden() == enabled
        if enabled:
            return ""
        assert self.ui.reasonLabel.text == self.ui.applyButton.toolTip
        return str(self.ui.reasonLabel.text)

    def apply(self) -> None:
        """Press Apply."""
        assert self.reason() == ""
        self.ui.applyButton.click()

    def wait(self) -> None:
        """Wait for the end of the run."""
        self._wait(lambda: not self.panel.job.running and not self.panel.run.importing, 120)

    def run(self) -> list[Any]:
        """Press Apply, wait, and return all segmentation nodes."""
        self.apply()
        assert self.ui.applyButton.text == "Cancel"
        self.wait()
        return self.segmentations()

    def start_and_wait_for_progress(self) -> None:
        """Press Apply and wait until the child tells of its work."""
        self.apply()
        assert self.ui.progressBar.maximum == 0  # busy: nothing is known yet
        self._wait(lambda: self.ui.progressBar.maximum > 0 or not self.panel.job.running, 120)
        assert self.panel.job.running, f"the run has ended: {self.ui.statusLabel.text}"

    def segmentations(self) -> list[Any]:
        """Return all segmentation nodes of the scene."""
        import slicer

        return list(slicer.util.getNodesByClass("vtkMRMLSegmentationNode"))

    def item(self, name: str) -> Any:
        """Return the row of a model in the list."""
        rows = [self.ui.modelTree.topLevelItem(number) for number in range(self.ui.modelTree.topLevelItemCount)]
        return next(row for row in rows if row.text(0) == name)

    def rows(self) -> list[str]:
        """Return the names in the list that are not hidden by the search."""
        rows = [self.ui.modelTree.topLevelItem(number) for number in range(self.ui.modelTree.topLevelItemCount)]
        return [row.text(0) for row in rows if not row.isHidden()]

    def check(self, name: str, checked: bool = True) -> None:
        """Click the box of a model."""
        import qt

        self.item(name).setCheckState(0, qt.Qt.Checked if checked else qt.Qt.Unchecked)


def open_panel(open_module: Callable[[str], Any], wait_until: Wait, folder: Path, monkeypatch: pytest.MonkeyPatch) -> SegmentPanelUser:
    """Open the panel with an empty list of models; for the fixture `user` of a test file."""
    from AtlasSegmentLib import panel_segment_models

    monkeypatch.setattr(panel_segment_models, "settingsFolder", lambda: folder / "settings")
    monkeypatch.delenv("ATLAS_MODELS", raising=False)
    for variable in ("XDG_DATA_HOME", "HOME", "LOCALAPPDATA"):  # where models are downloaded to
        monkeypatch.setenv(variable, str(folder / "home"))
    return SegmentPanelUser(open_module, wait_until, folder)
