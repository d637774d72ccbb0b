"""The commands `atlas model`: list, show, remove, check, and those of the files beside it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from AtlasSegmentLib import commands_model_texts as texts
from AtlasSegmentLib import console
from AtlasSegmentLib.commands_model_add import add_command
from AtlasSegmentLib.commands_model_convert import convert_command
from AtlasSegmentLib.commands_model_export import export_onnx_command, quantize_command
from AtlasSegmentLib.devices import DEVICES, device_of
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.model_card import card_rows, measured_table, read_card
from AtlasSegmentLib.model_catalogue import CatalogueEntry, catalogue, find_entries
from AtlasSegmentLib.model_check import CheckReport, check_model
from AtlasSegmentLib.model_facts import size_text
from AtlasSegmentLib.model_store_index import KnownModel, ModelIndex


def model_app() -> typer.Typer:
    """Return the program `atlas model`."""
    app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Find, download, check and remove models.")
    app.command("list")(list_command)
    app.command("show")(show_command)
    app.command("add")(add_command)
    app.command("remove")(remove_command)
    app.command("check")(check_command)
    app.command("convert")(convert_command)
    app.command("export-onnx")(export_onnx_command)
    app.command("quantize")(quantize_command)
    return app


def list_command(
    words: Annotated[
        list[str] | None, typer.Argument(help="Show only models with all these words: name, structure, license, kind.")
    ] = None,
    installed: Annotated[bool, typer.Option("--installed", help="Show only what is on this machine.")] = False,
    as_json: console.JsonOption = False,
) -> None:
    """List the models of the catalogue and of this machine.

    Example: atlas model list pancreas apache
    """
    index = ModelIndex(os.environ)
    known = index.models()
    entries = [(entry, _known(entry, known)) for entry in catalogue() if entry.matches(words or [])]
    names = {entry.name for entry in catalogue()}
    local = [model for model in known if model.name not in names and model.facts.matches(" ".join(words or []))]
    entries = [(entry, here) for entry, here in entries if here is not None or not installed]
    if as_json:
        models = [*(texts.local_json(model) for model in local), *(texts.entry_json(*pair, labels=False) for pair in entries)]
        console.print_json({"folder": str(index.store.root), "models": models})
        return
    rows = [*(texts.local_row(model) for model in local), *(texts.catalogue_row(*pair) for pair in entries)]
    console.print_table("1 model" if len(rows) == 1 else f"{len(rows)} models", texts.COLUMNS, rows)
    unfinished = size_text(index.store.unfinished())
    console.print_line(f"Downloads go to {index.store.root}{f'; {unfinished} of unfinished ones are there' if unfinished else ''}.")


def _known(entry: CatalogueEntry, known: list[KnownModel]) -> KnownModel | None:
    return next((model for model in known if model.stored is not None and model.name == entry.name), None)


def show_command(
    name: Annotated[str, typer.Argument(help="Name of a model or set of models, or a model folder.")],
    as_json: console.JsonOption = False,
) -> None:
    """Show all that is known about a model: structures, license, files, where it lies.

    Example: atlas model show totalsegmentator-total-organs
    """
    index = ModelIndex(os.environ)
    known = index.models()
    if Path(name).exists():
        local = index.find(name)
        entries: tuple[CatalogueEntry, ...] = ()
    else:
        local = [model for model in known if name.casefold() in {model.name.casefold(), model.facts.name.casefold()}]
        named = {entry.name for entry in catalogue()}
        local = [model for model in local if model.name not in named]
        entries = () if local else find_entries(name)
    if as_json:
        models = [texts.entry_json(entry, _known(entry, known)) for entry in entries]
        console.print_json({"models": models + [texts.local_json(model) for model in local]})
        return
    for entry in entries:
        console.print_table(entry.name, ("what", "value"), texts.entry_details(entry, _known(entry, known)))
    for model in local:
        card = read_card(model.facts.path)
        console.print_table(model.name, ("what", "value"), [*texts.local_details(model), *card_rows(card)])
        header, rows = measured_table(card)
        if rows:
            console.print_table(f"{model.name}: Dice on CTs", header, rows)


def remove_command(
    name: Annotated[list[str], typer.Argument(help="Names of models, or folders of your list.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: console.JsonOption = False,
) -> None:
    """Delete models that this program downloaded; folders of yours are only taken from the list.

    Example: atlas model remove spleen_ct_segmentation
    """
    index = ModelIndex(os.environ)
    chosen = {model.facts.path: model for text in name for model in _to_remove(index, text)}
    for model in chosen.values():
        _require_removable(model)
    stored = {model.name: model.stored for model in chosen.values() if model.stored is not None}
    if stored and not yes:
        size = size_text(sum(model.record.size for model in stored.values()))
        _ask(f"Delete {', '.join(stored)} ({size}) from {index.store.root}?")
    results = []
    for one, installed in stored.items():
        left = next(store for store in index.stores if store.root == installed.folder.parent).remove(one)
        kept = f"; these were not put there by it and are kept in {installed.folder}: {', '.join(left)}" if left else ""
        results.append({"name": one, "deleted": True, "left": left, "told": f"{one}: deleted{kept}"})
    for path, model in chosen.items():
        if model.own:
            index.list.remove(path)
        if model.stored is None:
            told = f"{model.name}: no longer in your list; its folder {path} stays"
            results.append({"name": model.name, "deleted": False, "left": [], "told": told})
    if as_json:
        console.print_json({"removed": results})
        return
    for result in results:
        console.print_line(f"{result['told']}.")


def _to_remove(index: ModelIndex, text: str) -> list[KnownModel]:
    """Return what a name means; a folder of the list may be gone from the disk."""
    gone = [model for model in index.models() if model.own and model.facts.path == Path(text).absolute()]
    return gone or index.find(text)


def _require_removable(model: KnownModel) -> None:
    if model.stored is None and not model.own:
        message = f"{model.facts.path}: this program did not put it there, and it is not in your list."
        raise InputError(message, "Delete the folder yourself, or take it out of ATLAS_MODELS.")


def _ask(question: str) -> None:
    if not sys.stdin.isatty():
        raise InputError(question, "Nobody is there to answer; add --yes.")
    if not typer.confirm(question, err=True):
        message = "Nothing was deleted."
        raise InputError(message)


def check_command(
    name: Annotated[list[str] | None, typer.Argument(help="Names of models or model folders; by default all that are here.")] = None,
    device: Annotated[str, typer.Option(help=f"Where the models run: {', '.join(DEVICES)}.")] = DEVICES[0],
    run: Annotated[bool, typer.Option("--run/--no-run", help="Load the model and run it over a CT of zeros.")] = True,
    as_json: console.JsonOption = False,
) -> None:
    """Check models: kind, labels, checksums, safe loading, engine, one run over zeros. Exit 1 when one cannot be used.

    Example: atlas model check spleen_ct_segmentation
    """
    index = ModelIndex(os.environ)
    models = [model for text in name for model in index.find(text)] if name else index.models()
    reports: list[tuple[str, CheckReport]] = []
    where = device_of(device)
    with console.progress_bar("check") as progress:
        for model in models:
            reports.append((model.name, check_model(model.facts.path, model.stored, where, run=run, progress=progress)))
    if as_json:
        console.print_json({"models": [texts.report_json(report, one) for one, report in reports]})
    else:
        for one, report in reports:
            _print_report(one, report)
    broken = sum(not report.usable for _, report in reports)
    if broken:
        raise typer.Exit(console.EXIT_SOME_FAILED)


def _print_report(name: str, report: CheckReport) -> None:
    verdict = "can be used" if report.usable else "CANNOT be used"
    console.print_table(f"{name}: {verdict}", ("what", "found"), [("folder", str(report.folder)), *report.steps])
    if not report.usable:
        console.print_error(f"{name}: {report.problem}", report.remedy)
