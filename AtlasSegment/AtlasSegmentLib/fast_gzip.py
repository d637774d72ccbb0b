"""Streams of .gz files: ISA-L through `isal` where it is installed, zlib otherwise. Same data either way."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

BLOCK_BYTES = 1 << 20
_ISAL_LEVEL = 2  # of 0-3; as fast as 1 on CT and 2 % smaller
_ZLIB_LEVEL = 1


@contextmanager
def open_read(path: Path) -> Iterator[BinaryIO]:
    """Open a gzip file for streamed reading; a truncated or damaged one raises EOFError, OSError or zlib.error."""
    try:
        from isal import igzip_threaded
    except ImportError:
        with gzip.open(path, "rb") as plain:
            yield cast("BinaryIO", plain)
        return
    with igzip_threaded.open(path, "rb", threads=1, block_size=BLOCK_BYTES) as stream:
        yield cast("BinaryIO", stream)


@contextmanager
def open_write(path: Path) -> Iterator[BinaryIO]:
    """Open a gzip file for streamed writing.

    The bytes depend on the content and the library alone: no time stamp, no file name, and the same blocks however
    many threads compress them, so that equal content gives equal files.
    """
    try:
        from isal import igzip_threaded
    except ImportError:
        with (
            Path(path).open("wb") as raw,
            gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=_ZLIB_LEVEL, mtime=0) as plain,
        ):
            yield cast("BinaryIO", plain)
        return
    threads = min(4, os.cpu_count() or 1)
    with igzip_threaded.open(path, "wb", compresslevel=_ISAL_LEVEL, threads=threads, block_size=BLOCK_BYTES) as stream:
        yield cast("BinaryIO", stream)
