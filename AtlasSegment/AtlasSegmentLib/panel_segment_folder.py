"""Where results go: a dataset folder that the user chooses, or a temporary one for this session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from AtlasSegmentLib.panel_segment_checks import folderOf


class FolderSection:
    """The results folder on the panel of Atlas Segment.

    Args:
        ui: The panel's widgets.
    """

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self._session: Path | None = None
        ui.resultsFolderButton.connect("clicked(bool)", self._choose)

    def cleanup(self) -> None:
        """Let go of the widgets."""
        self._ui.resultsFolderButton.disconnect("clicked(bool)", self._choose)

    def session(self) -> Path:
        """Return the temporary folder of this session, made now when it is not there. Raises OSError."""
        from AtlasSegmentLib.session_folder import make_session_folder

        if self._session is None or not self._session.is_dir():
            self._session = _sharedSession() or make_session_folder(Path(slicer.app.temporaryPath))
            slicer.modules.AtlasSegmentSessionFolder = str(self._session)  # a reloaded module goes on with it
        return self._session

    def results(self, text: str) -> Path:
        """Return the dataset folder that the user's text means."""
        return folderOf(text) if text.strip() else self.session() / "results"

    def show(self, text: str) -> None:
        """Say what becomes of the results in this folder."""
        if text.strip():
            note = _("Each CT gets a case folder there, which Atlas Quality, Atlas Review and the program atlas open.")
        else:
            note = _("Temporary: removed when Slicer closes. To keep the results, choose a folder here before Apply, or use Export.")
        self._ui.resultsFolderLabel.setText(note)

    def where(self, case: Path) -> str:
        """Return where the files of a case are, and whether they stay."""
        if self._session is not None and case.is_relative_to(self._session):
            return _("Files: in a temporary folder until Slicer closes (Options, Results in). Save the scene or use Export to keep them.")
        return _("Files: {folder}").format(folder=case)

    def _choose(self, _checked: bool = False) -> None:
        folder = qt.QFileDialog.getExistingDirectory(
            self._ui.resultsFolderEdit, _("Choose the dataset folder"), self._ui.resultsFolderEdit.text
        )
        if folder:
            self._ui.resultsFolderEdit.setText(folder)


def _sharedSession() -> Path | None:
    known = getattr(slicer.modules, "AtlasSegmentSessionFolder", None)
    return Path(known) if known and Path(known).is_dir() else None
