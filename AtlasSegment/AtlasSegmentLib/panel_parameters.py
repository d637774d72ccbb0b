"""Widgets and parameter node, joined so that they can be taken apart again."""

from __future__ import annotations

from typing import Any

PROPERTY = "SlicerParameterName"
"""Dynamic property of a widget in a .ui file: the parameter that it shows."""


def connectWidgets(parameters: Any, ui: Any) -> Any:
    """Connect a parameter node with the widgets that name one of its parameters; return the tag for `disconnectGui`.

    Some versions of Slicer lose the tag in their own `connectGui`: widgets then write into the node of a closed scene, too.

    Args:
        parameters: A class made by parameterNodeWrapper.
        ui: What `slicer.util.childWidgetVariables` returned.
    """
    named = {str(widget.property(PROPERTY)): widget for widget in vars(ui).values() if widget.property(PROPERTY)}
    return parameters.connectParametersToGui(named)
