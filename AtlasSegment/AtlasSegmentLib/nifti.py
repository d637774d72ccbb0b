"""NIfTI-1 and NIfTI-2, read and written as a stream of slabs: nibabel for the header, ISA-L for the voxels."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

import nibabel as nib
import numpy as np

from AtlasSegmentLib import fast_gzip, geometry
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.files import atomic_path
from AtlasSegmentLib.volume import Array, Grid, Volume

SLAB_BYTES = 8 << 20
_MM_PER_UNIT = {"unknown": 1.0, "mm": 1.0, "meter": 1000.0, "micron": 0.001}
_HEADER_CLASSES = {348: nib.Nifti1Header, 540: nib.Nifti2Header}
_AGAIN = "Copy or export the file again."


def read_nifti(path: Path) -> Volume:
    """Read a .nii or .nii.gz file.

    Returns:
        Array (X, Y, Z) in Fortran order with the dtype of the file; float32 when the header scales the values.
        The affine is sform, else qform, else the voxel sizes; in mm whatever the header's unit is.

    Raises:
        InputError: Missing, truncated, damaged, not NIfTI, not 3-D, or a voxel type that is not a number.
    """
    with _opened(Path(path)) as (grid, stream):
        dtype = grid.header.get_data_dtype()
        array = np.empty(grid.shape, dtype, order="F")
        _fill(stream, array, grid)
        _finish(stream)
        return Volume(_scaled(array, grid.header), grid.affine, str(path), grid.header)


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
    dtype = grid.header.get_data_dtype()
    x, y, depth = grid.shape
    thick = max(1, SLAB_BYTES // max(1, x * y * dtype.itemsize))
    buffer = np.empty((x, y, min(thick, depth)), dtype, order="F")
    for first in range(0, depth, thick):
        slab = buffer[:, :, : min(thick, depth - first)]
        _fill(stream, slab, grid)
        yield first, _scaled(slab, grid.header)
    _finish(stream)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Grid, BinaryIO]]:
    """Open the file, parse its header and yield (grid, stream at the first voxel)."""
    try:
        with fast_gzip.open_read(path) if path.name.lower().endswith(".gz") else path.open("rb") as stream:
            header = _read_header(stream, path)
            yield _grid_of(header, path), stream
    except (EOFError, zlib.error) as error:
        message = f"{path}: the file is truncated or damaged ({error})."
        raise InputError(message, _AGAIN) from error
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror or error})."
        raise InputError(message, _AGAIN if path.is_file() else "Check the path and its permissions.") from error


def _read_header(stream: IO[bytes], path: Path) -> Any:
    start = stream.read(4)
    size = int.from_bytes(start, "little")
    if size not in _HEADER_CLASSES:
        size = int.from_bytes(start, "big")
    if size not in _HEADER_CLASSES:
        message = f"{path}: is not a NIfTI file (the header begins with {start.hex() or 'nothing'})."
        raise InputError(message, "Give a .nii or .nii.gz file, or convert it first.")
    block = start + stream.read(size - 4)
    if len(block) < size:
        message = f"{path}: the file is truncated inside its header ({len(block)} bytes)."
        raise InputError(message, _AGAIN)
    try:
        header = _HEADER_CLASSES[size](block, check=False)
        offset = int(header["vox_offset"]) or size + 4
        header.get_data_dtype()
    except (nib.spatialimages.HeaderDataError, ValueError, OverflowError) as error:
        message = f"{path}: the NIfTI header is damaged ({error})."
        raise InputError(message, _AGAIN) from error
    if offset < size:
        message = f"{path}: the NIfTI header gives a voxel offset of {offset}, inside the header itself."
        raise InputError(message, "Give a single-file NIfTI (.nii or .nii.gz).")
    stream.read(offset - size)
    return header


def _grid_of(header: Any, path: Path) -> Grid:
    rank = int(header["dim"][0])
    shape = tuple(int(n) for n in header["dim"][1 : 1 + max(0, min(rank, 7))])
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3:
        message = f"{path}: expected a 3-D image, got {len(shape)}-D with shape {shape}."
        raise InputError(message, "Extract one 3-D volume first, for example with Slicer or SimpleITK.")
    if min(shape) < 1:
        message = f"{path}: the image is empty, its shape is {shape}."
        raise InputError(message, _AGAIN)
    if header.get_data_dtype().kind not in "iuf":
        message = f"{path}: voxels of type {header.get_data_dtype()} are not supported."
        raise InputError(message, "Export the image with one number a voxel.")
    affine = header.get_best_affine().astype(np.float64)
    affine[:3] *= _MM_PER_UNIT.get(_length_unit(header), 1.0)
    return Grid((shape[0], shape[1], shape[2]), geometry.check_affine(affine, str(path)), str(path), header)


def _length_unit(header: Any) -> str:
    try:
        return str(header.get_xyzt_units()[0])
    except KeyError:  # a unit code that the standard does not define
        return "unknown"


def _fill(stream: BinaryIO, array: Array, grid: Grid) -> None:
    """Read the bytes of a Fortran-ordered array straight into its memory."""
    memory = memoryview(array.reshape(-1, order="F").view(np.uint8))
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


def _scaled(array: Array, header: Any) -> Array:
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if not np.isfinite(slope) or slope == 0:
        slope, intercept = 1.0, 0.0
    if (slope, intercept if np.isfinite(intercept) else 0.0) == (1.0, 0.0):
        return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
    scaled = array.astype(np.float32)
    scaled *= np.float32(slope)
    scaled += np.float32(intercept if np.isfinite(intercept) else 0.0)
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


def write_slabs(path: Path, grid: Grid, dtype: Any, slabs: Iterable[Array]) -> None:
    """Write slabs (X, Y, n) that follow one another along z as one NIfTI file. Raises as `write_nifti`."""
    header = _header_for(grid, np.dtype(dtype), str(path))
    with atomic_path(Path(path)) as temporary:
        opened = fast_gzip.open_write(temporary) if Path(path).name.lower().endswith(".gz") else temporary.open("wb")
        with opened as stream:
            stream.write(header.binaryblock + b"\0\0\0\0")
            for slab in slabs:
                stream.write(np.ascontiguousarray(slab.transpose(2, 1, 0)).data.cast("B"))


def _header_for(grid: Grid, dtype: np.dtype[Any], what: str) -> Any:
    big = max(grid.shape) > 32767
    header = (nib.Nifti2Header if big else nib.Nifti1Header)()
    old = grid.header if isinstance(grid.header, nib.Nifti1Header) else None
    if old is not None:
        header["descrip"] = old["descrip"]
    try:
        header.set_data_dtype(dtype)
    except nib.spatialimages.HeaderDataError as error:
        message = f"{what}: voxels of type {dtype} cannot be stored in NIfTI."
        raise InputError(message, "Convert them to integers or float32 first.") from error
    header.set_data_shape(grid.shape)
    codes = (int(old["sform_code"]), int(old["qform_code"])) if old is not None else (1, 1)
    header.set_qform(grid.affine, codes[1] or 1, strip_shears=True)
    header.set_sform(grid.affine, codes[0] or 1)
    header.set_xyzt_units("mm", "sec")
    header["magic"] = b"n+1" if not big else header["magic"]
    header["vox_offset"] = 352 if not big else 544
    return header
