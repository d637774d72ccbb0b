"""The application logic, its scene with color tables and managers, and the logic objects of Slicer's own modules."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import slicer
import vtk

LOGICS = {
    "Colors": "vtkSlicerColorLogic",
    "Units": "vtkSlicerUnitsLogic",
    "Terminologies": "vtkSlicerTerminologiesModuleLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Models": "vtkSlicerModelsLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "Texts": "vtkSlicerTextsLogic",
    "CropVolume": "vtkSlicerCropVolumeLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Cameras": "vtkSlicerCamerasModuleLogic",
    "Data": "vtkSlicerDataModuleLogic",
}


def create(scene: slicer.vtkMRMLScene, temporary_path: str) -> slicer.vtkSlicerApplicationLogic:
    """Return the application logic on a scene that can read, write, color and place things as in Slicer."""
    _give_managers(scene, temporary_path)
    crosshair = slicer.vtkMRMLCrosshairNode()
    crosshair.SetCrosshairName("default")
    scene.AddNode(crosshair)
    logic = slicer.vtkSlicerApplicationLogic()
    logic.SetTemporaryPath(temporary_path)
    logic.SetMRMLScene(scene)
    logic.GetColorLogic().SetMRMLScene(scene)
    logic.GetColorLogic().AddDefaultColorNodes()
    logic.SetSliceLogics(vtk.vtkCollection())
    logic.SetViewLogics(vtk.vtkCollection())
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    return logic


def _give_managers(scene: slicer.vtkMRMLScene, temporary_path: str) -> None:
    cache = slicer.vtkCacheManager()
    cache.SetRemoteCacheDirectory(temporary_path)
    cache.SetMRMLScene(scene)
    manager = slicer.vtkDataIOManager()
    manager.SetCacheManager(cache)
    scene.SetCacheManager(cache)
    scene.SetDataIOManager(manager)  # without it no node has a format to be written in


def terminology_folder() -> Path | None:
    """Return a folder with Slicer's terminology files (trame-slicer ships them), or None when that package is missing."""
    package = importlib.util.find_spec("trame_slicer")
    if package is None or package.origin is None:
        return None
    folder = Path(package.origin).parent / "resources" / "terminologies"
    return folder if folder.is_dir() else None


def module_logics(application_logic: slicer.vtkSlicerApplicationLogic, scene: slicer.vtkMRMLScene) -> dict[str, object]:
    """Return module name -> logic; each one knows the application and the scene, as in Slicer."""
    logics = {name: getattr(slicer, class_name)() for name, class_name in LOGICS.items() if name != "Colors"}
    logics = {"Colors": application_logic.GetColorLogic(), **logics}
    for name, logic in logics.items():
        if name == "Terminologies" and (folder := terminology_folder()) is not None:
            logic.SetModuleShareDirectory(str(folder))
        if name != "Colors":
            logic.SetMRMLApplicationLogic(application_logic)
            logic.SetMRMLScene(scene)
        application_logic.SetModuleLogic(name, logic)
    return logics
