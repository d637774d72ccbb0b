"""The main window: the module panel, the module selector, and nothing else."""

from __future__ import annotations

import qt
import slicer
from PySide6.QtCore import Property, Signal

PANEL_WIDTH = 520


class qSlicerModuleSelectorToolBar(qt.QToolBar):
    moduleSelected = Signal(str)

    def __init__(self, parent: qt.QWidget) -> None:
        super().__init__(parent)
        self._selected = ""

    selectedModule = Property(str, lambda self: self._selected)

    def selectModule(self, name: str) -> None:
        """Leave the module that is open and enter this one; "" leaves it and enters none."""
        manager = slicer.app.moduleManager()
        module = manager.module(name)
        if name and module is None:
            message = f"no module {name}"
            raise RuntimeError(message)
        left = manager.module(self._selected)
        if name == self._selected and module is not None and module.widgetRepresentation().isEntered:
            return
        if left is not None and left._widget is not None and left._widget.isEntered:
            left._widget.exit()
        self._selected = name
        self.parent().showPanel(module.widgetRepresentation() if module is not None else None)
        self.moduleSelected.emit(name)


class qSlicerMainWindow(qt.QMainWindow):
    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("qSlicerMainWindow")
        self._selector = qSlicerModuleSelectorToolBar(self)
        self._panel = qt.QScrollArea(self)
        self._panel.setWidgetResizable(True)
        dock = qt.QDockWidget(self)
        dock.setObjectName("PanelDockWidget")
        dock.setWidget(self._panel)
        self.addDockWidget(qt.Qt.LeftDockWidgetArea, dock)
        self._panel.setFixedWidth(PANEL_WIDTH)
        self.setCentralWidget(qt.QWidget(self))
        self._closed = qt.QWidget(self)  # keeps the panels of modules that are not open
        self._closed.hide()

    def moduleSelector(self) -> qSlicerModuleSelectorToolBar:
        return self._selector

    def showPanel(self, widget: qt.QWidget | None) -> None:
        """Put a module's widget into the panel and enter it."""
        if self._panel.widget() is not None:
            self._panel.takeWidget().setParent(self._closed)
        if widget is not None:
            self._panel.setWidget(widget)
            widget.show()
            widget.enter()


def create() -> qSlicerMainWindow:
    """Make the main window; slicer.util.mainWindow() finds it by its name."""
    window = qSlicerMainWindow()
    slicer.app._main_window = window
    window.resize(1000, 800)
    window.show()
    return window
