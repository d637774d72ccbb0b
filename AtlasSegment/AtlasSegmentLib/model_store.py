"""The folder of models that this program downloads, unpacks and copies to; it deletes what it put there, and nothing else."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from AtlasSegmentLib.errors import InputError, ModelError
from AtlasSegmentLib.files import copy_file, sha256_of, storage_errors, sync_folder, write_json
from AtlasSegmentLib.locks import exclusive
from AtlasSegmentLib.model_archive import unpack
from AtlasSegmentLib.model_catalogue import CatalogueEntry
from AtlasSegmentLib.model_download import PATIENT, Patience, download
from AtlasSegmentLib.model_facts import listing
from AtlasSegmentLib.model_kinds import find_models
from AtlasSegmentLib.model_kinds_atlas import FILE as MANIFEST
from AtlasSegmentLib.model_kinds_nnunet import NOTE
from AtlasSegmentLib.model_store_files import clear_work, delete_recorded, files_below, move_into, others_in
from AtlasSegmentLib.model_store_record import Installed, StoredSource, StoreRecord, files_in, now, read_record, write_record
from AtlasSegmentLib.names import safe_name
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.universal_manifest import universal_manifest

WORK = ".downloads"
"""Folder inside the store for what is not finished; hidden, so that nothing in it is taken for a model."""
_log = logging.getLogger(__name__)


class ModelStore:
    """A folder of models.

    Args:
        root: Made when something is first added.
        patience: How long downloads are tried.
    """

    def __init__(self, root: Path, patience: Patience = PATIENT) -> None:
        self.root = Path(root).absolute()
        self._patience = patience

    def installed(self) -> list[Installed]:
        """Return the models that the store made, sorted by name; folders of other people are not among them."""
        found = []
        for folder in sorted(self.root.iterdir()) if self.root.is_dir() else []:
            with suppress(ModelError):  # an unreadable record makes a folder somebody else's
                record = None if folder.is_symlink() or folder.name.startswith(".") else read_record(folder)
                if record is not None and record.name == folder.name:
                    found.append(Installed(folder, record))
        return found

    def get(self, name: str) -> Installed | None:
        """Return the model of this name, whatever the case of the letters, or None."""
        return next((model for model in self.installed() if model.record.name.casefold() == name.casefold()), None)

    def unfinished(self) -> int:
        """Return the bytes of downloads that wait to be continued."""
        return sum(path.stat().st_size for path in (self.root / WORK).rglob("*") if path.is_file())

    def download(
        self, entry: CatalogueEntry, *, accepted: bool = False, again: bool = False, progress: ProgressCallback = ignore_progress
    ) -> Installed:
        """Download a model of the catalogue; one that is there already is returned as it is.

        Args:
            entry: The model.
            accepted: A person agreed to its license.
            again: Replace the one that is there.
            progress: Told the finished share and the stage.

        Raises:
            InputError: Its license wants a consent that is not given, or there is a folder of that name that the store did not make.
            ModelError: There is no free download, the download fails, or what came is no model.
            StorageError: It cannot be written.
        """
        if entry.license.needs_consent and not accepted:
            message = f"{entry.name}: its license ({entry.license.name}; {entry.license.terms}) must be accepted first: {entry.license.url}"
            raise InputError(message, "Read it, then add --accept-license.")
        if not entry.files:
            message = f"{entry.name}: there is no free download; its owner gives it by a form: {entry.license.url}"
            raise ModelError(message, "Get it there, then: atlas model add FOLDER_OR_ZIP")
        with self._work(entry.name) as work:
            present = self.get(entry.name)
            if present is not None and not again:
                return present
            self._require_place(entry.name, present)
            content = work / "content"
            sources = tuple(self._fetch(entry, number, work, content, progress) for number in range(len(entry.files)))
            if entry.architecture is not None:  # a lone file of weights; which network it belongs to is said by the catalogue
                manifest = universal_manifest(entry.name, entry.architecture, entry.files[0].save_as, sources[0].sha256)
                write_json(content / MANIFEST, {**manifest, "license": entry.license.name, "citation": entry.citation})
            _require_model(content, entry.name, work)
            _state_facts(content, entry)
            when = now() if accepted and entry.license.needs_consent else ""
            record = StoreRecord(entry.name, "download", sources, {}, entry.version, entry.license.name, when)
            return self._finish(record, content, present)

    def _fetch(self, entry: CatalogueEntry, number: int, work: Path, content: Path, progress: ProgressCallback) -> StoredSource:
        file, count = entry.files[number], len(entry.files)
        name = file.save_as or f"{number}-{Path(urlsplit(file.url).path).name or 'archive.zip'}"
        share = _part(progress, number / count, 0.9 / count)
        done = download(file, work / safe_name(name, "file name"), share, self._patience)
        if file.save_as:
            with storage_errors(content):
                content.mkdir(exist_ok=True)
                os.replace(done.path, content / file.save_as)  # noqa: PTH105 - the atomic call
        else:
            try:
                unpack(done.path, work / f"unpacked-{number}", _part(progress, (number + 0.9) / count, 0.1 / count))
            except ModelError:  # a full disk keeps the archive for the next try, a bad archive is fetched again
                done.path.unlink()
                raise
            move_into(work / f"unpacked-{number}", content)
        return StoredSource(file.url, done.size, done.sha256, done.checked)

    def add_archive(
        self, archive: Path, name: str, entry: CatalogueEntry | None = None, progress: ProgressCallback = ignore_progress
    ) -> Installed:
        """Unpack a zip file that the user has.

        Args:
            archive: Opened for reading only.
            name: Name for the model.
            entry: The model of the catalogue that it is known to be, or None.
            progress: Told the finished share and the stage.

        Raises:
            InputError: A model or folder of that name is there.
            ModelError: It is no zip archive, is refused, or holds no model.
            StorageError: It cannot be written.
        """
        with self._work(safe_name(name, "model name")) as work:
            self._require_free(name)
            content = work / "content"
            unpack(archive, content, _part(progress, 0.0, 0.9))
            _require_model(content, str(archive), work)
            if entry is not None:
                _state_facts(content, entry)
            source = StoredSource(str(archive.absolute()), archive.stat().st_size, sha256_of(archive))
            version, license_ = (entry.version, entry.license.name) if entry is not None else ("", "")
            return self._finish(StoreRecord(name, "archive", (source,), {}, version, license_), content)

    def add_copy(self, folder: Path, name: str, progress: ProgressCallback = ignore_progress) -> Installed:
        """Copy a model folder of the user into the store; links in it are followed.

        Raises:
            InputError: A model or folder of that name is there, a file cannot be read, or the store lies inside that folder.
            StorageError: It cannot be written.
        """
        if self.root.resolve().is_relative_to(folder.resolve()):
            message = f"{folder}: holds the folder for models {self.root} itself."
            raise InputError(message, "Name the folder of one model.")
        with self._work(safe_name(name, "model name")) as work:
            self._require_free(name)
            content = work / "content"
            paths = files_below(folder)
            for number, path in enumerate(paths):
                progress(number / len(paths), "copy")
                copy_file(path, content / path.relative_to(folder))
            return self._finish(StoreRecord(name, "copy", (StoredSource(str(folder.absolute())),)), content)

    def remove(self, name: str) -> list[str]:
        """Delete a model that the store made, file by file as they are in its record, and return what was left because it is not.

        Killed in between, it goes on at the next call: the record goes last.

        Raises:
            InputError: The store made no such model.
            StorageError: A file cannot be deleted.
        """
        model = self.get(name)
        if model is None:
            message = f"{name!r}: is no model that this program put into {self.root}."
            raise InputError(message, "Only such models are deleted; your own folders are yours to delete.")
        with self._work(model.record.name):
            return delete_recorded(model)

    def _require_free(self, name: str) -> None:
        folder = self.root / name
        if folder.exists() or self.get(name) is not None:
            message = f"{folder}: is there already."
            raise InputError(message, f"Remove it first (atlas model remove {name}), or give another name with --name.")

    def _require_place(self, name: str, present: Installed | None) -> None:
        """Check that nothing of anybody else stands where a model shall go. Raises InputError."""
        folder = self.root / name
        others = others_in(present) if present is not None else []
        if others:
            message = f"{folder}: holds files that this program did not put there ({', '.join(others[:3])})."
            raise InputError(message, "Move them elsewhere, then run the command again.")
        if present is None and folder.exists():
            message = f"{folder}: is there already and was not made by this program."
            raise InputError(message, "Move it elsewhere, or add it with: atlas model add FOLDER")

    def _finish(self, record: StoreRecord, content: Path, present: Installed | None = None) -> Installed:
        """Give the finished folder its name; until then nothing of it can be seen as a model."""
        folder = self.root / record.name
        record = replace(record, files=files_in(content), added=now())
        write_record(content, record)
        if present is not None:
            _tell_changes(present.record, record)
            delete_recorded(present)
        self._require_place(record.name, None)
        with storage_errors(folder):
            content.rename(folder)
            sync_folder(self.root)
        return Installed(folder, record)

    @contextmanager
    def _work(self, name: str) -> Iterator[Path]:
        """Hold the lock of a model and yield its folder for unfinished things; parts of downloads stay in it when it fails."""
        with exclusive(self.root / WORK / f"{name}.lock"):
            work = self.root / WORK / name
            clear_work(work, keep_parts=True)  # what a killed process unpacked
            with storage_errors(work):
                work.mkdir(exist_ok=True)
            try:
                yield work
            except BaseException:
                clear_work(work, keep_parts=True)
                raise
            clear_work(work, keep_parts=False)


def _require_model(content: Path, what: str, work: Path) -> None:
    """Check that what was unpacked is a model. Raises ModelError; downloaded archives are removed then."""
    try:
        find_models(content)
    except ModelError as error:
        message = f"{what}: no model is in it ({listing(content)})."
        clear_work(work, keep_parts=False)
        raise ModelError(message, error.remedy) from error


def _state_facts(content: Path, entry: CatalogueEntry) -> None:
    """Put beside nnU-Net's own files what they do not say and the catalogue knows: above all how its training images lay."""
    if entry.kind not in {"nnunet", "autoorgan"} or not entry.orientation:
        return
    facts = {"orientation": entry.orientation, "title": entry.title, "version": entry.version, "citation": entry.citation}
    for folder in find_models(content):
        if not (folder / NOTE).exists():
            write_json(folder / NOTE, {**facts, "license": entry.license.name})


def _part(progress: ProgressCallback, start: float, share: float) -> Callable[[float, str], None]:
    def report(fraction: float, message: str) -> None:
        progress(start + share * fraction, message)

    return report


def _tell_changes(old: StoreRecord, new: StoreRecord) -> None:
    before = {source.address: source.sha256 for source in old.sources}
    for source in new.sources:
        if before.get(source.address, source.sha256) != source.sha256:
            _log.warning("%s: another file than on %s is at this address now: SHA-256 %s.", source.address, old.added, source.sha256)
