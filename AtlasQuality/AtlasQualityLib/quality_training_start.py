"""How a training begins and how it is known to be finished: one folder is one training, which goes on only when that is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from AtlasQualityLib.quality_manifest import FILE, ONNX, SAFETENSORS, read_manifest
from AtlasQualityLib.quality_training_ranks import Ranks
from AtlasSegmentLib.errors import AtlasError, InputError
from AtlasSegmentLib.files import make_folder, sha256_of, storage_errors, write_json

STARTED = "started.json"
FORMAT = "atlas-quality-training-start/1"


def claim(folder: Path, ranks: Ranks, *, resume: bool) -> None:
    """Note that a training begins in a folder, before its examples are made.

    Raises:
        InputError: One was started there before, and `resume` does not say that it shall go on.
        StorageError: The folder cannot be written.
    """
    is_started = (folder / STARTED).is_file()
    ranks.wait()  # nobody looks after the first process has written
    if is_started and not resume:
        message = f"{folder.parent}: a training has been started here."
        raise InputError(message, "Add --resume to go on, or choose another --out.")
    if ranks.is_first and not is_started:
        with storage_errors(folder):
            make_folder(folder)
        write_json(folder / STARTED, {"format": FORMAT})


def whole_card(folder: Path) -> dict[str, Any] | None:
    """Return the card of a model folder that is whole: quality.json, and the weights that it was written with; else None."""
    try:
        manifest = read_manifest(folder)
        same = all(manifest.sha256.get(name) == sha256_of(folder / name) for name in (ONNX, SAFETENSORS))
    except AtlasError:
        return None
    return dict(manifest.card) if same and (folder / FILE).is_file() else None
