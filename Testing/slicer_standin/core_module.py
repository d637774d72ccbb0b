"""`slicer.modules.volumes` and its like: one of Slicer's own modules, of which the stand-in has only the logic."""

from __future__ import annotations


class CoreModule:
    """A C++ module: its name and its logic."""

    __slots__ = ("_logic", "name", "path", "title")

    def __init__(self, name: str, logic: object) -> None:
        self.name = self.title = name
        self.path = ""
        self._logic = logic

    def logic(self) -> object:
        """Return the module's logic, the real one of slicer-core."""
        return self._logic

    def widgetRepresentation(self) -> None:
        message = f"the stand-in has no panel of Slicer's module {self.name}"
        raise NotImplementedError(message)
