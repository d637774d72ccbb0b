"""CTs to try the program on: one from Slicer's public sample store, and a phantom that needs no network."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from AtlasSegmentLib.errors import AtlasError, ModelError, StorageError
from AtlasSegmentLib.label_files import read_stated_labels
from AtlasSegmentLib.model_catalogue import CatalogueFile
from AtlasSegmentLib.model_download import Patience, download
from AtlasSegmentLib.model_store_folders import data_folder
from AtlasSegmentLib.phantom_files import REFERENCE, PhantomRequest, write_phantom
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.volume_io import read_volume

Choice = Literal["auto", "download", "phantom"]
CHOICES: tuple[Choice, ...] = ("auto", "download", "phantom")
SHA256 = "e16eae0ae6fefa858c5c11e58f0f1bb81834d81b7102e021571056324ef6f37e"
CT_FILE = CatalogueFile(
    url=f"https://github.com/Slicer/SlicerTestingData/releases/download/SHA256/{SHA256}", save_as="CTLiver.nrrd", sha256=SHA256
)
"""The CT of an abdomen that Slicer offers as its sample "CTLiver", named by its checksum."""
CT_TITLE = "CTLiver, a CT of an abdomen from Slicer's sample data (Medical Segmentation Decathlon, task 3)"
PHANTOM_SEED, PHANTOM_SPACING = 11, 2.5
PHANTOM_TITLE = "a phantom drawn from formulas, no person's scan"
_FOLDER = "samples"
_QUICK = Patience(tries=1, pause=0.0, timeout=5.0)
_AUTO_SECONDS = 45.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sample:
    """A CT to try the program on.

    Attributes:
        ct: The file.
        title: What it is, for people.
        reference: Exact labels, where there are some (beside it lies their table).
    """

    ct: Path
    title: str
    reference: Path | None = None


class _SlowError(AtlasError):
    """The download would take too long."""


def sample_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return where samples are kept. Raises StorageError when the environment names no home."""
    folder = data_folder(environment)
    if folder is None:
        message = "There is no folder for sample data: no home folder is set."
        raise StorageError(message, "Set HOME, or give a CT of your own.")
    return folder / _FOLDER


def sample_ct(folder: Path, choice: Choice = "auto", progress: ProgressCallback = ignore_progress) -> Sample:
    """Return a CT, made or downloaded unless it is there already.

    Args:
        folder: Where it is kept.
        choice: "auto" takes the downloaded CT where the store answers and 45 seconds are enough, else the phantom; what came of the
            download is kept, so that it goes on the next time.
        progress: Told the finished share.

    Raises:
        ModelError: "download" was asked for and cannot be done, or another file came.
        StorageError: The folder cannot be written.
    """
    if choice == "phantom":
        return phantom_sample(folder, progress)
    end = time.monotonic() + _AUTO_SECONDS

    def told(share: float, text: str) -> None:
        if choice == "auto" and time.monotonic() > end and share < 1:
            message = f"the download takes longer than {_AUTO_SECONDS:.0f} s."
            raise _SlowError(message, "It goes on the next time.")
        progress(share, text)

    try:
        found = download(CT_FILE, folder / CT_FILE.save_as, told, _QUICK if choice == "auto" else Patience())
    except StorageError:
        raise
    except AtlasError as error:
        if choice == "download":
            raise ModelError(error.message, "Without a network use --sample phantom, or a CT of your own (--ct).") from error
        _log.info("no sample CT from the network (%s); a phantom is taken", error.message)
        return phantom_sample(folder, progress)
    return Sample(found.path, CT_TITLE)


def phantom_sample(folder: Path, progress: ProgressCallback = ignore_progress) -> Sample:
    """Return the phantom with its exact labels, drawn unless it is there, whole. Raises StorageError when the folder cannot be written."""
    request = PhantomRequest(folder, PHANTOM_SEED, (PHANTOM_SPACING,) * 3)
    case = folder / request.name
    ct, reference = case / "ct.nii.gz", case / REFERENCE
    drawn = write_phantom(request, progress)
    if drawn is None and not _is_whole(ct, reference):
        _log.warning("%s: the phantom is damaged and is drawn again.", case)
        write_phantom(replace(request, force=True), progress)
    return Sample(ct, PHANTOM_TITLE, reference)


def _is_whole(ct: Path, reference: Path) -> bool:
    try:
        read_volume(ct)
        read_stated_labels(reference, None)
    except AtlasError:
        return False
    return True
