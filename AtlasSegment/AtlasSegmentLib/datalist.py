"""Dataset lists: one image a line, `<dataset>/<case>.nii.gz`, with the label after a TAB when there is one (AbdomenAtlas)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from AtlasSegmentLib.errors import DatasetError, InputError
from AtlasSegmentLib.names import require_inside, safe_name
from AtlasSegmentLib.volume_io import strip_suffix


@dataclass(frozen=True)
class ListedCase:
    """One line of a list.

    Attributes:
        dataset: First path component.
        name: Case name: the file name without its image suffix.
        image: The image below the data root.
        label: The dataset's own label, or None.
    """

    dataset: str
    name: str
    image: Path
    label: Path | None


def read_datalist(path: Path, data_root: Path) -> list[ListedCase]:
    """Read a dataset list.

    Fields are split at TABs, so names may hold spaces. Every path must stay below `data_root`.

    Raises:
        InputError: The list cannot be read, is empty, or names a case twice.
        DatasetError: A line is absolute, climbs out with "..", or leads outside through a link.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        message = f"{path}: cannot be read as a dataset list ({error})."
        raise InputError(message, "Give a UTF-8 text file with one image path a line.") from error
    cases = [_listed(line, f"{path}, line {number}", data_root) for number, line in enumerate(lines, 1) if line.strip()]
    if not cases:
        message = f"{path}: the list is empty."
        raise InputError(message, "Write one image path a line, relative to the data root.")
    seen: set[tuple[str, str]] = set()
    for case in cases:
        if (case.dataset, case.name) in seen:
            message = f"{path}: case {case.dataset}/{case.name} is listed twice."
            raise InputError(message, "Remove one of the lines, or rename one image.")
        seen.add((case.dataset, case.name))
    return cases


def _listed(line: str, where: str, root: Path) -> ListedCase:
    fields = line.rstrip("\r\n").split("\t")
    image = _below(fields[0], where, root)
    label = _below(fields[1], where, root) if len(fields) > 1 and fields[1].strip() else None
    parts = image.relative_to(root).parts
    if len(parts) < 2:
        message = f"{where}: {fields[0]!r} has no dataset folder."
        raise DatasetError(message, "Write <dataset>/<file>, relative to the data root.")
    # A case folder that is already laid out gives its own name, not that of the file in it.
    name = parts[-2] if strip_suffix(parts[-1]) == "ct" and len(parts) > 2 else strip_suffix(parts[-1])
    return ListedCase(safe_name(parts[0], "dataset name"), safe_name(name, "case name"), image, label)


def _below(text: str, where: str, root: Path) -> Path:
    posix, windows = PurePosixPath(text), PureWindowsPath(text)
    if posix.is_absolute() or windows.is_absolute() or windows.drive or ".." in posix.parts or ".." in windows.parts or "\0" in text:
        message = f"{where}: {text!r} leads outside the data root {root}."
        raise DatasetError(message, "Write paths relative to the data root, without '..'.")
    return require_inside(root / text, root)
