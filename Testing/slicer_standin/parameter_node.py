"""`slicer.parameterNodeWrapper`: typed access to a vtkMRMLScriptedModuleNode and its binding to widgets."""

from __future__ import annotations

import typing
import weakref
from collections.abc import Mapping
from typing import Any

import slicer
import slicer.util
import vtk
from PySide6.QtWidgets import QWidget

from .parameter_annotations import HINTS, Default, Validator, find, split_annotations
from .parameter_codecs import codec_for
from .parameter_gui import GuiConnector, createGuiConnector

PUBLIC = ("parameterNodeWrapper", "isParameterNodeWrapper", "findChildWidgetForParameter", "SlicerParameterNamePropertyName")
SlicerParameterNamePropertyName = "SlicerParameterName"


class _Parameter:
    """What a class says about one of its parameters."""

    def __init__(self, owner: type, name: str, hint: Any) -> None:
        self.name, self.unalteredType = name, hint
        _, annotations = split_annotations(hint)
        unknown = [annotation for annotation in annotations if not isinstance(annotation, (Validator, *HINTS))]
        if unknown:
            message = f"{owner.__name__}.{name}: annotations without effect: {unknown}"
            raise TypeError(message)
        self.codec = codec_for(hint)
        if hasattr(owner, name):
            self.default = Default(getattr(owner, name))
        else:
            self.default = find(annotations, Default) or Default(generator=self.codec.default)


class _Values:
    """The values of one wrapper: read once, read again when the node was changed by someone else."""

    def __init__(self, node: slicer.vtkMRMLScriptedModuleNode, parameters: Mapping[str, _Parameter]) -> None:
        self._node, self._parameters, self._writing = node, parameters, False
        self._values = {name: self._read(parameter) for name, parameter in parameters.items()}
        myself = weakref.ref(self)  # the observer must not keep this object alive, or it would never be removed

        def refresh(_caller: vtk.vtkObject, _event: str) -> None:
            values = myself()
            if values is not None and not values._writing:
                values._values = {name: values._read(parameter) for name, parameter in values._parameters.items()}

        self._tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, refresh)

    def __del__(self) -> None:
        if hasattr(self, "_tag"):
            self._node.RemoveObserver(self._tag)

    def _read(self, parameter: _Parameter) -> Any:
        if not parameter.codec.is_in(self._node, parameter.name):
            parameter.codec.write(self._node, parameter.name, parameter.default.value)
        return parameter.codec.read(self._node, parameter.name)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __setitem__(self, name: str, value: Any) -> None:
        parameter = self._parameters[name]
        self._writing = True
        try:
            with slicer.util.NodeModify(self._node):  # observers of the node see the new value here already
                parameter.codec.write(self._node, name, value)
                self._values[name] = parameter.codec.read(self._node, name)
        finally:
            self._writing = False


