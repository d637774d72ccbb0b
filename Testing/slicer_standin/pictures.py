"""A picture of the open panel and the views, as the application window would show them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
import slicer.util
from PySide6.QtGui import QColor, QImage, QPainter

from .main_window import PANEL_WIDTH
from .render_view import SIZE, picture

GAP = 4


def save_screenshot(path: Path) -> Path:
    """Write a PNG: left the panel in its full height, right the views of the layout in two columns of the same height."""
    panel = _panel()
    rows = max((len(_views()) + 1) // 2, 2)
    side = max((panel.height() - GAP * (rows - 1)) // rows, SIZE[0])
    image = QImage(PANEL_WIDTH + 2 * (side + GAP), rows * side + (rows - 1) * GAP, QImage.Format_RGB32)
    image.fill(QColor(64, 64, 64))
    painter = QPainter(image)
    painter.fillRect(0, 0, PANEL_WIDTH, image.height(), slicer.app.palette().window())
    painter.drawImage(0, 0, panel)
    for index, view in enumerate(view_pictures(side)):
        painter.drawImage(PANEL_WIDTH + GAP + (index % 2) * (side + GAP), (index // 2) * (side + GAP), view)
    painter.end()
    path.parent.mkdir(parents=True, exist_ok=True)
    if not image.save(str(path)):
        message = f"cannot write {path}"
        raise OSError(message)
    return path


def view_pictures(side: int = SIZE[0]) -> list[QImage]:
    """Return square pictures of the slice, 3D and plot views of the layout, in its order; `side` is in pixels."""
    images = []
    for view in _views():
        view.resize(side)
        images.append(picture(view.renderWindow()))
        view.resize(SIZE[0])
    return images


def _views() -> list[Any]:
    views = []
    for widget in slicer.app.layoutManager().shownWidgets():
        for method in ("sliceView", "threeDView", "plotView"):
            if hasattr(widget, method):
                views.append(getattr(widget, method)())
    return views


def _panel() -> QImage:
    """Return the open panel in the height it needs, or an empty picture when no module is open."""
    window = slicer.util.mainWindow()
    widget = window._panel.widget()
    if widget is None:
        return QImage()
    size = window.size
    for _ in range(2):  # a height that depends on the width is known after the first layout
        slicer.app.processEvents()
        window.resize(size.width(), max(widget.minimumSizeHint().height(), widget.sizeHint().height(), 2 * SIZE[1]) + 40)
    slicer.app.processEvents()
    image = widget.grab().toImage()
    window.resize(size)
    return image
