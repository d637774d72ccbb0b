"""Which kind of model a folder or file is, what it says about itself, and exactly what is wrong when it cannot be read."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from AtlasSegmentLib.errors import AtlasError, ModelError
from AtlasSegmentLib.model_facts import Kind, ModelFacts
from AtlasSegmentLib.model_kinds_atlas import FILE, describe_atlas, is_atlas
from AtlasSegmentLib.model_kinds_monai import describe_monai, is_monai
from AtlasSegmentLib.model_kinds_nnunet import DATASET, PLANS, describe_autoorgan, describe_nnunet, is_autoorgan, is_nnunet
from AtlasSegmentLib.model_kinds_unknown import NETWORKS, unrecognized, unrecognized_file

_DESCRIPTIONS = frozenset({FILE, DATASET, PLANS, "metadata.json", "inference.json"})
_log = logging.getLogger(__name__)
_UP = 2
_DOWN = 3
_MOST_FOLDERS = 2000
_ODD_CONTENT = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What reading a file of the right name and the wrong content can raise."""


def kind_of(folder: Path) -> Kind:
    """Return what a folder looks like, whole or not; "unknown" when nothing in it belongs to a model."""
    checks: tuple[tuple[Kind, Callable[[Path], bool]], ...] = (
        ("atlas", is_atlas),
        ("monai", is_monai),
        ("nnunet", is_nnunet),
        ("autoorgan", is_autoorgan),
    )
    try:
        return next((kind for kind, check in checks if check(folder)), "unknown")
    except OSError:  # a folder that is closed to us
        return "unknown"


def describe_model(path: Path, *, thorough: bool = False) -> ModelFacts:
    """Return what is known about a model; never raises for a model that is gone, damaged or none.

    Args:
        path: A model folder, as `find_models` gives it.
        thorough: See `describe_atlas`.
    """
    path = Path(path)
    kind: Kind = "unknown"
    try:
        _require_there(path)
        kind = kind_of(path)
        if kind == "unknown":
            raise unrecognized(path)
        if kind == "atlas":
            return describe_atlas(path, thorough=thorough)
        return {"monai": describe_monai, "nnunet": describe_nnunet, "autoorgan": describe_autoorgan}[kind](path)
    except AtlasError as error:
        return ModelFacts(path, kind, path.name, problem=error.message, remedy=error.remedy)
    except OSError as error:
        problem = f"{path} cannot be read ({error.strerror or error})."
        return ModelFacts(path, kind, path.name, problem=problem, remedy="Check the folder and its permissions.")
    except _ODD_CONTENT as error:  # one model with odd files must not take the whole list away
        _log.exception("%s could not be described", path)
        problem = f"{path} cannot be understood ({type(error).__name__}: {error!s:.200})."
        return ModelFacts(path, kind, path.name, problem=problem, remedy="Copy the model again, or remove it from the list.")


def find_models(path: Path) -> list[Path]:
    """Return the model folders that a chosen folder or file means: itself, the model it is a part of, or the models in it.

    Raises:
        ModelError: There is none; says what was found and what kind it comes nearest to.
    """
    path = Path(path)
    _require_there(path)
    start = path if path.is_dir() else path.parent
    if path.is_dir() or path.suffix in NETWORKS or path.name in _DESCRIPTIONS:
        for folder in (start, *list(start.parents)[:_UP]):
            if kind_of(folder) != "unknown" and _is_part(start, folder):
                return [folder.resolve()]
    if path.is_file():
        raise unrecognized_file(path)
    found = [folder.resolve() for folder in models_below(path)]
    if not found:
        raise unrecognized(path)
    return found


def models_below(folder: Path) -> list[Path]:
    """Return the folders up to three levels below a folder that look like models, sorted; a huge tree is not searched to its end."""
    found: list[Path] = []
    level, looked = [folder], 0
    for _ in range(_DOWN):
        children = [child for parent in level for child in _folders_in(parent)][: _MOST_FOLDERS - looked]
        looked += len(children)
        models = [child for child in children if kind_of(child) != "unknown"]
        found += models
        level = [child for child in children if child not in models]
    return sorted(found)


def _folders_in(folder: Path) -> list[Path]:
    try:
        return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
    except OSError:  # closed to us
        return []


def _is_part(start: Path, folder: Path) -> bool:
    """Tell whether a folder is the model folder itself, or one that such a model keeps its weights or settings in."""
    inner = start.relative_to(folder).parts
    return not inner or inner[0] in {"configs", "models", "docs"} or inner[0].startswith("fold_")


def _require_there(path: Path) -> None:
    try:
        path.stat()
    except FileNotFoundError as error:
        message = f"{path} is no longer there."
        raise ModelError(message, "Put it back or connect its drive, or remove it from the list.") from error
    except OSError as error:
        message = f"{path} cannot be read ({error.strerror or error})."
        raise ModelError(message, "Check the folder and its permissions, or connect its drive.") from error
