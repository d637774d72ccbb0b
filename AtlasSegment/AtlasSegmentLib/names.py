"""Names that become one folder or file: whatever a list, a model or a user says, they stay inside their folder."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from AtlasSegmentLib.errors import DatasetError

_CASE_DEPTH = 4  # <case>/average/revisions/<organ>
_MAX_BYTES = 200  # the usual limit of a file system is 255, and endings such as "_revised.nii.gz" are added


def safe_name(name: str, what: str) -> str:
    """Return `name` when it is a single, visible path component.

    Spaces and Unicode are fine. Separators, "..", hidden names, control characters and names too long for a file
    system are not.

    Args:
        name: The name of a dataset, case, model, organ or reader.
        what: What it is, for the message, such as "case name".

    Raises:
        DatasetError: The name could leave its folder or cannot be stored.
    """
    bad = (
        not name.strip()
        or name.startswith(".")
        or any(character in '/\\:"<>|?*' or not character.isprintable() for character in name)
        or len(name.encode("utf-8", "surrogatepass")) > _MAX_BYTES
        or name.strip() != name
    )
    if bad:
        message = f"{what} {name!r} cannot be used as a file name."
        remedy = "Use one name of letters, digits, spaces, '-' or '_' (at most 200 bytes, no separators, no leading dot)."
        raise DatasetError(message, remedy)
    return name


def require_inside(path: Path, root: Path) -> Path:
    """Return `path` when it lies inside `root` with all links followed.

    Raises:
        DatasetError: It lies elsewhere, for example behind a symbolic link, or behind links that form a loop.
    """
    try:
        inside = path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError) as error:  # RuntimeError: how Python before 3.13 reports a loop of links
        message = f"{path} cannot be followed ({error})."
        raise DatasetError(message, "Remove the broken link.") from error
    if not inside:
        message = f"{path} leads outside its dataset folder {root} (to {path.resolve()})."
        raise DatasetError(message, "Move the data into the dataset folder, or name that other folder directly.")
    return path


def require_links_inside(folder: Path, root: Path) -> None:
    """Check that every folder below `folder` that is a link stays inside `root`, so that nothing is written elsewhere.

    Links to files are fine: they are read, and replaced rather than written through.

    Raises:
        DatasetError: One leads outside.
    """
    for path in _linked_folders(folder, _CASE_DEPTH):
        require_inside(path, root)


def _linked_folders(folder: Path, depth: int) -> Iterator[Path]:
    try:
        with os.scandir(folder) as found:
            entries = [(Path(entry.path), entry.is_symlink()) for entry in found if entry.is_symlink() or entry.is_dir()]
    except OSError:  # not there yet, or closed to us: whoever reads or writes it says so
        return
    for path, is_link in entries:
        if is_link and path.is_dir():
            yield path
        elif not is_link and depth > 1:
            yield from _linked_folders(path, depth - 1)


def close_names(wanted: str, names: Iterable[str]) -> str:
    """Return "Did you mean liver?" for a name that is not among some, or "" when none is close."""
    close = difflib.get_close_matches(wanted, sorted(names), 3, 0.6)
    return f"Did you mean {' or '.join(close)}?" if close else ""
