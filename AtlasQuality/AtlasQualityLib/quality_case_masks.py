"""Which masks of a case can be scored: one that cannot is named with its reason, and does not stop the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from AtlasQualityLib.mask_set import MaskSet, require_one_mask_each
from AtlasQualityLib.quality_model import QualityModel
from AtlasQualityLib.quality_predict import require_binary
from AtlasSegmentLib.case_folder import LabelFolder
from AtlasSegmentLib.ct_check import ct_doubt
from AtlasSegmentLib.errors import AtlasError
from AtlasSegmentLib.labels import structure_for
from AtlasSegmentLib.sparse import SparseVolume, read_sparse
from AtlasSegmentLib.volume import Grid, Volume

_SPACING_MM = (0.1, 20.0)


@dataclass(frozen=True)
class CaseMasks:
    """The masks of a case.

    Attributes:
        masks: Those that can be scored, on the grid of the CT, by canonical name.
        names: Canonical name to the name of the file.
        failed: Name of the file to why it cannot be scored: {"error": ..., "remedy": ...}.
    """

    masks: MaskSet
    names: Mapping[str, str]
    failed: Mapping[str, Mapping[str, str]]


def scorable_masks(folder: LabelFolder, organs: Sequence[str], grid: Grid, model: QualityModel) -> CaseMasks:
    """Read masks, each by itself.

    Args:
        folder: Where they lie.
        organs: Names of their files.
        grid: Of the CT.
        model: It must know a text for each name.

    Raises:
        DatasetError: Two are masks of one organ under different names.
        AtlasError: None can be scored; that of the first one.
    """
    require_one_mask_each(folder, organs)
    masks: dict[str, SparseVolume] = {}
    names: dict[str, str] = {}
    failed: dict[str, Mapping[str, str]] = {}
    first: AtlasError | None = None
    for organ in organs:
        name = structure_for(organ).name
        try:
            model.embedding(name)
            mask = read_sparse(folder.mask(organ))
            require_binary(name, mask)
            masks[name] = MaskSet(str(folder.mask(organ)), mask.grid, {name: mask}).onto(grid).masks[name]
        except AtlasError as error:
            first = first or error
            failed[organ] = {"error": error.message, "remedy": error.remedy}
        else:
            names[name] = organ
    if first is not None and not masks:
        raise first
    return CaseMasks(MaskSet(str(folder.folder), grid, masks), names, failed)


def doubts_of(ct: Volume) -> list[str]:
    """Return why an image may be no CT in HU and mm, of which predictions mean nothing; [] when it looks like one."""
    found = [doubt] if (doubt := ct_doubt(ct.array)) else []
    low, high = _SPACING_MM
    spacing = [float(step) for step in ct.spacing]
    if not all(low <= step <= high for step in spacing):
        said = " x ".join(f"{step:.4g}" for step in spacing)
        found.append(f"Its voxels are {said} mm, which no CT of a person has: lengths were perhaps written in cm or m.")
    return found
