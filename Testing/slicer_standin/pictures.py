"""A picture of the open panel and the views, as the application window would show them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
import slicer.util
from PySide6.QtCore import QRect
from PySide6.QtGui import QColor, QImage, QPainter

from .main_window import PANEL_WIDTH
from .render_view import SIZE, picture

GAP = 4


def save_screenshot(path: Path) -> Path:
    """Write a PNG: left the panel in its full height, right the views of the layout in two columns."""
    panel, views = _panel(), view_pictures()
    rows = (len(views) + 1) // 2
    width = PANEL_WIDTH + 2 * (SIZE[0] + GAP)
    height = max(panel.height() if panel is not None else 0, rows * (SIZE[1] + GAP))
    image = QImage(width, height, QImage.Format_RGB32)
    image.fill(QColor(64, 64, 64))
    painter = QPainter(image)
    if panel is not None:
        painter.drawImage(0, 0, panel)
    for index, view in enumerate(views):
        x = PANEL_WIDTH + GAP + (index % 2) * (SIZE[0] + GAP)
        painter.drawImage(QRect(x, (index // 2) * (SIZE[1] + GAP), *SIZE), view)
    painter.end()
    path.parent.mkdir(parents=True, exist_ok=True)
    if not image.save(str(path)):
        message = f"cannot write {path}"
        raise OSError(message)
    return path


def view_pictures() -> list[QImage]:
    """Return pictures of the slice, 3D and plot views of the layout, in its order."""
    return [picture(view.renderWindow()) for view in _views()]


def _views() -> list[Any]:
    views = []
    for widget in slicer.app.layoutManager().shownWidgets():
        for method in ("sliceView", "threeDView", "plotView"):
            if hasattr(widget, method):
                views.append(getattr(widget, method)())
    return views


def _panel() -> QImage | None:
    window = slicer.util.mainWindow()
    widget = window._panel.widget()
    if widget is None:
        return None
    size = window.size
    for _ in range(2):  # a height that depends on the width is known after the first layout
        slicer.app.processEvents()
        window.resize(size.width(), max(widget.minimumSizeHint().height(), widget.sizeHint().height(), 2 * SIZE[1]) + 40)
    slicer.app.processEvents()
    image = widget.grab().toImage()
    window.resize(size)
    return image
