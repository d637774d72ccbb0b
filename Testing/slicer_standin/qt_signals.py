"""``object.connect("signal(type)", slot)`` and ``disconnect`` as PythonQt has them."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable
from typing import Any

import shiboken6
from PySide6.QtCore import QMetaMethod, QMetaObject, QObject

from .qt_properties import QT6_MEMBERS

Slot = Callable[..., Any]

# Signals that Qt 6 renamed. They work, with a warning: our modules use names that Qt 5.15 and Qt 6 share.
QT5_SIGNALS = {
    "currentIndexChanged(QString)": "currentTextChanged",
    "activated(QString)": "textActivated",
    "highlighted(QString)": "textHighlighted",
    "valueChanged(QString)": "textChanged",
    "buttonClicked(int)": "idClicked",
    "error(QProcess::ProcessError)": "errorOccurred",
}
_BUILTIN = (type(len), type([].append))
_SIGNATURE = re.compile(r"\s*(\w+)\s*\((.*)\)\s*$")

_connections: dict[int, dict[tuple[str, Any], list[Slot]]] = {}


def connect(self: QObject, signal: Any, receiver: Any, slot: Any = None, *rest: Any) -> bool:
    """Connect ``signal`` ("clicked(bool)") to a callable, or to a slot of another object named by its signature.

    The callable gets as many of the signal's arguments as it has positional parameters.
    """
    if isinstance(signal, QObject):  # static form, which PySide6's own QTimer.singleShot uses
        self, signal, receiver, slot = signal, receiver, slot, next((text for text in rest if isinstance(text, str)), None)
    if isinstance(slot, str):
        receiver = getattr(receiver, split_signature(slot)[0])
    bound, name, count = _find_signal(self, signal)
    adaptor = _adaptor(receiver, count)
    _table(self).setdefault((name, receiver), []).append(adaptor)
    bound.connect(adaptor)
    return True


def disconnect(self: QObject, signal: str | None = None, receiver: Any = None, slot: str | None = None) -> bool:
    """Disconnect what ``connect`` made: one pair, all slots of a signal, or everything of the object; False when there was nothing."""
    table = _table(self)
    if signal is None:
        return bool([disconnect(self, name) for name in {key[0] for key in table}])
    if slot is not None:
        receiver = getattr(receiver, split_signature(slot)[0])
    bound, name, _ = _find_signal(self, signal)
    keys = [key for key in table if key[0] == name and (receiver is None or key[1] == receiver)]
    adaptors = [adaptor for key in keys for adaptor in table.pop(key)]
    for adaptor in adaptors:
        bound.disconnect(adaptor)
    return bool(adaptors)


def split_signature(signature: str) -> tuple[str, list[str]]:
    """Return name and argument types of "name(type,type)"."""
    match = _SIGNATURE.match(signature.lstrip("012"))
    if match is None:
        message = f"{signature!r} is no signature such as 'clicked()' or 'toggled(bool)'"
        raise ValueError(message)
    return match.group(1), [text.strip() for text in match.group(2).split(",") if text.strip()]


def _find_signal(instance: QObject, signature: str) -> tuple[Any, str, int]:
    name, types = split_signature(signature)
    old = f"{name}({','.join(types)})"
    if old in QT5_SIGNALS and instance.metaObject().indexOfSignal(old) < 0:
        warnings.warn(f"Qt 6 has no signal {old}: use {QT5_SIGNALS[old]}, which Qt 5.15 has too", DeprecationWarning, stacklevel=4)
        name = QT5_SIGNALS[old]
    if name in QT6_MEMBERS or not _is_declared(instance, name, types):
        message = f"{type(instance).__name__} has no signal {signature}"
        raise ValueError(message)
    return getattr(instance, name), name, len(types)


def _is_declared(instance: QObject, name: str, types: list[str]) -> bool:
    wanted = split_signature(bytes(QMetaObject.normalizedSignature(f"{name}({','.join(types)})")).decode())[1]
    meta = instance.metaObject()
    for method in (meta.method(index) for index in range(meta.methodCount())):
        if method.methodType() == QMetaMethod.Signal and bytes(method.name()).decode() == name:
            declared = [bytes(type_).decode() for type_ in method.parameterTypes()]
            # A signal declared in Python with an object parameter stands for any C++ type, such as vtkMRMLNode*.
            if len(declared) == len(wanted) and all(d in {w, "PyObject"} for d, w in zip(declared, wanted, strict=True)):
                return True
    return False


def _table(instance: QObject) -> dict[tuple[str, Any], list[Slot]]:
    pointer = shiboken6.getCppPointer(instance)[0]
    if pointer not in _connections:
        _connections[pointer] = {}
        # Another object may get the same address later.
        instance.destroyed.connect(lambda *_: _connections.pop(pointer, None))
    return _connections[pointer]


def _adaptor(receiver: Slot, count: int) -> Slot:
    """Return a function with exactly ``count`` parameters: PySide6 picks the signal's overload by them."""
    call = _truncating(receiver)
    by_count: tuple[Slot, ...] = (
        lambda: call(()),
        lambda a: call((a,)),
        lambda a, b: call((a, b)),
        lambda a, b, c: call((a, b, c)),
        lambda a, b, c, d: call((a, b, c, d)),
    )
    return by_count[count]


def _truncating(receiver: Slot) -> Callable[[tuple[Any, ...]], Any]:
    if isinstance(receiver, _BUILTIN):
        return lambda values: _call_native(receiver, values)
    limit = _positional_count(receiver)
    return lambda values: receiver(*values[:limit])


def _positional_count(receiver: Slot) -> int | None:
    """Return how many positional arguments a Python function takes; None for any number (PythonQt passes all of them)."""
    if not (inspect.ismethod(receiver) or inspect.isfunction(receiver)):
        return None
    code = getattr(receiver, "__code__", None)
    if code is None or code.co_flags & inspect.CO_VARARGS:
        return None
    return code.co_argcount - (1 if inspect.ismethod(receiver) else 0)


def _call_native(receiver: Slot, values: tuple[Any, ...]) -> Any:
    owner = getattr(receiver, "__self__", None)
    if isinstance(owner, QObject) and not shiboken6.isValid(owner):
        return None  # Qt drops the connections of a destroyed receiver
    # A C++ slot may take fewer arguments than the signal has, and only calling it tells.
    for count in range(len(values), 0, -1):
        try:
            return receiver(*values[:count])
        except TypeError:
            continue
    return receiver()
