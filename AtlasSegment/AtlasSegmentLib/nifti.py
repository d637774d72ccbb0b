"""NIfTI-1 and NIfTI-2, read and written as a stream of slabs; gzip by ISA-L where it is installed."""

from __future__ import annotations

import logging
import math
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np

from AtlasSegmentLib import fast_gzip, geometry
from AtlasSegmentLib.errors import GeometryError, InputError
from AtlasSegmentLib.files import atomic_path
from AtlasSegmentLib.nifti_header import BLOCKS, NiftiHeader, encode, parse
from AtlasSegmentLib.volume import Array, Grid, Volume

_log = logging.getLogger(__name__)

SLAB_BYTES = 8 << 20
_DEFLATE_LIMIT = 1100  # deflate cannot shrink data more than 1032 times
_AGAIN = "Copy or export the file again; if a step of atlas made it, run that step again with --force."


def read_nifti(path: Path) -> Volume:
    """Read a .nii or .nii.gz file.

    Returns:
        Array (X, Y, Z) in Fortran order with the dtype of the file; float32 when the header scales the values.
        The affine is sform, else qform, else the voxel sizes; in mm whatever the header's unit is.

    Raises:
        InputError: Missing, truncated, damaged, not NIfTI, not 3-D, or a voxel type that is not a number.
    """
    with _opened(Path(path)) as (grid, stream):
        array = np.empty(grid.shape, grid.header.dtype, order="F")
        with _read_errors(Path(path)):
            _fill(stream, array, grid)
            _finish(stream)
    return Volume(_scaled(array, grid.header), grid.affine, str(path), grid.header)


def check_whole(path: Path) -> Grid:
    """Check that a NIfTI file is not truncated, and return its grid.

    A .gz file ends with the size of its content: where that is the size that the header promises, nothing is unpacked.

    Raises:
        InputError: As `read_nifti`.
    """
    path = Path(path)
    grid = read_grid(path)
    size = grid.header.offset + math.prod(grid.shape) * grid.header.dtype.itemsize
    with _read_errors(path), path.open("rb") as file:
        zipped = path.name.lower().endswith(".gz")
        file.seek(-4 if zipped else 0, 2)
        if (int.from_bytes(file.read(), "little") == size % (1 << 32)) if zipped else file.tell() >= size:
            return grid
    with open_slabs(path) as (_, slabs):  # members or bytes after the voxels: nothing but reading tells
        for _ in slabs:
            pass
    return grid


def read_grid(path: Path) -> Grid:
    """Read shape, affine and header of a NIfTI file; no voxel is read. Raises InputError as `read_nifti`."""
    with _opened(Path(path)) as (grid, _):
        return grid


@contextmanager
def open_slabs(path: Path) -> Iterator[tuple[Grid, Iterator[tuple[int, Array]]]]:
    """Open a NIfTI file for reading in slabs along z, so that the whole array is never in memory.

    Yields:
        (grid, iterator of (first z, array (X, Y, n))). A slab is valid until the next one is taken.

    Raises:
        InputError: As `read_nifti`.
    """
    with _opened(Path(path)) as (grid, stream):
        yield grid, _slabs(stream, grid)


def _slabs(stream: BinaryIO, grid: Grid) -> Iterator[tuple[int, Array]]:
    dtype = grid.header.dtype
    x, y, depth = grid.shape
    thick = max(1, SLAB_BYTES // max(1, x * y * dtype.itemsize))
    buffer = np.empty((x, y, min(thick, depth)), dtype, order="F")
    for first in range(0, depth, thick):
        slab = buffer[:, :, : min(thick, depth - first)]
        with _read_errors(Path(grid.source)):
            _fill(stream, slab, grid)
        yield first, _scaled(slab, grid.header)
    with _read_errors(Path(grid.source)):
        _finish(stream)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Grid, BinaryIO]]:
    """Open the file, parse its header and yield (grid, stream at the first voxel)."""
    with ExitStack() as stack:
        with _read_errors(path):
            zipped = path.name.lower().endswith(".gz")
            stream = stack.enter_context(fast_gzip.open_read(path) if zipped else path.open("rb"))
            grid = _grid_of(_read_header(stream, path), path)
            _check_length(grid, path.stat().st_size * (_DEFLATE_LIMIT if zipped else 1))
        yield grid, stream


@contextmanager
def _read_errors(path: Path) -> Iterator[None]:
    """Turn what a damaged or missing file raises in the block into an InputError.

    It stands around the reading alone: an error of the code that takes the slabs is about another file.
    """
    try:
        yield
    except (EOFError, zlib.error) as error:
        message = f"{path}: the file is truncated or damaged ({error})."
        raise InputError(message, _AGAIN) from error
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror or error})."
        raise InputError(message, _AGAIN if path.is_file() else "Check the path and its permissions.") from error


def _check_length(grid: Grid, most: int) -> None:
    """Refuse a shape that cannot be in the file before memory is asked for it."""
    size = math.prod(grid.shape) * grid.header.dtype.itemsize
    if size > most:
        message = f"{grid.source}: the file is truncated or damaged: shape {grid.shape} takes {size} bytes, more than it can hold."
        raise InputError(message, _AGAIN)


