"""The frames of an enhanced multi-frame image (Enhanced CT, legacy converted CT) as slices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from AtlasSegmentLib.dicom_header import Slice, axes_of, common_of, position_of, rescale_of, spacing_of


def frames_of(header: Any, path: Path) -> list[Slice]:
    """Return one slice for each frame; each has its own place and rescale (DICOM PS3.3 C.7.6.16).

    Raises:
        InputError: A place or a rescale that makes no sense.
        ValueError: A frame has no place.
    """
    shared = (header.get("SharedFunctionalGroupsSequence") or [{}])[0]
    return [_frame(header, path, number, group, shared) for number, group in enumerate(header.PerFrameFunctionalGroupsSequence)]


def _frame(header: Any, path: Path, number: int, group: Any, shared: Any) -> Slice:
    measures = _macro(group, shared, "PixelMeasuresSequence")
    values = _optional(group, shared, "PixelValueTransformationSequence")
    kind = _optional(group, shared, "CTImageFrameTypeSequence") or {}
    content = _optional(group, shared, "FrameContentSequence") or {}
    kernel = (_optional(group, shared, "CTReconstructionSequence") or {}).get("ConvolutionKernel") or ""
    own = {
        "image_type": tuple(str(part).upper() for part in kind.get("FrameType") or header.get("ImageType") or ()),
        "acquisition": tuple(
            str(content.get(name) or "")
            for name in ("FrameAcquisitionNumber", "TemporalPositionIndex", "NominalCardiacTriggerDelayTime", "StackID")
        ),
        "kernel": kernel if isinstance(kernel, str) else str(kernel[0]),
    }
    return Slice(
        **{**common_of(header, path), **own},
        position=position_of(_macro(group, shared, "PlanePositionSequence").ImagePositionPatient, path),
        axes=axes_of(_macro(group, shared, "PlaneOrientationSequence").ImageOrientationPatient, path),
        spacing=spacing_of(measures.PixelSpacing, path),
        thickness=float(measures.get("SliceThickness") or 0),
        rescale=None if values is None else rescale_of(values, path),
        unit="" if values is None else str(values.get("RescaleType") or "").upper(),
        frame=number,
    )


def _optional(group: Any, shared: Any, name: str) -> Any:
    found = group.get(name) or shared.get(name)
    return found[0] if found else None


def _macro(group: Any, shared: Any, name: str) -> Any:
    """Return an entry of a frame, or the one that all frames share."""
    found = _optional(group, shared, name)
    if found is None:
        message = f"a frame has no {name}"
        raise ValueError(message)
    return found
