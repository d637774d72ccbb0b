"""What the Export section calls formats and tables, and the questions and results that it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from slicer.i18n import tr as _

from AtlasSegmentLib.export_formats import DICOM_SEG, NIFTI, NRRD, ORGANS, OWN_VALUES, RTSTRUCT, SEG_NRRD
from AtlasSegmentLib.panel_errors import displayable

_SHOWN = 5


def formatNames() -> dict[str, str]:
    """Return the formats of the list and what they are called."""
    return {
        NIFTI: _("NIfTI label map"),
        NRRD: _("NRRD label map"),
        ORGANS: _("One NIfTI mask for each organ (folder)"),
        SEG_NRRD: _("Slicer segmentation (.seg.nrrd)"),
        DICOM_SEG: _("DICOM segmentation"),
        RTSTRUCT: _("DICOM structure set (RTSTRUCT)"),
    }


def tableNames() -> dict[str, str]:
    """Return the tables of values of the list and what they are called."""
    return {
        OWN_VALUES: _("Values of the model"),
        "abdomenatlas": _("AbdomenAtlas"),
        "abdomenatlas_1_1": _("AbdomenAtlas 1.1"),
        "totalsegmentator_v2": _("TotalSegmentator v2"),
    }


def _listed(items: Sequence[str]) -> str:
    more = len(items) - _SHOWN
    return "\n".join([*items[:_SHOWN], *([_("and {count} more").format(count=more)] if more > 0 else [])])


def existsText(files: Sequence[Path]) -> str:
    """Ask whether files may be replaced."""
    return displayable(_("These files are there already. Replace them?\n\n{files}").format(files=_listed([str(file) for file in files])))


def outsideText(lost: Mapping[str, int]) -> str:
    """Ask whether voxels outside of the CT, counted by organ, may be cut off."""
    organs = _listed([f"{name}: {count}" for name, count in lost.items()])
    question = _("Parts of the segmentation lie outside of the CT and will be cut off (voxels):\n\n{organs}\n\nGo on?")
    return displayable(question.format(organs=organs))


def lossText(remarks: Sequence[str]) -> str:
    """Ask whether a label map that cannot hold everything shall be written."""
    question = _("One label map cannot hold everything:\n\n{remarks}\n\nWrite it anyway? One mask for each organ keeps everything.")
    return displayable(question.format(remarks="\n".join(remarks)))


def writtenText(files: Sequence[str], size: int, remarks: Sequence[str] = ()) -> str:
    """Say what was written: names, size in bytes, and what the files do not hold."""
    folder = Path(files[0]).parent
    names = ", ".join(Path(name).name for name in files[:_SHOWN]) + (", ..." if len(files) > _SHOWN else "")
    if len(files) == 1:
        text = _("Wrote {name} ({size}) to {folder}.").format(name=names, size=sizeText(size), folder=folder)
    else:
        several = _("Wrote {count} files ({size}) to {folder}: {names}.")
        text = several.format(count=len(files), size=sizeText(size), folder=folder, names=names)
    return " ".join([text, *remarks])


def sizeText(size: int) -> str:
    """Return a number of bytes for people, such as "1.2 MB"."""
    value, unit = float(size), "B"
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
