"""Which models there are on this machine, where they come from, and what a name on the command line means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.model_catalogue import catalogue
from AtlasSegmentLib.model_facts import ModelFacts
from AtlasSegmentLib.model_kinds import describe_model, find_models
from AtlasSegmentLib.model_list import ModelList, folders_named
from AtlasSegmentLib.model_store import ModelStore
from AtlasSegmentLib.model_store_folders import data_folder, store_folders
from AtlasSegmentLib.model_store_record import Installed
from AtlasSegmentLib.starter_models import starter_folder


@dataclass(frozen=True)
class KnownModel:
    """A model on this machine.

    Attributes:
        facts: What its folder says about it.
        own: Whether it is in the list of `atlas model add FOLDER`.
        stored: What the store knows about it, or None when the store did not put it there.
    """

    facts: ModelFacts
    own: bool = False
    stored: Installed | None = None

    @property
    def name(self) -> str:
        """The name that the commands take: that of the store, else that of the model."""
        return self.stored.record.name if self.stored is not None else self.facts.name


class ModelIndex:
    """The models of this machine, as the environment names their folders.

    Args:
        environment: Such as os.environ.

    Raises:
        StorageError: It names neither a home nor a folder for models.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        roots = store_folders(environment)
        self.stores = [ModelStore(root) for root in roots]
        settings = data_folder(environment) or roots[0]
        self.list = ModelList(settings, [*folders_named(environment), starter_folder()])
        """The user's list of folders, with those of ATLAS_MODELS and the models that come with the program."""

    @property
    def store(self) -> ModelStore:
        """The store that new models go to."""
        return self.stores[0]

    def models(self) -> list[KnownModel]:
        """Return all models, each once: the user's list, then what is in the folders."""
        listed = self.list.models()
        stored = [model for store in self.stores for model in store.installed()]
        known = [KnownModel(model.facts, model.own, _within(model.facts.path, stored)) for model in listed]
        seen = {model.stored.folder for model in known if model.stored is not None}
        return [*known, *(KnownModel(describe_model(model.folder), False, model) for model in stored if model.folder not in seen)]

    def find(self, text: str) -> list[KnownModel]:
        """Return the models that a name or a path means.

        Raises:
            InputError: Nothing has this name, or the catalogue has it and it is not on this machine.
            ModelError: The path holds no model.
        """
        models = self.models()
        wanted = text.strip().casefold()
        found = [
            model for model in models if wanted in {model.name.casefold(), model.facts.name.casefold(), str(model.facts.path).casefold()}
        ]
        if found:
            return found
        if Path(text).exists():
            paths = find_models(Path(text))
            by_path = {model.facts.path: model for model in models}
            return [by_path.get(path, KnownModel(describe_model(path))) for path in paths]
        members = {entry.name.casefold() for entry in catalogue() if wanted in {entry.set.casefold(), entry.name.casefold()}}
        found = [model for model in models if model.name.casefold() in members]
        if found:
            return found
        message = f"{text!r}: no model of this name is on this machine, and there is no such folder."
        raise InputError(message, f"atlas model add {text}" if members else "atlas model list shows all names.")


def _within(path: Path, stored: list[Installed]) -> Installed | None:
    resolved = path.resolve()
    return next((model for model in stored if resolved.is_relative_to(model.folder.resolve())), None)
