"""A table view of the layout: only which table it shows."""

from __future__ import annotations

from typing import Any

import slicer


class TableView:
    __slots__ = ("_node",)

    def __init__(self, node: Any) -> None:
        self._node = node

    def mrmlTableNode(self) -> Any:
        return self._node.GetTableNode()

    def repaint(self) -> None:
        """The stand-in draws no table views."""


class TableWidget:
    """What `layoutManager().tableWidget(0)` gives."""

    __slots__ = ("_view",)

    def __init__(self, _application_logic: Any, node: slicer.vtkMRMLTableViewNode) -> None:
        self._view = TableView(node)

    def tableView(self) -> TableView:
        return self._view

    def mrmlTableViewNode(self) -> Any:
        return self._view._node
