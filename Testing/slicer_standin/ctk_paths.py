"""CTK's widgets for files and folders; their dialogs are answered by the test."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Property, QDir, QSettings, Signal
from PySide6.QtWidgets import QComboBox, QFileDialog, QPushButton, QSizePolicy, QToolButton, QWidget

from .ctk_forward import bare_row
from .qt_loader import register
from .stored_property import stored

_HISTORY_LENGTH = 5


@register
class ctkPathLineEdit(QWidget):
    """An editable path with history and a browse button."""

    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)
    Dirs, Files, Drives, NoSymLinks, Readable, Writable, Executable = 1, 2, 4, 8, 0x10, 0x20, 0x40
    Hidden, NoDotAndDotDot, NoDot, NoDotDot = 0x100, 0x1000, 0x2000, 0x4000
    ShowDirsOnly, DontResolveSymlinks, DontConfirmOverwrite, DontUseSheet, DontUseNativeDialog, ReadOnly = 1, 2, 4, 8, 16, 32

    # Readable, Executable, NoDotAndDotDot, AllDirs and Files, as CTK
    filters, setFilters = stored("filters", int, 0x10 | 0x40 | 0x1000 | 0x400 | 2)
    nameFilters, setNameFilters = stored("nameFilters", list, [])
    options, setOptions = stored("options", int, 0)
    label, setLabel = stored("label", str, "")
    settingKey, setSettingKey = stored("settingKey", str, "")
    showBrowseButton, setShowBrowseButton = stored("showBrowseButton", bool, True, after="_show_button")
    showHistoryButton, setShowHistoryButton = stored("showHistoryButton", bool, True)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._path, self._button = QComboBox(self), QToolButton(self)
        self._path.setEditable(True)
        self._path.setSizePolicy(QSizePolicy.Expanding, QSizePolicy.Fixed)
        self._button.setText("...")
        bare_row(self, self._path, self._button)
        self._valid = False
        self._path.connect("editTextChanged(QString)", self._on_text)
        self._button.connect("clicked()", self.browse)

    def setCurrentPath(self, path: str) -> None:
        self._path.setEditText(str(path))

    currentPath = Property(str, lambda self: self._path.currentText, setCurrentPath)

    def comboBox(self) -> QComboBox:
        """Return the combo box whose text is the path."""
        return self._path

    def browse(self) -> None:
        """Let the user choose: a folder when the filters allow no files."""
        if not self.filters & self.Files:
            path = QFileDialog.getExistingDirectory(self, self.label or "Select folder", self.currentPath)
        elif self.filters & self.Writable:
            path = QFileDialog.getSaveFileName(self, self.label or "Save file", self.currentPath, ";;".join(self.nameFilters))
        else:
            path = QFileDialog.getOpenFileName(self, self.label or "Open file", self.currentPath, ";;".join(self.nameFilters))
        if path:
            self.setCurrentPath(path)

    def addCurrentPathToHistory(self) -> None:
        """Remember the current path in the settings, newest first."""
        history = [self.currentPath, *(path for path in self._history() if path != self.currentPath)][:_HISTORY_LENGTH]
        QSettings().setValue(self._key(), history)

    def retrieveHistory(self) -> None:
        """List the remembered paths and show the newest one."""
        history = self._history()
        self._path.clear()
        self._path.addItems(history)

    def _history(self) -> list[str]:
        stored_paths = QSettings().value(self._key()) or []
        return [stored_paths] if isinstance(stored_paths, str) else list(stored_paths)

    def _key(self) -> str:
        return f"ctkPathLineEdit/{self.settingKey or self.objectName}"

    def _on_text(self, text: str) -> None:
        self.currentPathChanged.emit(text)
        try:
            valid = Path(text).is_dir() if not self.filters & self.Files else bool(text) and Path(text).exists()
        except OSError:  # a name that is too long
            valid = False
        if valid != self._valid:
            self._valid = valid
            self.validInputChanged.emit(valid)

    def _show_button(self, visible: bool) -> None:
        self._button.setVisible(visible)


@register
class ctkDirectoryButton(QPushButton):
    """A button that shows the chosen folder."""

    directoryChanged, directorySelected = Signal(str), Signal(str)
    caption, setCaption = stored("caption", str, "")
    options, setOptions = stored("options", int, 1)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._directory = QDir.currentPath()
        self.setText(self._directory)
        self.connect("clicked()", self.browse)

    def setDirectory(self, path: str) -> None:
        path = QDir(str(path)).absolutePath()
        if path != self._directory:
            self._directory = path
            self.setText(path)
            self.directoryChanged.emit(path)

    directory = Property(str, lambda self: self._directory, setDirectory)

    def browse(self) -> str:
        """Let the user choose a folder and return the directory."""
        path = QFileDialog.getExistingDirectory(self, self.caption or "Select folder", self._directory)
        if path:
            self.setDirectory(path)
            self.directorySelected.emit(self._directory)
        return path
