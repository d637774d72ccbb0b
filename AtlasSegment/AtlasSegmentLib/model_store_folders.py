"""Where models are kept: the user's data folder, and what ATLAS_MODELS names."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from AtlasSegmentLib.errors import StorageError
from AtlasSegmentLib.model_kinds import kind_of

VARIABLE = "ATLAS_MODELS"
"""Environment variable with folders of models, separated as in PATH; downloads go to the first that is not itself a model."""

MODELS = "models"
"""Folder for downloaded models inside the data folder."""


def data_folder(environment: Mapping[str, str], platform: str = sys.platform) -> Path | None:
    """Return the folder for a user's data of this program, or None when the environment names no home; it may not exist yet.

    Args:
        environment: Such as os.environ.
        platform: As sys.platform.
    """
    if platform == "win32":
        base = environment.get("LOCALAPPDATA")
        return Path(base) / "AtlasAnnotator" if base else None
    home = environment.get("HOME")
    if platform == "darwin":
        return Path(home) / "Library" / "Application Support" / "AtlasAnnotator" if home else None
    base = environment.get("XDG_DATA_HOME")
    if base and Path(base).is_absolute():  # the standard says to ignore a relative one
        return Path(base) / "atlas-annotator"
    return Path(home) / ".local" / "share" / "atlas-annotator" if home else None


def variable_folders(environment: Mapping[str, str]) -> list[Path]:
    """Return the folders that ATLAS_MODELS names."""
    return [Path(entry) for entry in environment.get(VARIABLE, "").split(os.pathsep) if entry]


def download_folder(environment: Mapping[str, str]) -> Path:
    """Return the folder that models are downloaded to; it may not exist yet.

    Raises:
        StorageError: ATLAS_MODELS names none, and the environment no home.
    """
    named = next((folder for folder in variable_folders(environment) if kind_of(folder) == "unknown"), None)
    if named is not None:
        return named
    data = data_folder(environment)
    if data is None:
        message = "There is no folder for models: neither ATLAS_MODELS nor a home folder is set."
        raise StorageError(message, "Set ATLAS_MODELS to a folder for models.")
    return data / MODELS


def store_folders(environment: Mapping[str, str]) -> list[Path]:
    """Return the folders that may hold downloaded models, the one for new ones first. Raises StorageError."""
    data = data_folder(environment)
    usual = [data / MODELS] if data is not None else []
    return list(dict.fromkeys([download_folder(environment), *usual, *variable_folders(environment)]))
