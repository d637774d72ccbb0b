"""The catalogue of models that others publish: Resources/Models/catalogue.json, format "atlas-catalogue/1".

The file is an object with `format`, `sources` (the public texts the facts are taken from, for people) and `models`. A model is an
object with these keys; a key that is missing is empty or unknown, an unknown key is refused:

    name          what `atlas model add` is told; unique, safe as a folder name
    title         one line
    family        who publishes it: "MONAI model zoo", "TotalSegmentator", "AutoOrgan", "AbdomenAtlas"
    set           name under which models that belong together are added at once, or missing
    kind          "nnunet", "monai", "autoorgan", "atlas", "torchscript" or "universal"
    task          number of the nnU-Net data set, or missing
    labels        {"table": NAME} of Resources/Labels; with "range": [FIRST, LAST] label 1, 2, ... is the table's FIRST, FIRST + 1, ...;
                  "names": {"1": NAME, ...} alone, or in place of some of the table's. Missing: it gives no masks, or nobody says
    license       name (SPDX identifier or text), commercial (true, false or null: nobody says), form (whether its owner asks for a
                  registration or a license number first), url (of the text or the form)
    source        page of its authors
    files         [{url, save_as, size, sha256, sha1, md5}]: a zip archive to unpack, or with `save_as` a file to keep under that name.
                  size (bytes) and checksums only where they are published; null or missing otherwise. Empty: no free download
    version       as published
    citation      DOIs, arXiv numbers or addresses, separated by "; "
    orientation   of the images it was trained on, such as "RAS"; missing: unknown
    architecture  of a "universal" checkpoint: "universal-unet" or "universal-swinunetr"
    spacing       of the images it sees, mm, [x, y, z]; missing: unknown, its own files say it
    problem       why this program cannot run it, or missing
    notes         what else to know
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, get_args

from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.files import read_json
from AtlasSegmentLib.labels import LabelTable, name_key, structure_for
from AtlasSegmentLib.resources import resource_path
from AtlasSegmentLib.universal_network import Architecture

FORMAT = "atlas-catalogue/1"
CatalogueKind = Literal["nnunet", "monai", "autoorgan", "atlas", "torchscript", "universal"]
KINDS: tuple[str, ...] = get_args(CatalogueKind)


@dataclass(frozen=True)
class ModelLicense:
    """On what terms a model may be used.

    Attributes:
        name: SPDX identifier or text.
        commercial: Whether commercial use is allowed; None when nobody says.
        form: Whether its owner asks for a registration or a license number first.
        url: Of the text or the form.
    """

    name: str
    commercial: bool | None
    form: bool
    url: str

    @property
    def needs_consent(self) -> bool:
        """Whether people must say yes before anything is downloaded."""
        return self.form or self.commercial is not True

    @property
    def terms(self) -> str:
        """What it asks, in a few words; "" when nothing out of the ordinary."""
        use = {True: "", False: "no commercial use", None: "commercial use not stated"}[self.commercial]
        return ", ".join(filter(None, (use, "registration needed" if self.form else "")))


@dataclass(frozen=True)
class CatalogueFile:
    """A file to download.

    Attributes:
        url: Its address, https.
        save_as: Name under which it is kept; "" for a zip archive that is unpacked.
        size: Published size in bytes, or None.
        sha256: Published checksum, lower case, or "".
        sha1: The same.
        md5: The same.
    """

    url: str
    save_as: str = ""
    size: int | None = None
    sha256: str = ""
    sha1: str = ""
    md5: str = ""


@dataclass(frozen=True)
class CatalogueEntry:
    """A model of the catalogue; the fields are those of the file (see the module's text), empty where unknown."""

    name: str
    title: str
    family: str
    kind: CatalogueKind
    license: ModelLicense
    source: str
    set: str = ""
    task: int | None = None
    labels: LabelTable | None = None
    files: tuple[CatalogueFile, ...] = ()
    version: str = ""
    citation: str = ""
    orientation: str = ""
    spacing: tuple[float, float, float] | None = None
    architecture: Architecture | None = None
    problem: str = ""
    notes: str = ""

    @property
    def organs(self) -> list[str]:
        """Names of its structures in the order of their values."""
        return self.labels.names() if self.labels is not None else []

    @property
    def size(self) -> int | None:
        """Bytes to download, or None when that is not published."""
        sizes = [file.size for file in self.files if file.size is not None]
        return sum(sizes) if sizes and len(sizes) == len(self.files) else None

    def matches(self, words: list[str]) -> bool:
        """Tell whether every word is in the name, title, family, kind, license or a structure (by any of its names)."""
        organs = [name for organ in self.organs for name in (organ, structure_for(organ).name, *structure_for(organ).aliases)]
        about = (self.name, self.title, self.family, self.kind, self.license.name, self.license.terms)
        text = "\n".join(name_key(part) for part in (*about, *organs))
        return all(name_key(word) in text for word in words)


@cache
def catalogue() -> tuple[CatalogueEntry, ...]:
    """Return the models of the catalogue that comes with this software, in the order of the file; read once."""
    return read_catalogue(resource_path("Models", "catalogue.json"))


def read_catalogue(path: Path) -> tuple[CatalogueEntry, ...]:
    """Read and check a catalogue file.

    Raises:
        InputError: It is no catalogue, or a field is missing, unknown or of the wrong kind; names the model and the field.
    """
    from AtlasSegmentLib.model_catalogue_checks import entry_of

    content = read_json(path)
    models = content.get("models") if isinstance(content, dict) and content.get("format") == FORMAT else None
    if not isinstance(models, list):
        message = f"{path}: is not a catalogue of format {FORMAT!r}."
        raise InputError(message, "Give format, sources and models, as model_catalogue.py says.")
    entries = tuple(entry_of(model, f"{path}: model {number}") for number, model in enumerate(models, 1))
    _require_unique(entries, path)
    return entries


def _require_unique(entries: tuple[CatalogueEntry, ...], path: Path) -> None:
    """Names become folders on file systems that ignore case, and a set's name must not be that of a model."""
    seen: set[str] = set()
    for entry in entries:
        if entry.name.casefold() in seen:
            message = f"{path}: the name {entry.name!r} is there twice."
            raise InputError(message, "Give each model a name of its own.")
        seen.add(entry.name.casefold())
    doubled = next((entry.set for entry in entries if entry.set.casefold() in seen), None)
    if doubled:
        message = f"{path}: {doubled!r} is both a model and a set of models."
        raise InputError(message, "Give the set another name.")


def find_entries(name: str) -> tuple[CatalogueEntry, ...]:
    """Return the model of this name, or all models of the set of this name, whatever the case of the letters.

    Raises:
        InputError: The catalogue has neither; the remedy lists close names.
    """
    wanted = name.strip().casefold()
    found = tuple(entry for entry in catalogue() if wanted in {entry.name.casefold(), entry.set.casefold()})
    if found:
        return found
    message = f"{name!r} is no model of the catalogue."
    raise InputError(message, _close(wanted))


def entry_of_file(name: str, sums: Mapping[str, str]) -> tuple[CatalogueEntry, bool] | None:
    """Return the model that a file on this machine is, and whether a published checksum proves it, or None.

    Args:
        name: The file's name; it decides where no checksum is published.
        sums: Its checksums by "sha256", "sha1" and "md5".
    """
    named = None
    for entry in catalogue():
        for file in entry.files if len(entry.files) == 1 else ():
            published = {kind: value for kind in ("sha256", "sha1", "md5") if (value := getattr(file, kind))}
            if published and all(sums.get(kind) == value for kind, value in published.items()):
                return entry, True
            if not published and file.url.rpartition("/")[2] == name:
                named = entry
    return None if named is None else (named, False)


def _close(wanted: str) -> str:
    names = {text.casefold(): text for entry in catalogue() for text in (entry.set, entry.name) if text}
    near = difflib.get_close_matches(wanted, list(names), n=3) or [text for text in names if wanted in text][:3]
    shown = f"Did you mean {', '.join(names[text] for text in near)}? " if near else ""
    return f"{shown}atlas model list shows all names."
