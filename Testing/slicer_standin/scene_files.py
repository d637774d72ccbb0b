"""Saving and loading a whole scene: .mrb (scene and data in one archive), .mrml (the scene alone) or a folder of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
import vtk


def save(path: str) -> bool:
    """Write the scene; data of nodes go into a .mrb or a folder, a .mrml refers to the files that they already have."""
    scene = slicer.mrmlScene
    if path.lower().endswith(".mrb"):
        return bool(scene.WriteToMRB(path, None, None))
    if path.lower().endswith(".mrml"):
        scene.SetURL(path)
        scene.SetRootDirectory(str(Path(path).parent))
        return bool(scene.Commit(path))
    Path(path).mkdir(parents=True, exist_ok=True)
    return bool(scene.SaveSceneToSlicerDataBundleDirectory(path, None, None))


def load(path: str, clear: bool, messages: Any) -> bool:
    """Read a scene into the one that is open, after closing it when `clear` is set."""
    if not Path(path).is_file():
        messages.AddMessage(vtk.vtkCommand.ErrorEvent, f"Cannot read {path}")
        return False
    scene = slicer.mrmlScene
    if path.lower().endswith(".mrb"):
        return bool(scene.ReadFromMRB(path, clear, messages))
    scene.SetURL(path)
    return bool(scene.Connect(messages) if clear else scene.Import(messages))
