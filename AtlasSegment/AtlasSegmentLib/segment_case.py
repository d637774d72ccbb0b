"""One model on one case: predict, clean, and write what the case folder holds for a model."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from AtlasSegmentLib import nifti
from AtlasSegmentLib.case_folder import MC_DROPOUT, CaseFolder, LabelFolder
from AtlasSegmentLib.classes import class_of, is_target, organ_name, paint
from AtlasSegmentLib.components import grow_box
from AtlasSegmentLib.encoding import entropy_bytes, soft_bytes
from AtlasSegmentLib.inference_settings import InferenceSettings
from AtlasSegmentLib.mc_dropout import DropoutPasses, DropoutResult, has_dropout, mc_dropout, require_dropout
from AtlasSegmentLib.model import Model
from AtlasSegmentLib.outdated import remove_outdated
from AtlasSegmentLib.postprocess_sparse import postprocess_sparse
from AtlasSegmentLib.prediction import Prediction, Region
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.run_record import Step
from AtlasSegmentLib.sparse import SparseVolume, is_empty, write_sparse
from AtlasSegmentLib.volume import Grid, Volume
from AtlasSegmentLib.volume_io import check_ct

if TYPE_CHECKING:
    from AtlasSegmentLib.markups import Roi

KINDS = ("segmentations", "soft_pred", "entropy")


@dataclass(frozen=True)
class SegmentOptions:
    """What decides the result besides CT and model.

    Attributes:
        roi: Region of interest, "whole", or None for the model's default.
        all_entropies: Write entropy maps (and so offer attention) for every organ, not only AbdomenAtlas' nine targets.
        postprocess: Clean the masks by AbdomenAtlas' rules.
        force: Do it again even when it is done.
        settings: What the prediction may cost.
        dropout: Predictions with dropout, of models that have some: maps of their own beside the entropy maps, the masks stay as they are.
    """

    roi: Roi | Region | None = None
    all_entropies: bool = False
    postprocess: bool = True
    force: bool = False
    settings: InferenceSettings = field(default_factory=InferenceSettings)
    dropout: DropoutPasses = field(default_factory=DropoutPasses)

    def kinds(self, organ: str) -> tuple[str, ...]:
        """Return the kinds of map that are written for an organ."""
        return KINDS if self.all_entropies or is_target(organ) else KINDS[:2]

    def parameters(self) -> dict[str, Any]:
        """Return what is recorded and decides whether a finished result is the same."""
        roi: Any = self.roi
        if roi is not None and roi != "whole":
            roi = {"center": roi.center.tolist(), "axes": roi.axes.tolist(), "size": roi.size.tolist()}
        return {"roi": roi, "all_entropies": self.all_entropies, "postprocess": self.postprocess, "settings": self.settings.record()}


class ModelRun:
    """One model on one case, in the stages that `case_pipeline` overlaps: look, predict, write.

    Args:
        case: Its CT is there.
        model: Loaded.
        options: What decides the result.

    Raises:
        InputError: The CT cannot be read.
    """

    def __init__(self, case: CaseFolder, model: Model, options: SegmentOptions) -> None:
        self._model, self._options = model, options
        self._folder = case.backbone(model.spec.name)
        self._passes = options.dropout if options.dropout.count and has_dropout(model) else DropoutPasses()
        self._dropped: DropoutResult | None = None
        parameters = {
            "model": {"name": model.spec.name, "version": model.spec.version, "sha256": model.spec.sha256.lower()},
            "manifest": model.spec.record(),
            **options.parameters(),
            **({"mc_dropout": self._passes.record()} if self._passes.count else {}),  # else as before there was such a thing
        }
        self._step = Step(self._folder.run_record, "segment", {"ct": case.ct}, parameters)
        self._wanted = [(kind, organ) for _, organ in self._organs() for kind in self._kinds(organ)]

    @property
    def name(self) -> str:
        """Name of the model."""
        return self._model.spec.name

    def _kinds(self, organ: str) -> tuple[str, ...]:
        kinds = self._options.kinds(organ)
        return (*kinds, MC_DROPOUT) if self._passes.count and "entropy" in kinds else kinds

    @property
    def is_finished(self) -> bool:
        """Whether this very result is there already and is not wanted again."""
        maps = (self._folder.map(kind, organ) for kind, organ in self._wanted)
        return not self._options.force and self._step.is_finished([self._folder.pseudo_label, *maps])

    def predict(self, ct: Volume, progress: ProgressCallback = ignore_progress) -> Prediction:
        """Run the model over the case's CT; writes nothing. Raises InputError and ModelError as `Model.segment`."""
        share = 0.7 / (1 + self._passes.count)
        prediction = self._predict(ct, lambda done, stage: progress(share * done, stage))
        if self._passes.count:  # after the plain pass, which nothing of this can change
            self._dropped = mc_dropout(
                self._model,
                partial(self._predict, ct),
                ct.grid,
                self._passes,
                [value for value, organ in self._organs() if MC_DROPOUT in self._kinds(organ)],
                lambda done, stage: progress(share + (0.7 - share) * done, stage),
            )
        return prediction

    def _predict(self, ct: Volume, progress: ProgressCallback) -> Prediction:
        return self._model.segment(ct, self._options.roi, self._options.settings, progress)

    def _organs(self) -> list[tuple[int, str]]:
        return [(value, organ_name(name)) for value, name in self._model.spec.table.labels.items()]

    def _write_dropped(self, ct: Grid) -> dict[str, Any]:
        """Write the maps of the passes with dropout, and return what the run record says of them."""
        if self._dropped is None:
            return {}
        for value, organ in self._organs():
            if MC_DROPOUT in self._kinds(organ):
                write_sparse(self._folder.map(MC_DROPOUT, organ), self._dropped.entropy(ct, value))
        return {"mc_dropout": self._dropped.record()}

    def write(self, prediction: Prediction, ct: Grid, progress: ProgressCallback = ignore_progress) -> dict[str, Any]:
        """Bring the prediction onto the CT's grid, clean and write it, and return the run record. Raises StorageError."""
        remove_outdated(self._folder, self._folder.run_record, (*KINDS, MC_DROPOUT), self._wanted)
        self._step.begin()
        organs = _write_outputs(self._folder, prediction, ct, self._options, progress)
        dropped = self._write_dropped(ct)
        spec = self._model.spec
        return self._step.finish(
            {
                "engine": self._model.engine,
                "device": self._model.device,
                "model": {"title": spec.title, "license": spec.license, "citation": spec.citation},
                "model_grid": {"shape": list(prediction.grid.shape), "affine": prediction.grid.affine.tolist()},
                "organs": organs,
                **dropped,
            }
        )


