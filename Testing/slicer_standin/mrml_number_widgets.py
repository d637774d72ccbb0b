"""Number widgets that know the scene's units; the stand-in shows the plain number."""

from __future__ import annotations

import ctk
from PySide6.QtCore import Signal

from .mrml_widget import SceneAware
from .qt_loader import register
from .stored_property import stored


@register
class qMRMLSliderWidget(SceneAware, ctk.ctkSliderWidget):
    mrmlSceneChanged = Signal(object)
    quantity, setQuantity = stored("quantity", str, "")


@register
class qMRMLSpinBox(SceneAware, ctk.ctkDoubleSpinBox):
    mrmlSceneChanged = Signal(object)
    quantity, setQuantity = stored("quantity", str, "")
