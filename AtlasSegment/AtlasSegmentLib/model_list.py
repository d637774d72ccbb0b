"""The user's list of models: a JSON file with the folders, never copies; a model that has vanished stays in it with the reason."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from AtlasSegmentLib.errors import AtlasError, InputError
from AtlasSegmentLib.files import read_json, write_json
from AtlasSegmentLib.model_facts import ModelFacts
from AtlasSegmentLib.model_kinds import describe_model, find_models, kind_of, models_below
from AtlasSegmentLib.model_store_folders import MODELS, data_folder, variable_folders

FORMAT = "atlas-model-list/1"
FILE = "models.json"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ListedModel:
    """A model and where the list has it from.

    Attributes:
        facts: What is known about it.
        own: Whether it is in the user's file, and so can be removed from the list.
    """

    facts: ModelFacts
    own: bool


class ModelList:
    """The models that a user can choose from.

    Args:
        settings: Folder of the list's file; made when it is first written.
        folders: Further folders whose models are offered, such as those of `folders_named`.
    """

    def __init__(self, settings: Path, folders: Iterable[Path] = ()) -> None:
        self._file = Path(settings) / FILE
        self._folders = tuple(folders)

    @property
    def file(self) -> Path:
        """The list's file."""
        return self._file

    def paths(self) -> list[Path]:
        """Return the folders in the user's file, in the order in which they were added; a damaged file is set aside."""
        if not self._file.is_file():
            return []
        try:
            return _paths_in(self._file)
        except AtlasError as error:
            aside = self._file.with_name(f"{FILE}.damaged")
            _log.warning("%s It is kept as %s, and the list starts empty.", error.message, aside.name)
            self._file.replace(aside)
            return []

    def models(self) -> list[ListedModel]:
        """Return every model once: the user's own, then those of the further folders."""
        own = self.paths()
        others = [path.resolve() for folder in self._folders for path in _models_at(folder)]
        listed = dict.fromkeys(own, True) | {path: False for path in others if path not in own}
        return [ListedModel(describe_model(path), mine) for path, mine in listed.items()]

    def add(self, path: Path) -> list[ModelFacts]:
        """Add the models that a chosen folder or file means and return them, also those that cannot be used; see `find_models`.

        Raises:
            ModelError: There is none.
            StorageError: The list cannot be written.
        """
        found = find_models(path)
        facts = [describe_model(folder, thorough=True) for folder in found]  # first: what is stored was looked at
        present = self.paths()
        self._write([*present, *(folder for folder in found if folder not in present)])
        return facts

    def remove(self, path: Path) -> None:
        """Take a model from the list; its folder is not touched. Raises StorageError."""
        self._write([kept for kept in self.paths() if kept != path])

    def _write(self, paths: list[Path]) -> None:
        write_json(self._file, {"format": FORMAT, "models": [str(path) for path in paths]})


def _paths_in(file: Path) -> list[Path]:
    content = read_json(file)
    models = content.get("models") if isinstance(content, dict) and content.get("format") == FORMAT else None
    if not isinstance(models, list) or not all(isinstance(entry, str) for entry in models):
        message = f"{file}: is not a list of models of format {FORMAT!r}."
        raise InputError(message, "Add the models again.")
    return [Path(entry) for entry in dict.fromkeys(models)]


def folders_named(environment: Mapping[str, str]) -> list[Path]:
    """Return the folders that ATLAS_MODELS names, that `atlas model add` downloads to, and that were added with it, each once."""
    folders = variable_folders(environment)
    data = data_folder(environment)
    if data is not None:
        folders += [data / MODELS, *ModelList(data).paths()]
    return list(dict.fromkeys(folders))


def _models_at(folder: Path) -> list[Path]:
    return [folder] if kind_of(folder) != "unknown" else models_below(folder)
