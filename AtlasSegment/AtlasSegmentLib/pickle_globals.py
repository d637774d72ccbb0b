"""Which classes and functions a pickle asks for, found by looking at it: nothing is imported, nothing is run."""

from __future__ import annotations

import pickletools
import re
import zipfile
from collections.abc import Collection
from pathlib import Path

_LARGEST = 1 << 28
_FREE = re.compile(
    r"collections\.(OrderedDict|Counter)|_codecs\.encode|(builtins|__builtin__)\.(set|bytearray|complex)"
    r"|torch\.(\w+Storage|device|Size|Tensor|(b?float|u?int|complex|bool|double|long|half|short)\w*)"
    r"|torch\.(nn\.parameter\.Parameter|_utils\._rebuild_\w+|_tensor\._rebuild_from_type_v2|storage\.\w+Storage|serialization\._get_layout)"
)
"""What PyTorch's restricted reader takes by itself; used for messages alone."""


def globals_of(path: Path, known: Collection[str] = ()) -> list[str]:
    """Return the dotted names that a torch.save file asks for, sorted.

    Args:
        path: An archive of torch.save, or a bare pickle as it wrote before version 1.6. A damaged one is read as far as it goes.
        known: Names to leave out.
    """
    return sorted(name for name in _names(_pickle_in(path)) if name not in known and not _FREE.fullmatch(name))


def _pickle_in(path: Path) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            entry = next((entry for entry in archive.infolist() if entry.filename.endswith("/data.pkl")), None)
            return archive.read(entry) if entry is not None and entry.file_size < _LARGEST else b""
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError):
        with path.open("rb") as file:
            return file.read(_LARGEST)


def _names(data: bytes) -> set[str]:
    """Return the names in one pickle or in several that follow each other."""
    names: set[str] = set()
    texts: list[str] = []
    position = 0
    while position < len(data):
        try:
            for code, argument, place in pickletools.genops(data[position:]):
                end = place or 0
                if code.name == "GLOBAL" and isinstance(argument, str):
                    names.add(".".join(argument.split(" ", 1)))
                elif code.name == "STACK_GLOBAL":
                    names.add(".".join(texts[-2:]))
                elif isinstance(argument, str):
                    texts.append(argument)
        except (ValueError, EOFError, IndexError, KeyError, UnicodeDecodeError):  # not a pickle from here on
            break
        position += end + 1
    return names
