"""Names that become one folder or file: whatever a list, a model or a user says, they stay inside their folder."""

from __future__ import annotations

from pathlib import Path

from AtlasSegmentLib.errors import DatasetError

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
