"""A cure for PySide6 (seen in 6.12) on Python 3.10 and 3.11: some calls lose one reference to None, True or False.

After some thousand calls the interpreter dies ("Fatal Python error: none_dealloc"). From Python 3.12 on these are immortal, and here too.
"""

from __future__ import annotations

import ctypes
import sys

_ENOUGH = 1 << 40


def make_constants_immortal() -> None:
    """Give None, True and False more references than PySide6 can ever lose; does nothing on Python 3.12 and later."""
    if sys.version_info < (3, 12):
        for constant in (None, True, False):
            # The reference count is the first member of every object in CPython.
            ctypes.c_ssize_t.from_address(id(constant)).value += _ENOUGH
