"""MC dropout: how unsure a model is, from several predictions with its dropout layers switched on.

The map of an organ is its term of the predictive entropy, -p ln p, with p the mean probability of the organ over all passes. Summed over
the classes of a softmax model these terms are the predictive entropy itself, -sum_c p_c ln p_c (Gal & Ghahramani, ICML 2016, for the mean
over passes; Y. Gal, "Uncertainty in Deep Learning", 2016, section 3.3, for its entropy). Its scale and bytes are those of the plain
prediction's entropy map, so that the two can be compared voxel by voxel.

One pass is a prediction of the whole region by `Model.segment`; each window of it drops units of its own. What passes have found is
summed, never kept: one volume an organ, in a temporary file where all of them together are large.
"""

from __future__ import annotations

import logging
import tempfile
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import IO, Any

import numpy as np

from AtlasSegmentLib.components import bounding_box
from AtlasSegmentLib.dropout_layers import dropout_layers, dropout_on
from AtlasSegmentLib.encoding import entropy_bytes
from AtlasSegmentLib.errors import InputError, ModelError, StorageError
from AtlasSegmentLib.model import Model
from AtlasSegmentLib.network import Float32
from AtlasSegmentLib.prediction import Prediction
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.sparse import EMPTY_BOX, SparseVolume, box_shape, is_empty, relative, union
from AtlasSegmentLib.volume import Grid

_log = logging.getLogger(__name__)
_IN_MEMORY = 1 << 30  # bytes of sums; more of them lie in temporary files


@dataclass(frozen=True)
class DropoutPasses:
    """How often, and with which random numbers.

    Attributes:
        count: Predictions with dropout; 0 is none. The publications take 10 to 50.
        seed: The same seed gives the same maps on the same machine.

    Raises:
        InputError: One of them is negative.
    """

    count: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < 0 or self.seed < 0:
            message = f"{self.count} dropout passes with seed {self.seed}: neither can be negative."
            raise InputError(message, "Give a number of passes such as 20, 0 for none, and a seed from 0 on.")

    def record(self) -> dict[str, int]:
        """Return what decides the maps."""
        return {"passes": self.count, "seed": self.seed}

    def seed_of(self, number: int) -> int:
        """Return the seed of one pass."""
        return int(np.random.SeedSequence([self.seed, number]).generate_state(1, np.uint64)[0])


def has_dropout(model: Model) -> bool:
    """Tell whether a model has dropout layers that can be switched on."""
    return bool(dropout_layers(model.networks))


def require_dropout(models: Sequence[Model]) -> None:
    """Check that MC dropout can be had of one of the models at least; the others are named in a warning, once in a process.

    Raises:
        ModelError: None of them has dropout layers.
    """
    without = [model for model in models if not has_dropout(model)]
    if len(without) < len(models):
        for model in without:
            _warn(_reason(model))
        return
    message = " ".join(f"MC dropout: {_reason(model)}" for model in without)
    onnx = any(model.engine.startswith("onnx") for model in without)
    remedy = "Give the Torch model that it was exported from, or leave" if onnx else "Give a model that was trained with dropout, or leave"
    raise ModelError(message, f"{remedy} --dropout-passes out.")


def _reason(model: Model) -> str:
    if model.engine.startswith("onnx"):
        return f"model {model.spec.name} is an ONNX file, in which dropout layers are folded away."
    return f"model {model.spec.name} has no dropout layers that can be switched on."


@lru_cache(maxsize=64)  # once, not for each of ten thousand cases
def _warn(reason: str) -> None:
    _log.warning("MC dropout is left out: %s", reason)


@dataclass(frozen=True)
class DropoutResult:
    """What the passes have found.

    Attributes:
        passes: How they were made.
        sums: Label value to the sum of its probability over the passes.
        seconds: What they took.
    """

    passes: DropoutPasses
    sums: ProbabilitySums
    seconds: float

    def entropy(self, ct: Grid, value: int) -> SparseVolume:
        """Return the map of a label value, uint8 on the CT's grid; see the module's text."""
        total = self.sums.of(ct, value)
        return SparseVolume(ct, total.box, entropy_bytes(total.crop / np.float32(self.passes.count)))

    def record(self) -> dict[str, Any]:
        """Return what run.json says of it."""
        return {**self.passes.record(), "seconds": round(self.seconds, 3)}


