"""VTK observers for stand-in widgets: they neither keep a widget alive nor call into a deleted one."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import shiboken6
import vtk
from PySide6.QtCore import QObject


class Observers:
    """The observers of one widget, removed together when the widget changes its subject or dies."""

    def __init__(self, owner: QObject) -> None:
        self._owner = weakref.ref(owner)
        tags: list[tuple[weakref.ref[vtk.vtkObject], int]] = []
        self._tags = tags
        owner.destroyed.connect(lambda *_: _remove(tags))

    def add(self, subject: vtk.vtkObject, event: int, method: str, *, node_as_call_data: bool = False) -> None:
        """Call the owner's method `method(caller, event, call_data)`; call_data is None unless it is known to be an object."""
        owner, tags = self._owner, self._tags

        def forward(caller: vtk.vtkObject, name: str, call_data: object = None) -> None:
            widget = owner()
            if widget is None or not shiboken6.isValid(widget):
                _remove(tags)
            else:
                getattr(widget, method)(caller, name, call_data)

        if node_as_call_data:  # any other event's call data may be something else: a char* for SegmentAdded, which would crash
            forward.CallDataType = vtk.VTK_OBJECT  # type: ignore[attr-defined]
        self._tags.append((weakref.ref(subject), subject.AddObserver(event, forward)))

    def clear(self) -> None:
        """Remove all of them."""
        _remove(self._tags)

    def __len__(self) -> int:
        return len(self._tags)


def _remove(tags: list[tuple[weakref.ref[vtk.vtkObject], int]]) -> None:
    for reference, tag in tags:
        subject = reference()
        if subject is not None:
            subject.RemoveObserver(tag)
    tags.clear()


def observe_nodes(scene: vtk.vtkObject, event: int, callback: Callable[[vtk.vtkObject], None]) -> int:
    """Call `callback(node)` at a scene event whose call data is a node; return the observer's tag."""

    def forward(_scene: vtk.vtkObject, _name: str, node: vtk.vtkObject) -> None:
        callback(node)

    forward.CallDataType = vtk.VTK_OBJECT  # type: ignore[attr-defined]
    return int(scene.AddObserver(event, forward))
