"""Subject hierarchy items for new nodes: in Slicer the plug-in handler, which is Qt, makes them."""

from __future__ import annotations

import slicer

from .observers import observe_nodes

SHOWN = ("vtkMRMLDisplayableNode", "vtkMRMLTableNode", "vtkMRMLTextNode", "vtkMRMLPlotChartNode", "vtkMRMLPlotSeriesNode")
NEVER = ("vtkMRMLAbstractViewNode", "vtkMRMLCameraNode", "vtkMRMLSubjectHierarchyNode")


def install(scene: slicer.vtkMRMLScene) -> None:
    """Give each new data node of the scene an item, and take the item away with the node."""
    observe_nodes(scene, slicer.vtkMRMLScene.NodeAddedEvent, _node_added)
    observe_nodes(scene, slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, _node_removed)
    resolve = slicer.vtkMRMLSubjectHierarchyNode.ResolveSubjectHierarchy
    for event in (slicer.vtkMRMLScene.EndCloseEvent, slicer.vtkMRMLScene.EndRestoreEvent):
        scene.AddObserver(event, lambda *_: resolve(scene))
    for event in (slicer.vtkMRMLScene.EndImportEvent, slicer.vtkMRMLScene.EndBatchProcessEvent):
        scene.AddObserver(event, lambda *_: _import_ended(scene))


def is_shown(node: slicer.vtkMRMLNode) -> bool:
    """Return whether Slicer lists such a node in the subject hierarchy."""
    if node.GetHideFromEditors() or any(node.IsA(name) for name in NEVER):
        return False
    return any(node.IsA(name) for name in SHOWN)


def _node_added(node: slicer.vtkMRMLNode) -> None:
    scene = node.GetScene()
    if node.IsA("vtkMRMLSubjectHierarchyNode"):  # a scene was read: its hierarchy is merged into the one that there is
        slicer.vtkMRMLSubjectHierarchyNode.ResolveSubjectHierarchy(scene)
        return
    # A scene that is being read brings its own items; what has none afterwards gets one at the end.
    if scene is not None and not scene.IsImporting() and not scene.IsClosing() and is_shown(node):
        _add_item(scene, node)


def _add_item(scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLNode) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    if not hierarchy.GetItemByDataNode(node):
        hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)


def _import_ended(scene: slicer.vtkMRMLScene) -> None:
    if scene.IsBatchProcessing():  # closing and reading in one step: items are resolved only after the batch
        return
    slicer.vtkMRMLSubjectHierarchyNode.ResolveSubjectHierarchy(scene)  # first, or nodes with an item get a second one
    for index in range(scene.GetNumberOfNodes()):
        node = scene.GetNthNode(index)
        if is_shown(node):
            _add_item(scene, node)


def _node_removed(node: slicer.vtkMRMLNode) -> None:
    scene = node.GetScene()
    hierarchy = scene.GetFirstNodeByClass("vtkMRMLSubjectHierarchyNode") if scene is not None else None
    if hierarchy is None or hierarchy is node or scene.IsClosing():
        return
    item = hierarchy.GetItemByDataNode(node)
    if item:
        hierarchy.RemoveItem(item, False, False)
