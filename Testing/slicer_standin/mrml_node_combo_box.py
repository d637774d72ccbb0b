"""qMRMLNodeComboBox: choose a node of the scene."""

from __future__ import annotations

import slicer
import vtk
from PySide6.QtCore import Property, Signal
from PySide6.QtWidgets import QComboBox, QVBoxLayout, QWidget

from .mrml_widget import SceneWidget
from .qt_loader import register
from .stored_property import stored

REFILL_EVENTS = ("EndCloseEvent", "EndImportEvent", "EndBatchProcessEvent", "EndRestoreEvent")
ADD, RENAME, REMOVE = "!add ", "!rename", "!remove"


@register
class qMRMLNodeComboBox(SceneWidget):
    currentNodeChanged = Signal(object)
    currentNodeIDChanged = Signal(str)
    currentNodeValid = Signal(bool)
    currentNodeRenamed = Signal(str)
    nodeActivated = Signal(object)
    nodeAdded = Signal(object)
    nodeAddedByUser = Signal(object)
    nodeAboutToBeRemoved = Signal(object)

    nodeTypes, setNodeTypes = stored("nodeTypes", list, [], after="_refill")
    showHidden, setShowHidden = stored("showHidden", bool, False, after="_refill")
    showChildNodeTypes, setShowChildNodeTypes = stored("showChildNodeTypes", bool, True, after="_refill")
    hideChildNodeTypes, setHideChildNodeTypes = stored("hideChildNodeTypes", list, [], after="_refill")
    noneEnabled, setNoneEnabled = stored("noneEnabled", bool, False, after="_refill")
    noneDisplay, setNoneDisplay = stored("noneDisplay", str, "None", after="_refill")
    addEnabled, setAddEnabled = stored("addEnabled", bool, True, after="_refill")
    removeEnabled, setRemoveEnabled = stored("removeEnabled", bool, True, after="_refill")
    renameEnabled, setRenameEnabled = stored("renameEnabled", bool, False, after="_refill")
    editEnabled, setEditEnabled = stored("editEnabled", bool, False, after="_refill")
    baseName, setBaseName = stored("baseName", str, "")
    selectNodeUponCreation, setSelectNodeUponCreation = stored("selectNodeUponCreation", bool, True)
    interactionNodeSingletonTag, setInteractionNodeSingletonTag = stored("interactionNodeSingletonTag", str, "")

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._attributes: dict[tuple[str, str], str | None] = {}
        self._current: str | None = None
        self._requested: str | None = None
        self._filling = False
        self._combo = QComboBox(self)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._combo)
        self._combo.currentIndexChanged.connect(self._picked)

    # Which nodes are listed

    def addAttribute(self, nodeType: str, attributeName: str, attributeValue: str | None = None) -> None:
        self._attributes[nodeType, attributeName] = attributeValue
        self._refill()

    def removeAttribute(self, nodeType: str, attributeName: str) -> None:
        self._attributes.pop((nodeType, attributeName), None)
        self._refill()

    def _accepts(self, node: slicer.vtkMRMLNode) -> bool:
        types = list(self.nodeTypes)
        if not any(node.GetClassName() == name or (self.showChildNodeTypes and node.IsA(name)) for name in types):
            return False
        if any(node.IsA(name) for name in self.hideChildNodeTypes) or (node.GetHideFromEditors() and not self.showHidden):
            return False
        wanted = [(name, value) for (type_, name), value in self._attributes.items() if node.IsA(type_)]
        return all(node.GetAttribute(name) is not None and value in {None, node.GetAttribute(name)} for name, value in wanted)

    def _nodes(self) -> list[slicer.vtkMRMLNode]:
        scene = self._scene
        nodes = [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())] if scene is not None else []
        return [node for node in nodes if self._accepts(node)]

    def nodeCount(self) -> int:
        return len(self._nodes())

    def nodeFromIndex(self, index: int) -> slicer.vtkMRMLNode | None:
        nodes = self._nodes()
        return nodes[index] if 0 <= index < len(nodes) else None

    # The scene

    def _scene_set(self, scene: slicer.vtkMRMLScene | None) -> None:
        self._observers.clear()
        if scene is not None:
            self._observers.add(scene, slicer.vtkMRMLScene.NodeAddedEvent, "_node_added", node_as_call_data=True)
            self._observers.add(scene, slicer.vtkMRMLScene.NodeRemovedEvent, "_node_removed", node_as_call_data=True)
            for name in REFILL_EVENTS:
                self._observers.add(scene, getattr(slicer.vtkMRMLScene, name), "_refill")
        self._combo.clear()
        self._refill()
        wanted, self._requested = self._requested, None
        nodes = self._nodes()
        if wanted is None and nodes and not self.noneEnabled:
            wanted = nodes[0].GetID()
        if scene is not None:
            self.setCurrentNodeID(wanted or self._current)
        self.setEnabled(scene is not None)

    def _node_added(self, scene: slicer.vtkMRMLScene, _event: str, node: slicer.vtkMRMLNode) -> None:
        if not scene.IsBatchProcessing() and self._accepts(node):
            self._refill()
            self.nodeAdded.emit(node)

    def _node_removed(self, scene: slicer.vtkMRMLScene, _event: str, node: slicer.vtkMRMLNode) -> None:
        if not scene.IsBatchProcessing() and self._combo.findData(node.GetID()) >= 0:
            self._refill()

    def _node_modified(self, node: slicer.vtkMRMLNode, _event: str, _data: object) -> None:
        row = self._combo.findData(node.GetID())
        if row >= 0 and self._combo.itemText(row) != node.GetName():
            self._combo.setItemText(row, node.GetName())

    def _refill(self, *_: object) -> None:
        if self._scene is None or not hasattr(self, "_combo"):
            return
        nodes = self._nodes()
        before = self._listed_ids()
        self._filling = True
        self._fill(nodes)
        wanted = self._wanted([node.GetID() for node in nodes], before)
        self._combo.setCurrentIndex(self._combo.findData(wanted or ""))
        self._filling = False
        self._make_current(wanted)

    def _listed_ids(self) -> list[str]:
        rows = [self._combo.itemData(row) for row in range(self._combo.count)]
        return [data for data in rows if data and not data.startswith("!")]

    def _fill(self, nodes: list[slicer.vtkMRMLNode]) -> None:
        known = {self._combo.itemData(row) for row in range(self._combo.count)}
        self._combo.clear()
        if self.noneEnabled:
            self._combo.addItem(self.noneDisplay, "")
        for node in nodes:
            self._combo.addItem(node.GetName(), node.GetID())
            if node.GetID() not in known:
                self._observers.add(node, vtk.vtkCommand.ModifiedEvent, "_node_modified")
        for type_ in self.nodeTypes if self.addEnabled else ():
            self._combo.addItem(f"Create new {self._scene.GetTagByClassName(type_) or type_}", ADD + type_)
        if self.renameEnabled and nodes:
            self._combo.addItem("Rename current node", RENAME)
        if self.removeEnabled and nodes:
            self._combo.addItem("Delete current node", REMOVE)

    def _wanted(self, ids: list[str], before: list[str]) -> str | None:
        """Return the node that Slicer's widget makes current after its list changed."""
        if self._current in ids:
            return self._current
        if not ids or self._scene.IsClosing():
            return None
        if self._current is not None:  # it was removed or hidden: its neighbor in the list
            row = before.index(self._current) if self._current in before else 0
            return ids[min(row, len(ids) - 1)]
        has_other_rows = self.noneEnabled or self.addEnabled or self.removeEnabled or self.renameEnabled or self.editEnabled
        return ids[0] if not before and not has_other_rows else None

    # The choice

    def _picked(self, row: int) -> None:
        data = self._combo.itemData(row)
        if self._filling or data is None:
            return
        if data.startswith("!"):
            self._filling = True
            self._combo.setCurrentIndex(self._combo.findData(self._current or ""))
            self._filling = False
            self._act(data)
        else:
            self._make_current(data or None)

    def _act(self, action: str) -> None:
        if action.startswith(ADD):
            self.nodeAddedByUser.emit(self.addNode(action.removeprefix(ADD)))
        elif action == REMOVE:
            self.removeCurrentNode()
        else:
            message = "the stand-in does not rename nodes through a selector"
            raise NotImplementedError(message)

    def _make_current(self, node_id: str | None) -> None:
        if node_id == self._current:
            return
        self._current = node_id
        node = self.currentNode()
        self.currentNodeChanged.emit(node)
        self.currentNodeValid.emit(node is not None)
        self.currentNodeIDChanged.emit(node_id or "")

    def currentNode(self) -> slicer.vtkMRMLNode | None:
        return self._scene.GetNodeByID(self._current) if self._scene is not None and self._current else None

    def setCurrentNode(self, node: slicer.vtkMRMLNode | None) -> None:
        if node is not None and not isinstance(node, slicer.vtkMRMLNode):
            message = f"setCurrentNode takes a node or None, not {node!r}; for an ID there is setCurrentNodeID"
            raise TypeError(message)
        self.setCurrentNodeID(node.GetID() if node is not None else "")

    def _current_id(self) -> str:
        return self._current or ""

    def setCurrentNodeID(self, nodeID: str | None) -> None:
        wanted = nodeID or ""
        if self._scene is None:
            self._requested = wanted or None
            return
        row = self._combo.findData(wanted)
        self._filling = True
        self._combo.setCurrentIndex(row)
        self._filling = False
        self._make_current(wanted if row >= 0 and wanted else None)

    currentNodeID = Property(str, _current_id, setCurrentNodeID)

    def setCurrentNodeIndex(self, index: int) -> None:
        self.setCurrentNode(self._nodes()[index])

    def addNode(self, nodeType: str | None = None) -> slicer.vtkMRMLNode:
        type_ = nodeType or self.nodeTypes[0]
        node = self._scene.CreateNodeByClass(type_)
        node.UnRegister(None)
        node.SetName(self._scene.GenerateUniqueName(self.baseName or self._scene.GetTagByClassName(type_)))
        for (owner, name), value in self._attributes.items():
            if node.IsA(owner):
                node.SetAttribute(name, value or "")
        node = self._scene.AddNode(node)
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        return node

    def removeCurrentNode(self) -> None:
        node = self.currentNode()
        if node is not None:
            self.nodeAboutToBeRemoved.emit(node)
            self._scene.RemoveNode(node)


@register
class qMRMLColorTableComboBox(qMRMLNodeComboBox):
    """Choose a color table: every color node of the scene, none may be made here."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setNodeTypes(["vtkMRMLColorNode"])
        self.setShowHidden(True)
        self.setAddEnabled(False)
        self.setRemoveEnabled(False)
        self.setNoneEnabled(False)