class _Wrapper:
    """What each class decorated with parameterNodeWrapper can do."""

    allParameters: typing.ClassVar[dict[str, _Parameter]]

    def __init__(self, parameterNode: slicer.vtkMRMLScriptedModuleNode) -> None:
        self.parameterNode = parameterNode
        self._values = _Values(parameterNode, self.allParameters)
        self._connectors: dict[int, dict[str, GuiConnector]] = {}
        self._observerTags: dict[int, int] = {}
        self._nextTag = 0
        self._updatingGui = False

    def __setattr__(self, name: str, value: Any) -> None:
        # Python would take it, as it does in Slicer, where a misspelled parameter is then silently never saved.
        if not name.startswith("_") and name != "parameterNode" and not hasattr(type(self), name):
            message = f"{type(self).__name__} has no parameter {name!r}; it has {list(self.allParameters)}"
            raise AttributeError(message)
        super().__setattr__(name, value)

    def getValue(self, name: str) -> Any:
        return self._values[_checked(type(self), name)]

    def setValue(self, name: str, value: Any) -> None:
        self._values[_checked(type(self), name)] = value

    def default(self, name: str) -> Default:
        return self.allParameters[_checked(type(self), name)].default

    def isCached(self, name: str) -> bool:
        return bool(_checked(type(self), name))

    @classmethod
    def dataType(cls, name: str) -> Any:
        return cls.allParameters[_checked(cls, name)].unalteredType

    def StartModify(self) -> int:
        return int(self.parameterNode.StartModify())

    def EndModify(self, wasModified: int) -> int:
        return int(self.parameterNode.EndModify(wasModified))

    def AddObserver(self, event: int, callback: Any, priority: float = 0.0) -> int:
        return int(self.parameterNode.AddObserver(event, callback, priority))

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> None:
        self.parameterNode.Modified()

    def connectGui(self, gui: Any) -> int:
        """Bind each widget of `gui` (a widget, or what childWidgetVariables gives) that names a parameter; return a tag."""
        widgets = gui.findChildren(QWidget) if isinstance(gui, QWidget) else list(vars(gui).values())
        named = {widget.property(SlicerParameterNamePropertyName): widget for widget in widgets}
        return self.connectParametersToGui({name: widget for name, widget in named.items() if name})

    def connectParametersToGui(self, mapping: Mapping[str, Any]) -> int:
        """Bind widgets by parameter name; return a tag for disconnectGui."""
        for name in mapping:
            _checked(type(self), name)
        tag, self._nextTag = self._nextTag, self._nextTag + 1
        made = {name: _connector(widget, self.dataType(name)) for name, widget in mapping.items()}
        self._connectors[tag] = made
        for name, connector in made.items():
            connector.write(self.getValue(name))
            connector.onChanged(lambda name=name, connector=connector: self._takeFromGui(name, connector))
        self._observerTags[tag] = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda _caller, _event: self._updateGui())
        return tag

    def disconnectGui(self, guiTag: int | None) -> None:
        """End a binding; an unknown tag is ignored."""
        for connector in self._connectors.pop(guiTag, {}).values():  # type: ignore[arg-type]
            connector.onChanged(None)
        if guiTag in self._observerTags:
            self.RemoveObserver(self._observerTags.pop(guiTag))

    def _takeFromGui(self, name: str, connector: GuiConnector) -> None:
        if not self._updatingGui:
            self.setValue(name, connector.read())

    def _updateGui(self) -> None:
        if self._updatingGui:
            return
        self._updatingGui = True
        try:
            with slicer.util.NodeModify(self):
                for connectors in list(self._connectors.values()):
                    for name, connector in connectors.items():
                        connector.write(self.getValue(name))
        finally:
            self._updatingGui = False


def parameterNodeWrapper(classtype: type | None = None) -> Any:
    """Class decorator: each type hint of the class becomes a property kept in the wrapped parameter node."""
    return _wrap if classtype is None else _wrap(classtype)


def isParameterNodeWrapper(classOrObject: Any) -> bool:
    """Return whether this is a decorated class or an object of one."""
    return isinstance(classOrObject, _Wrapper) or (isinstance(classOrObject, type) and issubclass(classOrObject, _Wrapper))


def findChildWidgetForParameter(widget: QWidget, parameter: str) -> QWidget | None:
    """Return the child widget that names this parameter, or None."""
    return next((child for child in widget.findChildren(QWidget) if child.property(SlicerParameterNamePropertyName) == parameter), None)


def _wrap(classtype: type) -> type:
    hints = typing.get_type_hints(classtype, include_extras=True)
    reserved = [name for name in (*hints, *vars(classtype)) if not name.startswith("__") and hasattr(_Wrapper, name)]
    if reserved:
        message = f"Cannot use reserved name '{reserved[0]}' in a parameterNodeWrapper"
        raise ValueError(message)
    parameters = {name: _Parameter(classtype, name, hint) for name, hint in hints.items()}
    own = {name: value for name, value in vars(classtype).items() if name not in {"__dict__", "__weakref__", "__init__"}}
    properties = {name: _property(name) for name in parameters}
    return type(classtype.__name__, (_Wrapper,), {**own, **properties, "allParameters": parameters})


def _property(name: str) -> property:
    return property(lambda self: self.getValue(name), lambda self, value: self.setValue(name, value))


def _checked(owner: type[_Wrapper], name: str) -> str:
    if name not in owner.allParameters:
        message = f"Cannot find a param with the given name: {name}; found parameters {list(owner.allParameters)}"
        raise ValueError(message)
    return name


def _connector(widget: Any, hint: Any) -> GuiConnector:
    return widget if isinstance(widget, GuiConnector) else createGuiConnector(widget, hint)
