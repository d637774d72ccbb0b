"""Expected error: how likely a voxel of the average mask is wrong, in probability and in cubic mm.

The average probability q of the models is read back from their stored maps. A mask that says "organ" where q > 0.5 is wrong
with probability 1 - q, elsewhere with q: min(q, 1 - q). Models are rarely calibrated; an isotonic curve that was fitted on
cases with a reference corrects it, and keeps the order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from AtlasSegmentLib.encoding import probability_from_bytes
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.files import read_json, write_json
from AtlasSegmentLib.sparse import SparseVolume, box_shape, union

FORMAT = "atlas-calibration/1"
STEPS = 65535
"""Stored maps are uint16 with slope 1 / STEPS."""
_BINS = 512

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Calibration:
    """A monotone curve from min(q, 1 - q) to the share of such voxels that were wrong.

    Attributes:
        expected: Knots, ascending, 0..0.5.
        observed: Observed error share at the knots, ascending, 0..1.
        source: What it was fitted on.
    """

    expected: tuple[float, ...] = (0.0, 0.5)
    observed: tuple[float, ...] = (0.0, 0.5)
    source: str = "none: the models' probabilities as they are"

    def __call__(self, error: Float32) -> Float32:
        """Return the calibrated error probability, same shape."""
        return np.interp(error, self.expected, self.observed).astype(np.float32)


def mean_probability(soft: Sequence[SparseVolume], entropy: Sequence[SparseVolume]) -> SparseVolume:
    """Return the mean probability over models, float32, from soft predictions and entropies (bytes).

    The box is the one that any of the maps fills; outside it every probability is below 0.0006.
    """
    box = union([volume.box for volume in (*soft, *entropy)])
    maps = [(s.within(box), e.within(box)) for s, e in zip(soft, entropy, strict=True)]
    some = np.zeros(box_shape(box), np.uint8, order="F")
    for pair in maps:
        some |= pair[0]
        some |= pair[1]
    at = some > 0
    mean = np.zeros(at.shape, np.float32, order="F")
    if maps:
        mean[at] = sum(probability_from_bytes(s[at], e[at]) for s, e in maps) / np.float32(len(maps))
    return SparseVolume(soft[0].grid, box, mean)


def expected_error(probability: SparseVolume, calibration: Calibration) -> SparseVolume:
    """Return the probability of error of the average mask at each voxel, float32 0..1; 0 where the probability is 0."""
    at = probability.crop > 0
    q = probability.crop[at]
    error = np.zeros_like(probability.crop)
    error[at] = calibration(np.minimum(q, 1 - q))
    return SparseVolume(probability.grid, probability.box, error)


def stored(error: SparseVolume) -> SparseVolume:
    """Return the map as it is stored: uint16, to be read with slope 1 / STEPS."""
    return SparseVolume(error.grid, error.box, np.round(error.crop * STEPS).astype(np.uint16))


def fit_calibration(error: npt.ArrayLike, wrong: npt.ArrayLike, source: str) -> Calibration:
    """Fit the curve by isotonic regression on voxels of cases with a reference.

    Args:
        error: min(q, 1 - q) of each voxel, 0..0.5.
        wrong: Whether the average mask was wrong there, bool.
        source: What the voxels are from; kept with the curve.

    Raises:
        InputError: There are no voxels, or none was wrong.
    """
    from scipy.optimize import isotonic_regression

    values, truth = np.asarray(error, np.float64).ravel(), np.asarray(wrong, np.bool_).ravel()
    if values.size == 0 or not truth.any():
        message = f"{source}: no wrong voxel to calibrate on ({values.size} voxels)."
        raise InputError(message, "Calibrate on cases where models and reference differ.")
    # Voxels pile up near zero: bins of the square root are fine there and still wide enough at the top.
    bins = np.minimum((np.sqrt(values * 2) * _BINS).astype(np.int64), _BINS - 1)
    count = np.bincount(bins, minlength=_BINS)
    used = count > 0
    share = np.bincount(bins, weights=truth, minlength=_BINS)[used] / count[used]
    center = np.bincount(bins, weights=values, minlength=_BINS)[used] / count[used]
    fitted = isotonic_regression(share, weights=count[used]).x
    knots = np.unique(np.concatenate([[0], np.flatnonzero(np.diff(fitted)), np.flatnonzero(np.diff(fitted)) + 1, [len(fitted) - 1]]))
    # Below the smallest value that was seen the curve runs to zero: there is no reason to expect errors where nothing is unsure.
    start = (0.0,) if center[0] > 0 else ()
    return Calibration((*start, *center[knots].tolist()), (*start, *fitted[knots].tolist()), source)


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Write a calibration as JSON."""
    content = {"format": FORMAT, "source": calibration.source, "expected": calibration.expected, "observed": calibration.observed}
    write_json(path, content)


def read_calibration(path: Path) -> Calibration:
    """Read a calibration written by `write_calibration`.

    Raises:
        InputError: It is not one, or not monotone.
    """
    content = read_json(path)
    try:
        expected = tuple(float(x) for x in content["expected"])
        observed = tuple(float(x) for x in content["observed"])
        good = content["format"] == FORMAT and len(expected) == len(observed) > 0 and bool(np.isfinite([*expected, *observed]).all())
        good = good and list(expected) == sorted(expected) and list(observed) == sorted(observed) and 0 <= observed[0] <= observed[-1] <= 1
    except (TypeError, KeyError, ValueError):
        good = False
    if not good:
        message = f"{path}: is not a calibration ({FORMAT})."
        raise InputError(message, "Make one with: atlas evaluate CASE --reference LABEL --calibration FILE.")
    return Calibration(expected, observed, str(content.get("source", path)))