def mc_dropout(
    model: Model,
    predict: Callable[[ProgressCallback], Prediction],
    ct: Grid,
    passes: DropoutPasses,
    values: Sequence[int],
    progress: ProgressCallback = ignore_progress,
) -> DropoutResult:
    """Predict several times with dropout, and sum the probabilities of some label values.

    Args:
        model: `has_dropout` says that it has some.
        predict: Runs it over the CT, as `Model.segment`.
        ct: Grid of the CT.
        passes: How often.
        values: Label values.
        progress: Told the finished share and the stage.

    Raises:
        AtlasError: As `predict`.
        StorageError: The sums fit neither into memory nor where temporary files lie.
    """
    begin, sums = time.perf_counter(), ProbabilitySums()
    for number in range(passes.count):
        with dropout_on(model.networks, passes.seed_of(number)):
            prediction = predict(_part_of(progress, number, passes.count))
        for value in values:
            sums.add(value, prediction.probability(ct, value))
        del prediction  # before the next one is made
    return DropoutResult(passes, sums, time.perf_counter() - begin)


def _part_of(progress: ProgressCallback, number: int, count: int) -> ProgressCallback:
    def tell(done: float, stage: str) -> None:
        progress((number + done) / count, f"dropout pass {number + 1} of {count}: {stage}")

    return tell


class ProbabilitySums:
    """Sums of probabilities on one grid, each kept in the box where it is more than faint.

    Args:
        in_memory: Bytes to keep in memory at most; beside them, one volume that is being added.
    """

    def __init__(self, in_memory: int = _IN_MEMORY) -> None:
        self._in_memory = in_memory
        self._sums: dict[int, SparseVolume] = {}
        self._files: dict[int, tuple[SparseVolume, IO[bytes]]] = {}

    def add(self, value: int, probability: SparseVolume) -> None:
        """Add the probability of a label value in one pass, float32 0..1."""
        from AtlasSegmentLib.window_result import FAINT  # its module needs pydantic, which Slicer lacks at first

        found = bounding_box(probability.crop > FAINT)
        if found is None:
            return
        x, y, z = (slice(part.start + outer.start, part.stop + outer.start) for part, outer in zip(found, probability.box, strict=True))
        before = self.of(probability.grid, value)
        box = union([before.box, (x, y, z)])
        crop: Float32 = np.zeros(box_shape(box), np.float32, order="F")
        if not is_empty(before.box):
            crop[relative(before.box, box)] = before.crop
        crop[relative((x, y, z), box)] += probability.crop[found]
        self._keep(value, SparseVolume(probability.grid, box, crop))

    def of(self, grid: Grid, value: int) -> SparseVolume:
        """Return the sum of a label value; the empty box where nothing was found."""
        if value in self._files:
            kept, file = self._files[value]
            file.seek(0)
            shape = box_shape(kept.box)
            return SparseVolume(kept.grid, kept.box, np.frombuffer(file.read(), np.float32).reshape(shape, order="F"))
        return self._sums.get(value) or SparseVolume(grid, EMPTY_BOX, np.zeros((0, 0, 0), np.float32))

    def _keep(self, value: int, total: SparseVolume) -> None:
        others = sum(kept.crop.nbytes for other, kept in self._sums.items() if other != value)
        if value not in self._files and others + total.crop.nbytes <= self._in_memory:
            self._sums[value] = total
            return
        self._sums.pop(value, None)
        try:
            file = self._files[value][1] if value in self._files else self._opened()
            file.seek(0)
            file.write(total.crop.tobytes(order="F"))
            file.truncate()
        except OSError as error:
            message = (
                f"Sums of probabilities that do not fit into memory cannot be kept in {tempfile.gettempdir()} ({error.strerror or error})."
            )
            raise StorageError(message, "Free space there, or let TMPDIR name a folder with more of it.") from error
        nothing = np.zeros((0, 0, 0), np.float32)
        self._files[value] = (SparseVolume(total.grid, total.box, nothing), file)

    def _opened(self) -> IO[bytes]:
        file = tempfile.TemporaryFile(prefix="atlas-dropout-")  # noqa: SIM115 - lives as long as this object
        weakref.finalize(self, file.close)
        return file
