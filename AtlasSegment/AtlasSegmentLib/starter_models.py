"""The small networks that come with the program, so that Apply and `atlas demo` work on a fresh machine."""

from __future__ import annotations

from pathlib import Path

from AtlasSegmentLib.errors import ModelError
from AtlasSegmentLib.model_kinds_atlas import FILE
from AtlasSegmentLib.resources import resource_path

FOLDER = "starter"
"""Below Resources/Models."""


def starter_folder() -> Path:
    """Return the folder of the starter models; it may not exist."""
    return resource_path("Models") / FOLDER


def named_models(paths: list[Path]) -> list[Path]:
    """Return folders of models, where the name of a starter model means its folder unless a path is called so."""
    return [starter_folder() / path if len(path.parts) == 1 and not path.exists() and _is_starter(path.name) else path for path in paths]


def _is_starter(name: str) -> bool:
    return (starter_folder() / name / FILE).is_file()


def came_along(folder: Path) -> bool:
    """Tell whether a model folder is one of those that come with the program."""
    return folder.is_relative_to(starter_folder().resolve())


def starter_models() -> tuple[Path, ...]:
    """Return the folders of the starter models, in order of name. Raises ModelError when this installation has none."""
    found = tuple(sorted(path.parent for path in starter_folder().glob(f"*/{FILE}")))
    if not found:
        message = "no model was chosen, and none comes with this installation."
        raise ModelError(message, f"Give --model FOLDER (a folder with {FILE}), once for each model; see the README.")
    return found
