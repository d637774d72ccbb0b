"""NRRD and MetaImage (MHA, MHD): read through SimpleITK, written here so that every file is whole or absent.

Both formats store positions in LPS mm; a `Volume` is in RAS mm. The sign of the first two world axes changes, nothing
else does, so no position is rounded.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from AtlasSegmentLib import geometry
from AtlasSegmentLib.errors import GeometryError, InputError
from AtlasSegmentLib.files import atomic_path, write_text
from AtlasSegmentLib.volume import Array, Volume

_LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_ORTHONORMAL_TOLERANCE = 1e-4
_AGAIN = "Copy or export the file again."
# dtype -> (NRRD type, MetaImage type)
_TYPES = {
    "int8": ("int8", "MET_CHAR"),
    "uint8": ("uint8", "MET_UCHAR"),
    "int16": ("int16", "MET_SHORT"),
    "uint16": ("uint16", "MET_USHORT"),
    "int32": ("int32", "MET_INT"),
    "uint32": ("uint32", "MET_UINT"),
    "int64": ("int64", "MET_LONG_LONG"),
    "uint64": ("uint64", "MET_ULONG_LONG"),
    "float32": ("float", "MET_FLOAT"),
    "float64": ("double", "MET_DOUBLE"),
}


def read_sitk(path: Path) -> Volume:
    """Read a .nrrd, .nhdr, .mha or .mhd file.

    Returns:
        Array (X, Y, Z) in Fortran order with the dtype of the file; affine in RAS mm.

    Raises:
        InputError: Missing, truncated, damaged, not 3-D, more than one number a voxel, or SimpleITK is not installed.
    """
    path = Path(path)
    sitk = _simpleitk(path)
    _require_readable(path)
    if path.suffix.lower() in {".mha", ".mhd"}:
        _check_meta_stream(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        _require_scalar_3d(reader, path)
        image = reader.Execute()
    except RuntimeError as error:
        message = f"{path}: cannot be read, it is truncated, damaged or of another format ({_last_line(error)})."
        raise InputError(message, _AGAIN) from error
    lps = np.eye(4)
    lps[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    lps[:3, 3] = image.GetOrigin()
    return Volume(sitk.GetArrayFromImage(image).transpose(), _LPS_FROM_RAS @ lps, str(path))


def write_sitk(path: Path, volume: Volume) -> None:
    """Write a volume as .nrrd (gzip, attached header), .mha (zlib) or .mhd with a .raw beside it, atomically.

    The dtype is kept; bool becomes uint8 and float16 becomes float32.

    Raises:
        InputError: Another suffix, or a dtype that the formats do not have.
        GeometryError: The affine is sheared; NIfTI can store it.
        StorageError: The disk is full or the folder cannot be written.
    """
    path = Path(path)
    writers = {".nrrd": _write_nrrd, ".mha": _write_mha, ".mhd": _write_mhd}
    writer = writers.get(path.suffix.lower())
    if writer is None:
        message = f"{path}: the format {path.suffix!r} cannot be written here."
        raise InputError(message, f"Use one of {', '.join(writers)}.")
    _require_orthonormal(volume, path)
    array = _storable(volume.array, path)
    writer(path, array, _LPS_FROM_RAS @ volume.affine)


def _simpleitk(path: Path) -> Any:
    try:
        import SimpleITK
    except ImportError as error:
        message = f"{path}: reading this format needs SimpleITK, which is not installed."
        raise InputError(message, 'Run: pip install "slicer-atlas-annotator[formats]"') from error
    return SimpleITK


def _require_readable(path: Path) -> None:
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror or error})."
        raise InputError(message, "Check the path and its permissions.") from error


def _require_scalar_3d(reader: Any, path: Path) -> None:
    size, components = reader.GetSize(), reader.GetNumberOfComponents()
    if len(size) != 3:
        message = f"{path}: expected a 3-D image, got {len(size)}-D with size {tuple(size)}."
        raise InputError(message, "Extract one 3-D volume first, for example with Slicer or SimpleITK.")
    if components != 1:
        message = f"{path}: expected one number a voxel, got {components} (a color, vector or layered segmentation image)."
        raise InputError(message, "Export one component or, in Slicer, the segmentation as a label map.")


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"


def _check_meta_stream(path: Path) -> None:
    """Check the zlib checksum of a compressed MetaImage: the reader behind SimpleITK goes on after a damaged block."""
    with path.open("rb") as file:
        fields = _meta_fields(file)
        start = file.tell()
    data_file = fields.get("elementdatafile", "")
    if fields.get("compresseddata", "false").lower() != "true" or not data_file:
        return
    local = data_file.lower() == "local"
    target = path if local else path.parent / data_file
    _require_readable(target)
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        with target.open("rb") as file:
            file.seek(start if local else 0)
            while not unpacker.eof and (block := file.read(1 << 20)):
                unpacker.decompress(block)
    except zlib.error as error:
        message = f"{target}: the compressed voxels are damaged ({error})."
        raise InputError(message, _AGAIN) from error
    if not unpacker.eof:
        message = f"{target}: the file is truncated: its compressed voxels end too early."
        raise InputError(message, _AGAIN)


def _meta_fields(file: Any) -> dict[str, str]:
    """Read "Key = Value" lines up to ElementDataFile, the last one of a MetaImage header; keys in lower case."""
    fields: dict[str, str] = {}
    while "elementdatafile" not in fields and len(fields) < 200:
        key, mark, value = file.readline(4096).decode("latin-1").partition("=")
        if not mark:
            break
        fields[key.strip().lower()] = value.strip()
    return fields


def _require_orthonormal(volume: Volume, path: Path) -> None:
    cosines = volume.affine[:3, :3] / volume.spacing
    error = float(np.abs(cosines.T @ cosines - np.eye(3)).max())
    if error > _ORTHONORMAL_TOLERANCE:
        message = f"{path}: the axes of the image are not at right angles (cosine {error:.4f}), which this format cannot store."
        raise GeometryError(message, "Write NIfTI (.nii.gz) instead, or resample the image onto a straight grid first.")


def _storable(array: Array, path: Path) -> Array:
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    elif array.dtype == np.float16:
        array = array.astype(np.float32)
    if array.dtype.newbyteorder("=").name not in _TYPES:
        message = f"{path}: voxels of type {array.dtype} cannot be stored in this format."
        raise InputError(message, "Convert them to integers or float32 first.")
    if min(array.shape) < 1:
        message = f"{path}: the image is empty, its shape is {array.shape}."
        raise InputError(message, "Check the step that made it.")
    return array


def _slabs(array: Array) -> Iterator[bytes]:
    """Yield the voxels as little-endian bytes, x fastest, a few slices at a time."""
    little = array.dtype.newbyteorder("<")
    thick = max(1, (8 << 20) // (array.shape[0] * array.shape[1] * array.dtype.itemsize))
    for z in range(0, array.shape[2], thick):
        yield np.ascontiguousarray(array[:, :, z : z + thick].transpose(2, 1, 0), dtype=little).tobytes()


def _packed(array: Array, wbits: int) -> Iterator[bytes]:
    """Yield the voxels as one zlib (wbits 15) or gzip (wbits 31) stream."""
    try:
        from isal import isal_zlib

        packer: Any = isal_zlib.compressobj(2, isal_zlib.DEFLATED, wbits)
    except ImportError:
        packer = zlib.compressobj(1, zlib.DEFLATED, wbits)
    for slab in _slabs(array):
        yield packer.compress(slab)
    yield packer.flush()


def _numbers(values: Any) -> list[str]:
    return [repr(float(value)) for value in values]  # repr is the shortest text that reads back as the same number


def _write_nrrd(path: Path, array: Array, lps: geometry.Matrix) -> None:
    vectors = [f"({','.join(_numbers(lps[:3, i]))})" for i in range(4)]
    header = [
        "NRRD0004",
        f"type: {_TYPES[array.dtype.newbyteorder('=').name][0]}",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, array.shape))}",
        f"space directions: {' '.join(vectors[:3])}",
        "kinds: domain domain domain",
        "endian: little",
        "encoding: gzip",
        f"space origin: {vectors[3]}",
    ]
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(("\n".join(header) + "\n\n").encode("ascii"))
        file.writelines(_packed(array, wbits=31))


def _meta_header(array: Array, lps: geometry.Matrix, data_file: str, packed_size: int | None = None) -> str:
    spacing = geometry.spacing_of(lps)
    cosines = lps[:3, :3] / spacing
    packing = ["CompressedData = False"] if packed_size is None else ["CompressedData = True", f"CompressedDataSize = {packed_size}"]
    lines = [
        "ObjectType = Image",
        "NDims = 3",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        *packing,
        f"TransformMatrix = {' '.join(_numbers(cosines.T.ravel()))}",  # MetaImage lists axis after axis
        f"Offset = {' '.join(_numbers(lps[:3, 3]))}",
        "CenterOfRotation = 0 0 0",
        f"ElementSpacing = {' '.join(_numbers(spacing))}",
        f"DimSize = {' '.join(map(str, array.shape))}",
        f"ElementType = {_TYPES[array.dtype.newbyteorder('=').name][1]}",
        f"ElementDataFile = {data_file}",
    ]
    return "\n".join(lines) + "\n"


def _write_mha(path: Path, array: Array, lps: geometry.Matrix) -> None:
    blocks = list(_packed(array, wbits=15))  # kept, as the header before them gives their size
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(_meta_header(array, lps, "LOCAL", sum(map(len, blocks))).encode("ascii"))
        file.writelines(blocks)


def _write_mhd(path: Path, array: Array, lps: geometry.Matrix) -> None:
    """Write the voxels under a name not in use, then the header: at no moment does a header name voxels of another image."""
    old = _own_data_file(path)
    raw = path.with_suffix(".raw")
    number = 1
    while raw.exists():
        raw = path.with_name(f"{path.stem}.{number}.raw")
        number += 1
    with atomic_path(raw) as temporary, temporary.open("wb") as file:
        file.writelines(_slabs(array))
    write_text(path, _meta_header(array, lps, raw.name))
    if old is not None:
        old.unlink(missing_ok=True)


def _own_data_file(path: Path) -> Path | None:
    """Return the .raw that an earlier `_write_mhd` made for this header, if that is what the header names."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        name = _meta_fields(file).get("elementdatafile", "")
    return path.with_name(name) if re.fullmatch(re.escape(path.stem) + r"(\.\d+)?\.raw", name) else None
