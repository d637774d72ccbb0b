"""The command `atlas model add`: from the catalogue, a zip file or a folder; licenses are shown and asked for."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from AtlasSegmentLib import console
from AtlasSegmentLib.commands_model_texts import source_lines
from AtlasSegmentLib.errors import AtlasError, InputError, ModelError
from AtlasSegmentLib.model_catalogue import CatalogueEntry, entry_of_file, find_entries
from AtlasSegmentLib.model_download import checksums
from AtlasSegmentLib.model_facts import ModelFacts, size_text
from AtlasSegmentLib.model_kinds import describe_model, find_models
from AtlasSegmentLib.model_store_index import ModelIndex
from AtlasSegmentLib.model_store_record import Installed
from AtlasSegmentLib.names import safe_name
from AtlasSegmentLib.progress import ProgressCallback

Told = dict[str, Any]


def add_command(
    what: Annotated[list[str], typer.Argument(help="Names of the catalogue (a model or a set), model folders, or zip files.")],
    accept: Annotated[bool, typer.Option("--accept-license", help="You have read and accept the license; nothing is asked.")] = False,
    copy: Annotated[bool, typer.Option("--copy", help="Copy a folder; by default it stays where it is and is listed.")] = False,
    name: Annotated[str | None, typer.Option(help="Name for a zip file or a copied folder.")] = None,
    force: console.ForceOption = False,
    as_json: console.JsonOption = False,
) -> None:
    """Download models of the catalogue, or add a folder or zip file without any network.

    A path that exists comes before a name of the catalogue. A download that was cut goes on where it stopped.

    Example: atlas model add spleen_ct_segmentation
    """
    if name is not None and len(what) != 1:
        message = f"--name {name!r} names one model, and {len(what)} are given."
        raise InputError(message, "Add them one by one.")
    index = ModelIndex(os.environ)
    entries = [entry for text in what if not Path(text).exists() for entry in _entries(text)]
    _require_downloads(entries)
    consent(entries, accept)
    told: list[Told] = []
    with console.progress_bar("add") as progress:
        for text in what:
            if Path(text).exists():
                told += _add_path(index, Path(text), copy, name, progress)
        for entry in dict.fromkeys(entries):
            told.append(_told(index.store.download(entry, accepted=True, again=force, progress=_labeled(progress, entry.name))))
    _print(told, as_json)


def _entries(text: str) -> tuple[CatalogueEntry, ...]:
    """Return the models of the catalogue that a text names. Raises InputError that also says so for what was meant as a path."""
    try:
        return find_entries(text)
    except InputError as error:
        if os.sep in text or "/" in text or Path(text).suffix.lower() == ".zip":
            message = f"{text}: there is no such folder or file."
            raise InputError(message, "Check the path.") from error
        message = f"{text!r}: there is no such folder or file, and the catalogue has no model of this name."
        raise InputError(message, error.remedy) from error


def _require_downloads(entries: list[CatalogueEntry]) -> None:
    """Refuse, before anything is asked or downloaded, what cannot be had or cannot be run."""
    for entry in entries:
        if entry.problem:
            message = f"{entry.name} cannot be used: {entry.problem}"
            raise ModelError(message, f"Choose another model (atlas model list); its page: {entry.source}")
        if not entry.files:
            message = f"{entry.name}: its owner gives the weights only after a form ({entry.license.name}): {entry.license.url}"
            raise ModelError(message, "Fill it in, then add what you get: atlas model add FOLDER_OR_ZIP")


def consent(entries: list[CatalogueEntry], accepted: bool) -> None:
    """Show each license that asks for more than the usual and ask once for all.

    Raises:
        InputError: The answer is no, or nobody can answer and --accept-license is not given.
    """
    asking = {(entry.license.name, entry.license.url): entry for entry in entries if entry.license.needs_consent}
    for entry in asking.values():
        typer.echo(f"{entry.name}: {entry.license.name} ({entry.license.terms}). Read it at {entry.license.url}", err=True)
    if not asking or accepted:
        return
    names = ", ".join(entry.name for entry in asking.values())
    if not sys.stdin.isatty():
        first = next(iter(asking.values()))
        message = f"{names}: the license must be accepted first ({first.license.name}; {first.license.terms}): {first.license.url}"
        raise InputError(message, "Nobody is there to ask; read it, then add --accept-license.")
    if not typer.confirm("Do you accept?", err=True):
        message = f"{names}: the license was not accepted; nothing was downloaded."
        raise InputError(message)


def _add_path(index: ModelIndex, path: Path, copy: bool, name: str | None, progress: ProgressCallback) -> list[Told]:
    if path.is_file() and path.suffix.lower() == ".zip":
        return [_add_archive(index, path, name, progress)]
    if copy:
        models = find_models(path)
        folder = path if path.is_dir() else models[0]
        return [_told(index.store.add_copy(folder, name or _name_for(folder, models), progress))]
    if name is not None:
        message = f"--name {name!r}: a folder that is listed where it lies keeps its own name."
        raise InputError(message, "Leave --name out, or add --copy.")
    return [_told_listed(facts) for facts in index.list.add(path)]


def _add_archive(index: ModelIndex, path: Path, name: str | None, progress: ProgressCallback) -> Told:
    progress(0.0, f"read {path.name}")
    found = entry_of_file(path.name, checksums(path)[1])
    entry = found[0] if found is not None else None
    chosen = name or (entry.name if entry is not None else path.stem)
    told = _told(index.store.add_archive(path, chosen, entry, progress))
    if found is not None:
        proof = "its checksum is as published" if found[1] else "by its name; no checksum is published"
        told["notes"].append(f"It is {found[0].name} {found[0].version} of the catalogue ({proof}).")
    return told


def _name_for(folder: Path, models: list[Path]) -> str:
    """Return the name for a copied folder: that of the model when it is one that can be a folder, else that of the folder."""
    try:
        return safe_name(describe_model(models[0]).name, "model name") if len(models) == 1 else folder.resolve().name
    except AtlasError:
        return folder.resolve().name


def _labeled(progress: ProgressCallback, name: str) -> ProgressCallback:
    def report(fraction: float, message: str) -> None:
        progress(fraction, f"{name} · {message}")

    return report


def _told(model: Installed) -> Told:
    models = [describe_model(path) for path in _models_in(model.folder)]
    problem = next((facts.problem for facts in models if facts.problem), "")
    remedy = next((facts.remedy for facts in models if facts.problem), "")
    notes = source_lines(model)
    return {
        "name": model.record.name,
        "folder": str(model.folder),
        "size": model.record.size,
        "sources": [vars(source) for source in model.record.sources],
        "notes": notes,
        "problem": problem,
        "remedy": remedy,
    }


def _models_in(folder: Path) -> list[Path]:
    """Return the models in a folder of the store; none in one that only the catalogue can name (a lone checkpoint)."""
    try:
        return find_models(folder)
    except ModelError:
        return []


def _told_listed(facts: ModelFacts) -> Told:
    notes = ["It stays where it is; your list names it."]
    about: Told = {"name": facts.name, "folder": str(facts.path), "size": facts.size, "sources": []}
    return {**about, "notes": notes, "problem": facts.problem, "remedy": facts.remedy}


def _print(told: list[Told], as_json: bool) -> None:
    if as_json:
        console.print_json({"added": told})
        return
    for one in told:
        console.print_line(f"{one['name']}: {one['folder']} ({size_text(one['size']) or 'empty'})")
        for note in one["notes"]:
            console.print_line(f"  {note}")
        if one["problem"]:
            console.print_error(f"{one['name']} cannot be used: {one['problem']}", one["remedy"])
