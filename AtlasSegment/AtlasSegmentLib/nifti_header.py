"""The header block of NIfTI-1 and NIfTI-2: 348 or 540 bytes to what we need of them, and back.

Own code, as Slicer's Python has no nibabel. Where a header leaves room it means what it means to nibabel (tested against it).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from AtlasSegmentLib.nifti_orientation import Matrix, base_affine, quaternion_affine, quaternion_of

_NIFTI1 = np.dtype(
    [
        ("sizeof_hdr", "<i4"), ("unused1", "S35"), ("dim_info", "u1"), ("dim", "<i2", 8), ("intent_p", "<f4", 3), ("intent_code", "<i2"),
        ("datatype", "<i2"), ("bitpix", "<i2"), ("slice_start", "<i2"), ("pixdim", "<f4", 8), ("vox_offset", "<f4"),
        ("scl_slope", "<f4"), ("scl_inter", "<f4"), ("slice_end", "<i2"), ("slice_code", "u1"), ("xyzt_units", "u1"),
        ("cal_max", "<f4"), ("cal_min", "<f4"), ("slice_duration", "<f4"), ("toffset", "<f4"), ("unused2", "S8"),
        ("descrip", "S80"), ("aux_file", "S24"), ("qform_code", "<i2"), ("sform_code", "<i2"), ("quatern", "<f4", 3),
        ("qoffset", "<f4", 3), ("srow", "<f4", (3, 4)), ("intent_name", "S16"), ("magic", "S4"),
    ]
)  # fmt: skip
_NIFTI2 = np.dtype(
    [
        ("sizeof_hdr", "<i4"), ("magic", "S8"), ("datatype", "<i2"), ("bitpix", "<i2"), ("dim", "<i8", 8), ("intent_p", "<f8", 3),
        ("pixdim", "<f8", 8), ("vox_offset", "<i8"), ("scl_slope", "<f8"), ("scl_inter", "<f8"), ("cal_max", "<f8"),
        ("cal_min", "<f8"), ("slice_duration", "<f8"), ("toffset", "<f8"), ("slice_start", "<i8"), ("slice_end", "<i8"),
        ("descrip", "S80"), ("aux_file", "S24"), ("qform_code", "<i4"), ("sform_code", "<i4"), ("quatern", "<f8", 3),
        ("qoffset", "<f8", 3), ("srow", "<f8", (3, 4)), ("slice_code", "<i4"), ("xyzt_units", "<i4"), ("intent_code", "<i4"),
        ("intent_name", "S16"), ("dim_info", "u1"), ("unused", "S15"),
    ]
)  # fmt: skip
BLOCKS = {348: _NIFTI1, 540: _NIFTI2}
"""Size of a header to its fields."""
_MAGIC = {348: b"n+1\0", 540: b"n+2\0\r\n\x1a\n"}
_CODES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
_CODE_OF = {np.dtype(name): code for code, name in _CODES.items()}
_NOT_ONE_NUMBER = {1: "one bit", 32: "complex64", 128: "RGB", 1536: "float128", 1792: "complex128", 2048: "complex256", 2304: "RGBA"}
_MM_PER_UNIT = {1: 1000.0, 3: 0.001}  # meter and micron; everything else is taken as mm
_MM_AND_SECONDS = 2 | 8
_KNOWN_FORMS = range(6)
_SAME_PLACE = 0.1  # of the smallest voxel size: two forms that differ less say the same


@dataclass(frozen=True)
class NiftiHeader:
    """What a NIfTI header says.

    Attributes:
        shape: Sizes of all dimensions, three or more but those of size 1 at the end.
        dtype: Voxel type as stored, with its byte order.
        offset: Position of the first voxel in the file.
        affine: (4, 4) float64, index to RAS mm: sform, else qform, else the voxel sizes.
        slope, intercept: What stored values are multiplied by, then added; 1 and 0 where the header has none.
        sform_code, qform_code: 0..5; 0 is unknown.
        description: Up to 80 bytes of text, written back.
        mended: What was wrong and is read as if it were right, for the log.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    affine: Matrix
    slope: float = 1.0
    intercept: float = 0.0
    sform_code: int = 1
    qform_code: int = 1
    description: bytes = b""
    mended: tuple[str, ...] = ()


def parse(block: bytes) -> NiftiHeader:
    """Read a header block of 348 or 540 bytes, of either byte order.

    Raises:
        ValueError: A field makes no sense; the text says which.
    """
    layout = BLOCKS[len(block)]
    little = int.from_bytes(block[:4], "little") == len(block)
    fields = np.frombuffer(block, layout if little else layout.newbyteorder(">"))[0]
    mended: list[str] = []
    codes = [_form_code(fields, name, mended) for name in ("sform_code", "qform_code")]
    shape = _shape(fields)
    slope, intercept = float(fields["scl_slope"]), float(fields["scl_inter"])
    usable = math.isfinite(slope) and slope != 0
    with np.errstate(all="ignore"):  # numbers that are none make an affine that is refused where it is used
        affine = _affine(fields, shape, codes, mended)
    return NiftiHeader(
        shape,
        _dtype(fields).newbyteorder("<" if little else ">"),
        _offset(fields, len(block)),
        affine,
        slope if usable else 1.0,
        intercept if usable and math.isfinite(intercept) else 0.0,
        codes[0],
        codes[1],
        bytes(fields["descrip"]),
        tuple(mended),
    )