def _read_header(stream: IO[bytes], path: Path) -> NiftiHeader:
    start = stream.read(4)
    size = next((n for n in (int.from_bytes(start, "little"), int.from_bytes(start, "big")) if n in BLOCKS), 0)
    if not size:
        message = f"{path}: is not a NIfTI file (the header begins with {start.hex() or 'nothing'})."
        raise InputError(message, "Give a .nii or .nii.gz file, or convert it first.")
    block = start + stream.read(size - 4)
    if len(block) < size:
        message = f"{path}: the file is truncated inside its header ({len(block)} bytes)."
        raise InputError(message, _AGAIN)
    try:
        header = parse(block)
    except ValueError as error:
        message = f"{path}: the NIfTI header cannot be used: {error}."
        raise InputError(message, _AGAIN) from error
    for fault in header.mended:
        _log.warning("%s: %s.", path, fault)
    _skip(stream, header.offset - size)
    return header


def _skip(stream: IO[bytes], count: int) -> None:
    """Read past `count` bytes; in pieces, as a damaged header may ask for more than there is memory."""
    while count > 0 and (piece := stream.read(min(count, 1 << 20))):
        count -= len(piece)


def _grid_of(header: NiftiHeader, path: Path) -> Grid:
    shape = header.shape
    if len(shape) != 3:
        message = f"{path}: expected a 3-D image, got {len(shape)}-D with shape {shape}."
        raise InputError(message, "Extract one 3-D volume first, for example with Slicer or SimpleITK.")
    if min(shape) < 1:
        message = f"{path}: the image is empty, its shape is {shape}."
        raise InputError(message, _AGAIN)
    try:
        affine = geometry.check_affine(header.affine, str(path))
    except GeometryError as error:
        raise InputError(error.message, error.remedy) from error
    return Grid((shape[0], shape[1], shape[2]), affine, str(path), header)


def _fill(stream: BinaryIO, array: Array, grid: Grid) -> None:
    """Read the bytes of a Fortran-ordered array straight into its memory."""
    memory = array.reshape(-1, order="F").view(np.uint8).data
    done = 0
    while done < len(memory):
        count = stream.readinto(memory[done:])  # type: ignore[attr-defined]
        if not count:
            message = f"{grid.source}: the file is truncated: voxels are missing for its shape {grid.shape}."
            raise InputError(message, _AGAIN)
        done += count


def _finish(stream: BinaryIO) -> None:
    """Read to the end: only there does gzip verify its checksum."""
    while stream.read(1 << 16):
        pass


def _scaled(array: Array, header: NiftiHeader) -> Array:
    if (header.slope, header.intercept) == (1.0, 0.0):
        return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
    scaled = array.astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # a damaged header; whoever needs finite voxels checks them
        scaled *= np.float32(header.slope)
        scaled += np.float32(header.intercept)
    return scaled


def write_nifti(path: Path, volume: Volume) -> None:
    """Write a volume as .nii or .nii.gz (by the name), atomically, with its dtype.

    The header that the volume was read with (sform, qform, description) is kept; its scaling is not, as the voxels
    are written as they are.

    Raises:
        StorageError: The disk is full or the folder cannot be written.
        InputError: The dtype has no place in NIfTI (bool becomes uint8, float16 becomes float32).
    """
    array = volume.array
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    elif array.dtype == np.float16:
        array = array.astype(np.float32)
    thick = max(1, SLAB_BYTES // max(1, array.shape[0] * array.shape[1] * array.dtype.itemsize))
    slabs = (array[:, :, z : z + thick] for z in range(0, array.shape[2], thick))
    write_slabs(path, volume.grid, array.dtype, slabs)


def write_slabs(path: Path, grid: Grid, dtype: Any, slabs: Iterable[Array], slope: float = 1.0) -> None:
    """Write slabs (X, Y, n) that follow one another along z as one NIfTI file; readers multiply by `slope`.

    Raises:
        StorageError, InputError: As `write_nifti`.
        GeometryError: The slabs do not add up to the grid; nothing is written.
        TypeError: A slab has another dtype (byte order aside).
    """
    stored = np.dtype(dtype).newbyteorder("=")
    header = _header_for(grid, stored, slope, str(path))
    depth = 0
    with atomic_path(Path(path)) as temporary:
        opened = fast_gzip.open_write(temporary) if Path(path).name.lower().endswith(".gz") else temporary.open("wb")
        with opened as stream:
            stream.write(header)
            for slab in slabs:
                _check_slab(slab, depth, grid, str(path))
                depth += slab.shape[2]
                voxels = slab.transpose(2, 1, 0).astype(stored, order="C", casting="equiv", copy=False)
                stream.write(voxels.data.cast("B"))
        if depth != grid.shape[2]:
            message = f"{path}: got slabs for {depth} of {grid.shape[2]} slices."
            raise GeometryError(message)


def _check_slab(slab: Array, first: int, grid: Grid, what: str) -> None:
    if slab.ndim != 3 or slab.shape[:2] != grid.shape[:2] or not 0 < slab.shape[2] <= grid.shape[2] - first:
        message = f"{what}: a slab of shape {slab.shape} at slice {first} does not fit the grid {grid.shape}."
        raise GeometryError(message)


def _header_for(grid: Grid, dtype: np.dtype[Any], slope: float, what: str) -> bytes:
    if min(grid.shape) < 1:
        message = f"{what}: an image of shape {grid.shape} has no voxels to write."
        raise InputError(message)
    new = NiftiHeader(grid.shape, dtype, 0, np.asarray(grid.affine, np.float64), slope)
    old = grid.header
    if isinstance(old, NiftiHeader):
        new = replace(new, sform_code=old.sform_code, qform_code=old.qform_code, description=old.description)
    try:
        return encode(new)
    except ValueError as error:
        message = f"{what}: {error}."
        raise InputError(message, "Convert them to integers or float32 first.") from error
