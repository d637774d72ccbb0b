"""What nnUNetv2_predict does: a folder of images to a folder of label maps, under nnU-Net's names."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from AtlasSegmentLib.case_pipeline import run_staged
from AtlasSegmentLib.devices import Device
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.files import copy_file
from AtlasSegmentLib.inference_settings import PRESETS, InferenceSettings
from AtlasSegmentLib.labels import LabelTable
from AtlasSegmentLib.model_cache import MODELS, files_of
from AtlasSegmentLib.nnunet_model import NnunetModel
from AtlasSegmentLib.nnunet_prediction import NnunetPrediction
from AtlasSegmentLib.nnunet_region import box_on, looked_at
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.volume import Array, Volume, reorient_like
from AtlasSegmentLib.volume_io import check_ct, label_values, read_volume, write_volume

_CHANNEL = re.compile(r"(?P<case>.+)_0000", re.DOTALL)
ARGUMENTS = "predict_from_raw_data_args.json"
Labelled: TypeAlias = tuple[Volume, NnunetPrediction | None]
"""Label map of an image, and the prediction where its probabilities are asked for."""


@dataclass(frozen=True)
class PredictRequest:
    """One image to predict.

    Attributes:
        source: The image.
        target: The label map to write.
        model: Model folder.
        folds: See `nnunet_load.load_nnunet`.
        checkpoint: See there.
        settings: What it may cost.
        device: Where the networks shall run.
        threads: CPU threads; 0 lets the engine choose.
        probabilities: Write <case>.npz and <case>.pkl too.
        first_stage: Finished label map of the stage before in a cascade; None computes it.
        skip_finished: Leave an image alone whose label map is there.
    """

    source: Path
    target: Path
    model: Path
    folds: tuple[str, ...] | None = None
    checkpoint: str | None = None
    settings: InferenceSettings = field(default_factory=lambda: PRESETS["best"])
    device: Device = "auto"
    threads: int = 0
    probabilities: bool = False
    first_stage: Path | None = None
    skip_finished: bool = False


def loaded(folder: Path, folds: tuple[str, ...] | None, checkpoint: str | None, threads: int, device: Device) -> NnunetModel:
    """Return a model, loaded once in a process. Raises ModelError."""
    from AtlasSegmentLib.nnunet_load import load_nnunet

    key = ("predict", folder.resolve(), folds, checkpoint, threads, device)
    return MODELS.get(key, files_of(folder), lambda: load_nnunet(folder, threads, device, folds=folds, checkpoint=checkpoint))


def find_images(folder: Path, ending: str, part: tuple[int, int] = (0, 1)) -> list[tuple[str, Path]]:
    """Return (case, image) of a folder in nnU-Net's naming, sorted by case.

    Args:
        folder: Holds <case>_0000<ending>; or one image.
        ending: Of the images, as dataset.json states it.
        part: (number from 0, count): every count-th case from that number on, as -part_id and -num_parts choose.

    Raises:
        InputError: There is no such image; says what there is instead.
    """
    if folder.is_file():
        return [(_CHANNEL.sub(r"\g<case>", folder.name.removesuffix(ending)), folder)]
    files = sorted(path for path in folder.glob(f"*{ending}") if path.is_file() and not path.name.startswith("."))
    matches = [(_CHANNEL.fullmatch(path.name.removesuffix(ending)), path) for path in files]
    found = sorted((match["case"], path) for match, path in matches if match)
    if not found:
        names = ", ".join(path.name for path in files[:3]) or "no such file"
        message = f"{folder}: holds no image named <case>_0000{ending} ({names})."
        raise InputError(message, f"Name the CTs as nnU-Net does, such as liver1_0000{ending}, or give one image.")
    return found[part[0] :: part[1]]


def predict_image(request: PredictRequest, progress: ProgressCallback = ignore_progress) -> dict[str, Any] | None:
    """Predict one image and write its label map.

    Returns:
        {"case", "file", "shape", "labels": voxels by name}, or None when it was finished before.

    Raises:
        AtlasError: As reading, the model and writing.
    """
    if request.skip_finished and request.target.is_file():
        return None
    model = loaded(request.model, request.folds, request.checkpoint, request.threads, request.device)

    def prepare() -> Volume:
        progress(0.0, "read")
        image = read_volume(request.source)
        check_ct(image)
        return image

    def compute(image: Volume) -> list[Callable[[], Labelled]]:
        return [partial(_labels_of, image, model, request, progress)]

    def finish(result: Labelled) -> dict[str, Any]:
        labels, prediction = result
        if prediction is not None:
            from AtlasSegmentLib.nnunet_probabilities import write_probabilities

            write_probabilities(request.target, prediction, labels.grid)
        write_volume(request.target, labels)
        return {"case": request.target.name, "file": str(request.target), "shape": list(labels.shape), "engine": model.engine}

    return run_staged(prepare, compute, finish)[0]


def _labels_of(image: Volume, model: NnunetModel, request: PredictRequest, progress: ProgressCallback) -> Labelled:
    """Return the label map of an image, and what its probabilities are written from where they are asked for."""
    settings = replace(request.settings, body=request.settings.body and request.first_stage is None)
    part = looked_at(image, None, settings, model.spec.orientation)
    before = _first_stage(request, part, model.spec.table)
    if request.probabilities:
        prediction = model.predict(part, settings, progress, before)
        return _on_image(prediction.labels, part, image), prediction
    return _on_image(model.labels(part, settings, progress, before), part, image), None


def _on_image(labels: Array, part: Volume, image: Volume) -> Volume:
    """Return labels of a part of an image as a label map of the whole image."""
    x, y, z = part.shape
    turned, _, first = box_on(labels, (slice(0, x), slice(0, y), slice(0, z)), part.grid, image.grid)
    result = np.zeros(image.shape, labels.dtype, order="F")
    result[tuple(slice(start, start + size) for start, size in zip(first, turned.shape, strict=True))] = turned
    return image.with_array(result)


def _first_stage(request: PredictRequest, image: Volume, table: LabelTable) -> Any:
    if request.first_stage is None:
        return None
    from AtlasSegmentLib.volume import require_same_grid

    labels = read_volume(request.first_stage)
    turned = Volume(reorient_like(labels.array, labels.affine, image), image.affine, labels.source)
    require_same_grid(turned, image)
    strange = set(label_values(turned.array)) - {0, *table.labels} if _is_whole(turned.array) else {"fractions"}
    if strange:
        message = f"{request.first_stage}: is no label map of the first stage (values {', '.join(map(str, sorted(strange, key=str)[:5]))})."
        raise InputError(message, "Give what the first stage of this model predicted, or leave -prev_stage_predictions out.")
    return turned.array


def _is_whole(array: Array) -> bool:
    return array.dtype.kind in "iu" or bool((array == np.floor(array)).all())


def copy_description(model: Path, out: Path) -> None:
    """Put dataset.json and plans.json beside the label maps, as nnU-Net does: they say what the values mean.

    Raises:
        InputError: The folder has such files of another model or dataset: they are never replaced.
        StorageError: They cannot be written.
    """
    for name in ("dataset.json", "plans.json"):
        source, target = model / name, out / name
        if not source.is_file():
            continue
        if target.is_file() and target.read_bytes() != source.read_bytes():
            message = f"{target}: belongs to another model or dataset."
            raise InputError(message, "Give a folder of its own with -o.")
        if not target.is_file():
            copy_file(source, target)


def request_name(request: PredictRequest) -> str:
    """Return the case's name for messages."""
    return request.source.name


def part_of(part_id: int, num_parts: int) -> tuple[int, int]:
    """Check -part_id and -num_parts. Raises InputError."""
    if num_parts < 1:
        message = f"-num_parts {num_parts}: there is at least one part."
        raise InputError(message, "Give 1 or more.")
    if not 0 <= part_id < num_parts:
        message = f"-part_id {part_id} -num_parts {num_parts}: parts are numbered from 0 to {num_parts - 1}."
        raise InputError(message, "Give each of the jobs one number from 0 on.")
    return part_id, num_parts


def fold_names(folds: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return fold names as given with -f; None for all that are there."""
    return tuple(folds) if folds else None