def _form_code(fields: Any, name: str, mended: list[str]) -> int:
    code = int(fields[name])
    if code in _KNOWN_FORMS:
        return code
    mended.append(f"{name} {code} is not defined and counts as 0")
    return 0


def _shape(fields: Any) -> tuple[int, ...]:
    rank = int(fields["dim"][0])
    if not 1 <= rank <= 7:
        message = f"it says {rank} dimensions"
        raise ValueError(message)
    shape = tuple(int(size) for size in fields["dim"][1 : 1 + rank])
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def _dtype(fields: Any) -> np.dtype[Any]:
    code = int(fields["datatype"])
    if code in _NOT_ONE_NUMBER:
        message = f"voxels of type {_NOT_ONE_NUMBER[code]} are not supported"
        raise ValueError(message)
    if code not in _CODES:
        message = f"the voxel type {code} is not defined"
        raise ValueError(message)
    return np.dtype(_CODES[code])


def _offset(fields: Any, size: int) -> int:
    offset = float(fields["vox_offset"])
    if not math.isfinite(offset):
        message = f"the voxel offset is {offset}"
        raise ValueError(message)
    if 0 != int(offset) < size:
        message = f"the voxel offset {offset:g} lies inside the header itself (it must be a single file, .nii or .nii.gz)"
        raise ValueError(message)
    return int(offset) or size + 4


def _affine(fields: Any, shape: tuple[int, ...], codes: list[int], mended: list[str]) -> Matrix:
    sizes = _voxel_sizes(fields, mended)
    if codes[0]:
        affine = np.vstack([fields["srow"].astype(np.float64), [0, 0, 0, 1]])
        mended += _contradictions(fields, shape, affine, sizes) if codes[1] else []
    elif codes[1]:
        if float(fields["pixdim"][0]) not in {1.0, -1.0}:
            mended.append(f"pixdim[0] is {fields['pixdim'][0]:g} and counts as 1")
        affine = _qform(fields, sizes)
    else:
        affine = base_affine(shape, sizes)
    affine[:3] *= _mm_per_unit(fields)
    return affine


def _mm_per_unit(fields: Any) -> float:
    return _MM_PER_UNIT.get(int(fields["xyzt_units"]) & 7, 1.0)


def _qform(fields: Any, sizes: Matrix) -> Matrix:
    return quaternion_affine(fields["quatern"], fields["qoffset"], sizes, -1.0 if float(fields["pixdim"][0]) == -1.0 else 1.0)


def _contradictions(fields: Any, shape: tuple[int, ...], sform: Matrix, sizes: Matrix) -> list[str]:
    """Tell when the qform puts the image elsewhere than the sform, beyond the shear that it cannot say: programs read either."""
    try:
        quaternion, lengths, flag = quaternion_of(sform)
        expected = quaternion_affine(quaternion, sform[:3, 3], lengths, flag)
        corners = np.array([[*corner, 1] for corner in np.ndindex(2, 2, 2)]) * [*(np.array([*shape, 1, 1])[:3] - 1), 1]
        apart = float(np.linalg.norm((corners @ (expected - _qform(fields, sizes)).T)[:, :3], axis=1).max())
    except (ValueError, np.linalg.LinAlgError):  # no qform to speak of; a damaged sform is refused by who uses it
        return []
    if not apart > _SAME_PLACE * float(lengths.min()):
        return []
    apart *= _mm_per_unit(fields)
    return [f"sform and qform put it up to {apart:.3g} mm apart; the sform counts here, other programs may read the qform"]


def _voxel_sizes(fields: Any, mended: list[str]) -> Matrix:
    sizes: Matrix = fields["pixdim"][1:4].astype(np.float64)
    if (sizes <= 0).any():
        mended.append(f"the voxel sizes {', '.join(f'{size:g}' for size in sizes)} are not all positive")
    return np.where(sizes == 0, 1.0, np.abs(sizes))


def encode(header: NiftiHeader) -> bytes:
    """Return the bytes of a header, little endian, with the four bytes that say there is no extension.

    It is NIfTI-2 where a size does not fit NIfTI-1. sform and qform are both written; qform without shear, as it has none.

    Raises:
        ValueError: The voxel type has no place in NIfTI.
    """
    if header.dtype.newbyteorder("=") not in _CODE_OF:
        message = f"voxels of type {header.dtype} cannot be stored in NIfTI"
        raise ValueError(message)
    size = 540 if max(header.shape) > 32767 else 348
    fields = np.zeros((), BLOCKS[size])
    fields["sizeof_hdr"], fields["vox_offset"], fields["magic"] = size, size + 4, _MAGIC[size]
    fields["datatype"], fields["bitpix"] = _CODE_OF[header.dtype.newbyteorder("=")], header.dtype.itemsize * 8
    fields["dim"] = 1
    fields["dim"][0] = len(header.shape)
    fields["dim"][1 : 1 + len(header.shape)] = header.shape
    quaternion, sizes, flag = quaternion_of(header.affine)
    fields["pixdim"] = [flag, *sizes, 1, 1, 1, 1]
    fields["quatern"], fields["qoffset"] = quaternion, header.affine[:3, 3]
    fields["srow"] = header.affine[:3]
    fields["sform_code"], fields["qform_code"] = header.sform_code or 1, header.qform_code or 1
    fields["scl_slope"], fields["scl_inter"] = header.slope, header.intercept
    fields["xyzt_units"], fields["descrip"] = _MM_AND_SECONDS, header.description
    return fields.tobytes() + bytes(4)