def read_case_ct(case: CaseFolder) -> Volume:
    """Return the CT of a case, HU. Raises InputError."""
    ct = nifti.read_nifti(case.ct)
    check_ct(ct)
    return ct


def segment_case(
    case: CaseFolder, model: Model, options: SegmentOptions | None = None, progress: ProgressCallback = ignore_progress
) -> dict[str, Any] | None:
    """Segment the CT of a case with one model and write `backbones/<model>/`.

    Returns:
        The run record, or None when this very result was there already.

    Raises:
        AtlasError: As reading, `ModelRun.predict` and writing.
    """
    options = options or SegmentOptions()
    if options.dropout.count:
        require_dropout([model])
    run = ModelRun(case, model, options)
    if run.is_finished:
        return None
    ct = read_case_ct(case)
    return run.write(run.predict(ct, progress), ct.grid, progress)


def _write_outputs(
    folder: LabelFolder, prediction: Prediction, ct: Grid, options: SegmentOptions, progress: ProgressCallback
) -> dict[str, Any]:
    masks = _masks(prediction, ct, options.postprocess)
    organs = {}
    for number, (value, mask) in enumerate(masks.items()):
        organ = organ_name(prediction.spec.table.name_of(value))
        progress(0.7 + 0.3 * number / len(masks), f"write {organ}")
        probability = prediction.probability(ct, value)
        if "entropy" in options.kinds(organ):
            write_sparse(folder.map("entropy", organ), SparseVolume(ct, probability.box, entropy_bytes(probability.crop)))
        write_sparse(folder.map("soft_pred", organ), _soft(probability, mask))
        write_sparse(folder.mask(organ), mask)
        voxels = int(np.count_nonzero(mask.crop))
        organs[organ] = {"voxels": voxels, "volume_ml": round(voxels * ct.voxel_volume_mm3 / 1000, 3)}
    painted = {class_of(prediction.spec.table.name_of(value)): mask for value, mask in masks.items()}
    write_sparse(folder.pseudo_label, paint(painted, ct))
    return organs


def _soft(probability: SparseVolume, mask: SparseVolume) -> SparseVolume:
    """Return the soft prediction bytes: p within one voxel (26 neighbors) of the cleaned mask, else 0."""
    if is_empty(mask.box):
        return SparseVolume(mask.grid, mask.box, np.zeros((0, 0, 0), np.uint8))
    box = grow_box(mask.box, 1, mask.grid.shape)
    near = ndimage.maximum_filter(mask.within(box).astype(np.uint8), size=3, mode="constant")
    return SparseVolume(mask.grid, box, soft_bytes(probability.within(box)) * near)


def _masks(prediction: Prediction, ct: Grid, clean: bool) -> dict[int, SparseVolume]:
    """Return the final mask of each label value, bool."""
    raw = prediction.masks(ct)
    if not clean:
        return raw
    values = {class_of(prediction.spec.table.name_of(value)): value for value in raw}
    by_class = {number: raw[value] for number, value in values.items() if number is not None}
    return {
        value: mask if (number := class_of(prediction.spec.table.name_of(value))) is None else postprocess_sparse(by_class.get, ct, number)
        for value, mask in raw.items()
    }
