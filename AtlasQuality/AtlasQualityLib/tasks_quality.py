"""What the panels let the child process do with a label-quality model: plain values in, plain values out.

The packages that run a model are imported when it is used: whoever lacks them is told so by the call.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from AtlasQualityLib.mask_set import read_scene_masks
from AtlasSegmentLib import geometry
from AtlasSegmentLib.case_folder import open_case
from AtlasSegmentLib.errors import DatasetError, InputError
from AtlasSegmentLib.files import read_json
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.volume import Volume

if TYPE_CHECKING:
    from AtlasQualityLib.quality_model import QualityModel

SCENE_VOLUME = "atlas-scene-volume/1"
_kept: list[tuple[Any, Volume]] = []
"""The CT that was used last, with what tells it from others: a reader scores one mask after another on it."""


def predict_quality_files(
    case: str,
    model: str | None = None,
    embeddings: str | None = None,
    organs: Sequence[str] | None = None,
    progress: ProgressCallback = ignore_progress,
) -> dict[str, Any]:
    """Predict the quality of the average masks of a case folder and keep it there; see `quality_case.quality_case`.

    Args:
        case: Case folder with a CT and masks.
        model: Model folder or SegAE checkpoint; the shipped model when None.
        embeddings: .npz of text embeddings, or None.
        organs: Only these; all when None.
        progress: Told the finished share.

    Returns:
        {"case": path, "model": name, "organs": name of its files to `quality_case.described_quality`, "warnings": sentences}: masks that
        cannot be scored are among the warnings.
    """
    from AtlasQualityLib.quality_case import QualityOptions, quality_case

    folder = open_case(Path(case))
    progress(0.0, "load model")
    loaded = _model(model, embeddings)
    quality_case(folder, loaded, QualityOptions(organs=tuple(organs or ())), progress)
    found = read_json(folder.average.predicted_dice)
    unread = [f"{organ} was not scored: {why['error']} {why['remedy']}" for organ, why in found.get("failed", {}).items()]
    warnings = [*found.get("warnings", ()), *unread]
    return {"case": str(folder.folder), "model": loaded.manifest.name, "organs": found["details"], "warnings": warnings}


def score_scene_masks(
    ct: str,
    masks: str | None = None,
    model: str | None = None,
    embeddings: str | None = None,
    organs: Sequence[str] | None = None,
    progress: ProgressCallback = ignore_progress,
) -> dict[str, Any]:
    """Predict the quality of masks that a scene left on the disk; nothing is written.

    Args:
        ct: An image file, or the file of `write_scene_volume`. It is kept for the next call.
        masks: The file of `mask_set.write_scene_masks`; None only makes model and CT ready.
        model: As for `predict_quality_files`.
        embeddings: The same.
        organs: Canonical names; all when None.
        progress: Told the finished share.

    Returns:
        {"model": name, "organs": canonical name to `quality_case.described_quality`}.

    Raises:
        AtlasError: As `quality_predict.predict_quality` and reading.
    """
    from AtlasQualityLib.quality_case import described_quality
    from AtlasQualityLib.quality_predict import predict_quality

    progress(0.0, "load model")
    loaded = _model(model, embeddings)
    progress(0.02, "read CT")
    image = _ct(Path(ct))
    if masks is None:
        return {"model": loaded.manifest.name, "organs": {}}
    found = predict_quality(image, read_scene_masks(Path(masks)), loaded, organs, progress)
    return {"model": loaded.manifest.name, "organs": {organ: described_quality(one) for organ, one in found.items()}}


def _model(model: str | None, embeddings: str | None) -> QualityModel:
    from AtlasQualityLib.quality_model import cached_quality_model, shipped_model

    return cached_quality_model(Path(model) if model else shipped_model(), Path(embeddings) if embeddings else None)


def _ct(path: Path) -> Volume:
    """Return a CT, the one of the last call where it is the same file. Raises DatasetError when it is not there."""
    from AtlasSegmentLib.volume_io import check_ct, read_volume

    try:
        state = path.stat()
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror or error})."
        raise DatasetError(message, "Predicted quality looks at the CT; copy it into the case folder.") from error
    key = (str(path), state.st_size, state.st_mtime_ns)
    if not _kept or _kept[0][0] != key:
        _kept.clear()  # the old one goes before the new one comes
        volume = read_scene_volume(path) if path.suffix == ".json" else read_volume(path)
        check_ct(volume)
        _kept.append((key, volume))
    return _kept[0][1]


def write_scene_volume(folder: Path, volume: Volume) -> Path:
    """Leave a volume of the scene in a folder for a child process, uncompressed. Returns the file for `read_scene_volume`."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "volume.npy", volume.array)
    path = folder / "volume.json"
    content = {"format": SCENE_VOLUME, "file": "volume.npy", "affine": volume.affine.tolist(), "source": volume.source}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def read_scene_volume(path: Path) -> Volume:
    """Read what `write_scene_volume` left. Raises InputError when it is not that."""
    content = read_json(path)
    try:
        array = np.load(path.parent / content["file"], allow_pickle=False)
        return Volume(array, geometry.check_affine(np.array(content["affine"]), str(path)), str(content["source"]))
    except (KeyError, TypeError, ValueError, OSError) as error:
        message = f"{path}: is not a volume of the scene ({error})."
        raise InputError(message, "Start again.") from error
