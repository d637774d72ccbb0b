"""What `atlas model` prints about models: rows of the list, details, JSON."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from AtlasSegmentLib.model_card import read_card
from AtlasSegmentLib.model_catalogue import CatalogueEntry
from AtlasSegmentLib.model_check import CheckReport
from AtlasSegmentLib.model_facts import KIND_TITLES, short_license, size_text
from AtlasSegmentLib.model_store_index import KnownModel
from AtlasSegmentLib.model_store_record import Installed
from AtlasSegmentLib.starter_models import came_along

COLUMNS = ("name", "what", "kind", "structures", "license", "size", "state")


def catalogue_row(entry: CatalogueEntry, known: KnownModel | None) -> tuple[str, ...]:
    """Return the row of a model of the catalogue."""
    size = known.facts.size if known is not None else entry.size or 0
    organs = len(known.facts.organs) if known is not None and known.facts.organs else len(entry.organs)
    return (entry.name, entry.title, entry.kind, str(organs or ""), _license(entry), size_text(size), state_of(entry, known))


def local_row(known: KnownModel) -> tuple[str, ...]:
    """Return the row of a model that the catalogue does not have."""
    facts = known.facts
    elsewhere = "came along" if came_along(facts.path) else "found"
    state = "cannot be used" if facts.problem else "installed" if known.stored else "in your list" if known.own else elsewhere
    title = facts.title or str(facts.path)
    return (known.name, title, facts.kind, str(len(facts.organs) or ""), facts.short_license, size_text(facts.size), state)


def state_of(entry: CatalogueEntry, known: KnownModel | None) -> str:
    """Return where a model of the catalogue stands, in a word or two."""
    if known is not None:
        return "cannot be used" if known.facts.problem else "installed"
    if entry.problem:
        return "cannot be used"
    return "to download" if entry.files else "by form"


def _license(entry: CatalogueEntry) -> str:
    use = {True: "", False: "non-commercial", None: "use not stated"}[entry.license.commercial]
    name = short_license(entry.license.name) if entry.license.commercial or entry.license.name[:2] == "CC" else ""
    return ", ".join(filter(None, (name, use, "by form" if entry.license.form else "")))


def entry_json(entry: CatalogueEntry, known: KnownModel | None, *, labels: bool = True) -> dict[str, Any]:
    """Return a model of the catalogue as plain values."""
    content = asdict(replace(entry, labels=None))
    content.pop("labels")
    if labels:
        content["labels"] = dict(entry.labels.labels) if entry.labels is not None else None
    return content | {"organs": entry.organs, "state": state_of(entry, known)} | _place(known)


def local_json(known: KnownModel) -> dict[str, Any]:
    """Return a model that the catalogue does not have as plain values."""
    facts = known.facts
    about = {"name": known.name, "title": facts.title, "kind": facts.kind, "organs": list(facts.organs), "license": {"name": facts.license}}
    card = read_card(facts.path)
    return {**about, "state": local_row(known)[-1], **_place(known), **({"card": card} if card else {})}


def _place(known: KnownModel | None) -> dict[str, Any]:
    if known is None:
        return {"folder": None}
    place = {"folder": str(known.facts.path), "bytes": known.facts.size, "needs_roi": known.facts.needs_roi}
    wrong = {"problem": known.facts.problem, "remedy": known.facts.remedy} if known.facts.problem else {}
    return {**place, **wrong, "stored": asdict(known.stored.record) if known.stored else None}


def entry_details(entry: CatalogueEntry, known: KnownModel | None) -> list[tuple[str, str]]:
    """Return (what, value) of everything that is known about a model of the catalogue; what is unknown says so."""
    terms = f" ({entry.license.terms})" if entry.license.terms else ""
    rows = [
        ("title", entry.title),
        ("from", f"{entry.family}: {entry.source}"),
        ("kind", f"{entry.kind}{f', task {entry.task}' if entry.task else ''}"),
        ("version", entry.version or "not stated"),
        ("license", f"{entry.license.name}{terms}: {entry.license.url}"),
        ("trained in", f"{entry.orientation or 'unknown orientation'}, {_spacing(entry)}"),
        ("structures", ", ".join(f"{value} {name}" for value, name in entry.labels.labels.items()) if entry.labels else "not stated"),
        ("cite", entry.citation or "not stated"),
        *(("file", _file_text(entry, number)) for number in range(len(entry.files))),
        ("cannot be used", entry.problem),
        ("notes", entry.notes),
        ("state", state_of(entry, known)),
    ]
    return [row for row in rows if row[1]] + (_known_details(known) if known is not None else [])


def _spacing(entry: CatalogueEntry) -> str:
    return f"{' x '.join(f'{mm:g}' for mm in entry.spacing)} mm" if entry.spacing else "voxel size in its own files"


def _file_text(entry: CatalogueEntry, number: int) -> str:
    file = entry.files[number]
    sums = [f"{kind} {value}" for kind in ("sha256", "sha1", "md5") if (value := getattr(file, kind))]
    published = ", ".join(filter(None, (size_text(file.size or 0), *sums)))
    return f"{file.url} ({published or 'size and checksum are not published'})"


def local_details(known: KnownModel) -> list[tuple[str, str]]:
    """Return (what, value) of a model that the catalogue does not have."""
    facts = known.facts
    rows = [
        ("title", facts.title),
        ("kind", KIND_TITLES[facts.kind]),
        ("license", facts.license or "not stated"),
        ("structures", ", ".join(facts.organs) or "not stated"),
        ("state", local_row(known)[-1]),
    ]
    return [row for row in rows if row[1]] + _known_details(known)


def _known_details(known: KnownModel) -> list[tuple[str, str]]:
    facts = known.facts
    rows = [("folder", str(facts.path)), ("on the disk", size_text(facts.size)), ("problem", f"{facts.problem} {facts.remedy}".strip())]
    rows.append(("region", "needs one (--roi)" if facts.needs_roi else ""))
    if known.stored is not None:
        rows += [("added", known.stored.record.added), *(("source", line) for line in source_lines(known.stored))]
        rows.append(("license accepted", known.stored.record.accepted))
    return [row for row in rows if row[1]]


def source_lines(model: Installed) -> list[str]:
    """Return a line for each file that a model came from: its checksum and whether it was published or recorded now."""
    lines = []
    for source in model.record.sources:
        if not source.sha256:
            lines.append(source.address)
            continue
        told = f"{', '.join(source.checked)} as published" if source.checked else "no checksum is published, so it is recorded now"
        lines.append(f"{source.address}: {size_text(source.size)}, SHA-256 {source.sha256} ({told})")
    return lines


def report_json(report: CheckReport, name: str) -> dict[str, Any]:
    """Return what a check found as plain values."""
    return {
        "name": name,
        "folder": str(report.folder),
        "kind": report.facts.kind,
        "organs": list(report.facts.organs),
        "ok": report.usable,
        "engine": report.engine,
        "device": report.device,
        "steps": [{"step": step, "found": found} for step, found in report.steps],
        "problem": report.problem,
        "remedy": report.remedy,
    }
