"""A cure for PySide6 (seen in 6.12) on Python 3.10 and 3.11: each call of a C++ function without result loses one reference to None.

After some thousand calls the interpreter dies ("Fatal Python error: none_dealloc"). From Python 3.12 on None is immortal, and here too.
"""

from __future__ import annotations

import ctypes
import sys

_ENOUGH = 1 << 40


def make_none_immortal() -> None:
    """Give None more references than PySide6 can ever lose; does nothing on Python 3.12 and later."""
    if sys.version_info < (3, 12):
        # The reference count is the first member of every object in CPython.
        ctypes.c_ssize_t.from_address(id(None)).value += _ENOUGH
