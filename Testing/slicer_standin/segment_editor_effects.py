"""The effects of the stand-in's Segment Editor: Paint and Erase, which change the selected segment through Slicer's own logic."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from PySide6.QtWidgets import QPushButton
from vtk.util.numpy_support import vtk_to_numpy

from .stored_property import stored

Logic = slicer.vtkSlicerSegmentEditorLogic
NAMES = ("Paint", "Erase")


class SegmentEditorEffect:
    """An effect as `qMRMLSegmentEditorWidget.effectByName` gives it."""

    ModificationModeSet = Logic.ModificationModeSet
    ModificationModeAdd = Logic.ModificationModeAdd
    ModificationModeRemove = Logic.ModificationModeRemove
    ModificationModeRemoveAll = Logic.ModificationModeRemoveAll
    __slots__ = ("_logic", "name", "perSegment", "title")

    def __init__(self, name: str, logic: Any) -> None:
        self.name = self.title = name
        self.perSegment = True
        self._logic = logic

    def parameterSetNode(self) -> Any:
        return self._logic.GetSegmentEditorNode()

    def active(self) -> bool:
        return bool(self.parameterSetNode().GetActiveEffectName() == self.name)

    def saveStateForUndo(self) -> None:
        self._logic.SaveStateForUndo()

    def defaultModifierLabelmap(self) -> Any:
        """Return an empty image on the grid that is edited. Raises RuntimeError when there is no source volume."""
        if not self._logic.ResetModifierLabelmapToDefault():
            message = "there is no grid to edit on: the editor has no segmentation or no source volume"
            raise RuntimeError(message)
        return self._logic.GetModifierLabelmap()

    def selectedSegmentLabelmap(self) -> Any:
        self._logic.UpdateSelectedSegmentLabelmap()
        return self._logic.GetSelectedSegmentLabelmap()

    def modifySelectedSegmentByLabelmap(self, modifierLabelmap: Any, modificationMode: int, bypassMasking: bool = False) -> None:
        node = self._logic.GetSegmentationNode()
        segment_id = self.parameterSetNode().GetSelectedSegmentID()
        if not segment_id:
            message = "no segment is selected"
            raise RuntimeError(message)
        self._logic.ModifySegmentByLabelmap(node, segment_id, modifierLabelmap, modificationMode, True, bypassMasking)


class SegmentEditorEffects:
    """The part of qMRMLSegmentEditorWidget that chooses effects."""

    unorderedEffectsVisible, setUnorderedEffectsVisible = stored("unorderedEffectsVisible", bool, True, after="_fill_effects")

    def _make_effects(self) -> None:
        self._effects = {name: SegmentEditorEffect(name, self._logic) for name in NAMES}
        self._order: list[str] = []
        self._buttons: dict[str, QPushButton] = {}
        self._last_effect = ""
        self._fill_effects()

    def availableEffectNames(self) -> list[str]:
        return list(self._effects)

    def effectNameOrder(self) -> list[str]:
        return list(self._order)

    def setEffectNameOrder(self, effectNames: list[str]) -> None:
        self._order = list(effectNames)
        self._fill_effects()

    def _shown_effects(self) -> list[str]:
        ordered = [name for name in self._order if name in self._effects]
        return ordered + [name for name in self._effects if name not in ordered and self.unorderedEffectsVisible]

    def _fill_effects(self, *_: object) -> None:
        if not hasattr(self, "_buttons"):
            return
        for button in self._buttons.values():
            button.deleteLater()
        self._buttons = {}
        for name in self._shown_effects():
            button = self._buttons[name] = QPushButton(name, self._effect_bar)
            button.setCheckable(True)
            self._effect_bar.layout().addWidget(button)
            button.clicked.connect(lambda _checked, name=name: self.setActiveEffectByName(name))

    def effectCount(self) -> int:
        return len(self._buttons)

    def effectByName(self, name: str) -> SegmentEditorEffect | None:
        return self._effects.get(name)

    def effectByIndex(self, index: int) -> SegmentEditorEffect | None:
        """Return an effect by its place: 0 is no effect, 1 the first that is shown."""
        names = ["", *self._shown_effects()]
        return self._effects.get(names[index]) if index < len(names) else None

    def activeEffect(self) -> SegmentEditorEffect | None:
        node = self.mrmlSegmentEditorNode()
        return self._effects.get(node.GetActiveEffectName() or "") if node is not None else None

    def setActiveEffect(self, effect: SegmentEditorEffect | None) -> None:
        node = self.mrmlSegmentEditorNode()
        if node is not None:
            node.SetActiveEffectName(effect.name if effect is not None else "")

    def setActiveEffectByName(self, effectName: str) -> None:
        """Activate an effect, or none for a name that Slicer does not know; the stand-in refuses a name that it lacks itself."""
        if effectName and effectName not in self._effects:
            message = f"the stand-in has no effect {effectName}; it has {list(self._effects)}"
            raise NotImplementedError(message)
        self.setActiveEffect(self.effectByName(effectName))

    def _show_effects(self, ready: bool) -> None:
        active = self.mrmlSegmentEditorNode().GetActiveEffectName() or ""
        self._last_effect = active or self._last_effect
        self._effect_bar.setEnabled(ready)
        for name, button in self._buttons.items():
            button.setChecked(name == active)


def stroke(effect: SegmentEditorEffect, center_ras: tuple[float, float, float], radius_mm: float) -> None:
    """Do what one click with a sphere brush does: one undo state, then add or remove a ball (of the stand-in, not of Slicer)."""
    if effect.parameterSetNode().GetSourceVolumeNode() is None:
        message = "the editor's effects are disabled: it has no source volume"
        raise RuntimeError(message)
    effect.saveStateForUndo()
    labelmap = effect.defaultModifierLabelmap()
    voxels = vtk_to_numpy(labelmap.GetPointData().GetScalars())
    voxels[_distances(labelmap, center_ras) <= radius_mm] = 1
    labelmap.GetPointData().GetScalars().Modified()
    mode = Logic.ModificationModeRemove if effect.name == "Erase" else Logic.ModificationModeAdd
    effect.modifySelectedSegmentByLabelmap(labelmap, mode)


def _distances(labelmap: Any, center_ras: tuple[float, float, float]) -> np.ndarray:
    """Return the distance in mm of each voxel to a place, in the order of the scalars (i fastest)."""
    matrix = vtk.vtkMatrix4x4()
    labelmap.GetImageToWorldMatrix(matrix)
    extent = labelmap.GetExtent()
    axes = [np.arange(extent[2 * axis], extent[2 * axis + 1] + 1) for axis in range(3)]
    k, j, i = np.meshgrid(*reversed(axes), indexing="ij")
    indices = np.stack([i.ravel(), j.ravel(), k.ravel(), np.ones(i.size)])
    places = (slicer.util.arrayFromVTKMatrix(matrix) @ indices)[:3]
    return np.linalg.norm(places - np.asarray(center_ras)[:, None], axis=0)
