"""slicer.app.coreIOManager(): reading and writing files, through the same logic objects and storage nodes as in Slicer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
import vtk

from . import scene_files

EXTENSIONS = {
    ".seg.nrrd": "SegmentationFile",
    ".nii.gz": "VolumeFile",
    ".nii": "VolumeFile",
    ".nrrd": "VolumeFile",
    ".nhdr": "VolumeFile",
    ".mha": "VolumeFile",
    ".mhd": "VolumeFile",
    ".vtk": "ModelFile",
    ".vtp": "ModelFile",
    ".stl": "ModelFile",
    ".ply": "ModelFile",
    ".obj": "ModelFile",
    ".mrk.json": "MarkupsFile",
    ".csv": "TableFile",
    ".tsv": "TableFile",
    ".ctbl": "ColorTableFile",
    ".txt": "TextFile",
    ".h5": "TransformFile",
    ".tfm": "TransformFile",
    ".mrml": "SceneFile",
    ".mrb": "SceneFile",
}
Properties = dict[str, Any]


class qSlicerCoreIOManager:
    """Readers and writers by file type."""

    __slots__ = ()

    def fileType(self, fileName: str) -> str:
        """Return the type of the reader that Slicer would take, "NoFile" when there is none."""
        return next((type_ for end, type_ in EXTENSIONS.items() if str(fileName).lower().endswith(end)), "NoFile")

    def loadNodes(self, fileType: str, properties: Properties, loadedNodes: Any = None, userMessages: Any = None) -> bool:
        """Read a file into the scene; False with a message when it cannot be read."""
        path = str(properties["fileName"])
        if fileType == "SceneFile":
            return scene_files.load(path, bool(properties.get("clear", False)), userMessages)
        reader = _READERS.get(fileType)
        if reader is None:
            message = f"the stand-in has no reader for {fileType} ({path})"
            raise NotImplementedError(message)
        node = reader(path, properties) if Path(path).is_file() else None
        if node is None:
            _tell(userMessages, f"Cannot read {path}")
            return False
        if loadedNodes is not None:
            loadedNodes.AddItem(node)
        return True

    def saveNodes(self, fileType: str, properties: Properties, userMessages: Any = None) -> bool:
        """Write the scene, or one node into the file that it then belongs to."""
        path = str(properties["fileName"])
        if fileType == "SceneFile":
            return scene_files.save(path)
        node = slicer.mrmlScene.GetNodeByID(properties["nodeID"])
        storage = node.GetStorageNode()
        if storage is None or not storage.SupportedFileType(path):
            node.AddDefaultStorageNode(path)
            storage = node.GetStorageNode()
        return _write(node, storage, path, properties, userMessages)

    def exportNodes(
        self, nodeIDs: list[str], fileNames: list[str], properties: Properties, hardenTransform: bool = False, userMessages: Any = None
    ) -> bool:
        """Write nodes without changing which files they belong to."""
        if hardenTransform:
            message = "the stand-in exports in local coordinates only"
            raise NotImplementedError(message)
        written = []
        for node_id, path in zip(nodeIDs, fileNames, strict=True):
            node = slicer.mrmlScene.GetNodeByID(node_id)
            storage = node.CreateDefaultStorageNode()
            storage.UnRegister(None)
            storage.SetScene(slicer.mrmlScene)
            written.append(_write(node, storage, str(path), properties, userMessages))
        return all(written)

    def fileWriterFileType(self, node: Any) -> str:
        return str(node.GetClassName())

    def fileWriterExtensions(self, node: Any) -> list[str]:
        """Return formats as "NRRD (.nrrd)"."""
        storage = node.CreateDefaultStorageNode()
        storage.UnRegister(None)
        storage.SetScene(slicer.mrmlScene)  # the list comes from the scene's data i/o manager
        formats = storage.GetSupportedWriteFileTypes()
        return [formats.GetValue(index) for index in range(formats.GetNumberOfValues())]

    def extractKnownExtension(self, fileName: str, node: Any) -> str:
        ends = [slicer.vtkDataFileFormatHelper.GetFileExtensionFromFormatString(format_) for format_ in self.fileWriterExtensions(node)]
        return next((end for end in sorted(ends, key=len, reverse=True) if str(fileName).lower().endswith(end)), "")

    def addDefaultStorageNodes(self) -> None:
        for index in range(slicer.mrmlScene.GetNumberOfNodes()):
            node = slicer.mrmlScene.GetNthNode(index)
            if node.IsA("vtkMRMLStorableNode"):
                node.AddDefaultStorageNode()


def _write(node: Any, storage: Any, path: str, properties: Properties, messages: Any) -> bool:
    storage.SetFileName(path)
    if "useCompression" in properties:
        storage.SetUseCompression(int(bool(properties["useCompression"])))
    written = bool(storage.WriteData(node))
    if not written:
        _tell(messages, f"Cannot write {path}")
    return written


def _tell(messages: Any, text: str) -> None:
    if messages is not None:
        messages.AddMessage(vtk.vtkCommand.ErrorEvent, text)


def _name(path: str, properties: Properties) -> str:
    return str(properties.get("name") or Path(path).name.partition(".")[0])


def _volume(path: str, properties: Properties) -> Any:
    bits = {"labelmap": 1, "center": 2, "singleFile": 4, "autoWindowLevel": 8, "discardOrientation": 16}
    options = sum(bit for key, bit in bits.items() if properties.get(key, key == "autoWindowLevel"))
    node = slicer.modules.volumes.logic().AddArchetypeVolume(path, _name(path, properties), options)
    if node is not None and properties.get("show", True):
        selection = slicer.app.applicationLogic().GetSelectionNode()
        active = selection.SetActiveLabelVolumeID if node.IsA("vtkMRMLLabelMapVolumeNode") else selection.SetActiveVolumeID
        active(node.GetID())
        slicer.app.applicationLogic().PropagateVolumeSelection()
    return node


def _segmentation(path: str, properties: Properties) -> Any:
    colors = slicer.mrmlScene.GetNodeByID(properties["colorNodeID"]) if properties.get("colorNodeID") else None
    logic = slicer.modules.segmentations.logic()
    return logic.LoadSegmentationFromFile(path, bool(properties.get("autoOpacities", True)), _name(path, properties), colors)


def _model(path: str, _properties: Properties) -> Any:
    return slicer.modules.models.logic().AddModel(path)


def _markups(path: str, properties: Properties) -> Any:
    return slicer.mrmlScene.GetNodeByID(slicer.modules.markups.logic().LoadMarkups(path, _name(path, properties)) or "")


def _table(path: str, properties: Properties) -> Any:
    return slicer.modules.tables.logic().AddTable(path, _name(path, properties))


def _colors(path: str, properties: Properties) -> Any:
    return slicer.modules.colors.logic().LoadColorFile(path, _name(path, properties))


def _text(path: str, properties: Properties) -> Any:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode", _name(path, properties))
    node.AddDefaultStorageNode(path)
    return node if node.GetStorageNode().ReadData(node) else None


def _transform(path: str, _properties: Properties) -> Any:
    return slicer.modules.transforms.logic().AddTransform(path, slicer.mrmlScene)


_READERS: dict[str, Callable[[str, Properties], Any]] = {
    "VolumeFile": _volume,
    "SegmentationFile": _segmentation,
    "ModelFile": _model,
    "MarkupsFile": _markups,
    "TableFile": _table,
    "ColorTableFile": _colors,
    "TextFile": _text,
    "TransformFile": _transform,
}
