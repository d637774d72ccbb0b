"""A small stand-in for the Slicer application, for tests of scripted modules without Slicer.

It stands on two real things: the wheel ``slicer-core`` (Slicer's scene, nodes, logics and ``slicer.util``) and ``PySide6`` (Qt).
``start()`` adds what the application would: the Python modules ``qt`` and ``ctk`` as PythonQt gives them, and the rest of ``slicer``.
It is strict: an unknown attribute raises, and an exception in a slot, timer, event filter or observer is a fault (``faults.check()``).
"""

from __future__ import annotations

import os
import sys
from typing import Any


def install_qt() -> None:
    """Put ``qt`` and ``ctk`` into sys.modules, make dialogs answered by the test, and record faults. Calling it again does nothing."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
    # PythonQt's enums are ints; PySide6 reads this when it is first imported.
    os.environ.setdefault("PYSIDE6_OPTION_PYTHON_ENUM", "0x2")
    if "qt" in sys.modules:
        return
    from . import faults, immortal_constants, qt_module

    if not isinstance(qt_module.QtCore.Qt.Checked, int):
        message = "PySide6 was imported before slicer_standin, without enums as ints"
        raise RuntimeError(message)
    immortal_constants.make_constants_immortal()
    sys.modules["qt"] = qt_module.namespace()
    from . import ctk_module, dialogs

    sys.modules["ctk"] = ctk_module.namespace()
    dialogs.install()
    faults.install()


def start(version: tuple[int, int] = (5, 12)) -> Any:
    """Start the stand-in application once per process and return ``slicer.app``.

    Args:
        version: the Slicer version that ``slicer.app`` reports, as (major, minor).
    """
    install_qt()
    from .application import install_slicer

    return install_slicer(version)
