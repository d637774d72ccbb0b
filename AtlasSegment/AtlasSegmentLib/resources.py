"""Where the shared Resources folder is: label tables, later model lists and starter models."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from AtlasSegmentLib.errors import InputError

_MARKER = Path("Labels") / "structures.json"  # tells the shared folder from a module's own Resources (icons, UI files)


def resource_path(*parts: str) -> Path:
    """Return the path of a file or folder below Resources/, such as `resource_path("Labels", "segae.json")`.

    Found in a source checkout, in a pip installation and in the flat module folder of an installed Slicer extension.

    Raises:
        InputError: It is not there; the message names the places that were searched.
    """
    root = _root(Path(__file__).resolve().parent)
    path = root.joinpath(*parts)
    if not path.exists():
        message = f"{path}: this resource is missing from the installation."
        raise InputError(message, "Install Atlas Annotator again.")
    return path


@cache
def _root(library: Path) -> Path:
    """Return the Resources folder that belongs to the library folder (AtlasSegmentLib)."""
    candidates = (
        library / "Resources",  # pip: package data inside the package
        library.parent / "Resources",  # Slicer: qt-scripted-modules/Resources beside qt-scripted-modules/AtlasSegmentLib
        library.parent.parent / "Resources",  # source checkout: Resources beside AtlasSegment
    )
    for candidate in candidates:
        if (candidate / _MARKER).is_file():
            return candidate
    message = f"The folder Resources with {_MARKER.as_posix()} was not found; searched {', '.join(map(str, candidates))}."
    raise InputError(message, "Install Atlas Annotator again, or copy its Resources folder to one of these places.")
