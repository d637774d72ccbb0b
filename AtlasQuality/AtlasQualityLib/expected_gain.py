"""How much error a reader would remove by opening a slice: expected from predictions, and learned from corrections made so far.

Two steps, neither of which looks at a slice that nobody has opened:

1. `sharpened_error`: where the models are half and half counts far more than where they are a little unsure. Summed
   min(q, 1 - q) spreads the error over wide, faintly uncertain regions; real errors lie along outlines. What is expected
   of a slice is therefore (2 min(q, 1 - q))^4, weighted with the length of the outline, and smoothed over 3 mm.
2. `RatioField`: models are wrong about how wrong they are, organ by organ (a pancreas that all of them miss, a stomach that
   only looks uncertain). Each opened slice tells the true error of one slice; the ratio of true to expected error of the
   slices around it is re-estimated by Gaussian-process regression of its logarithm (C. E. Rasmussen, C. K. I. Williams,
   "Gaussian Processes for Machine Learning", MIT Press 2006, chapter 2).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]

# Chosen on torso-3mm and slab-dicom in three directions, single models and pairs of models; all lie on wide plateaus.
_POWER, _OUTLINE, _SMOOTHING_MM = 4, 0.2, 3.0
_REACH_MM = 8.0
_LEVEL_VARIANCE, _LOCAL_VARIANCE, _NOISE = 0.5, 0.5, 0.05
FLOOR_MM2 = 25.0
"""Added to expected and true error before their ratio is taken, so that a slice with almost none says little; mm2."""


def sharpened_error(mean: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_], spacing: tuple[float, float, float]) -> Float64:
    """Return for each slice what its true error is expected to be in proportion to; the scale is arbitrary.

    Args:
        mean: Mean probability of the models, (A, B, Z), 0..1, slices along the last axis.
        mask: The average mask, same shape.
        spacing: Voxel size in mm along the three axes.

    Returns:
        float64 (Z,), not negative.
    """
    from scipy.ndimage import gaussian_filter1d

    unsure = np.minimum(mean, 1 - mean)
    unsure *= 2
    area = np.power(unsure, _POWER, out=unsure).sum(axis=(0, 1), dtype=np.float64) * spacing[0] * spacing[1]
    padded = np.pad(mask, ((1, 1), (1, 1), (0, 0)))
    rows = np.count_nonzero(padded[1:] != padded[:-1], axis=(0, 1)) * spacing[1]
    columns = np.count_nonzero(padded[:, 1:] != padded[:, :-1], axis=(0, 1)) * spacing[0]
    weighted = area ** (1 - _OUTLINE) * (rows + columns + 1.0) ** _OUTLINE
    return np.asarray(gaussian_filter1d(weighted, _SMOOTHING_MM / spacing[2]))


class RatioField:
    """The ratio of true to expected error along the slices of one organ, learned from the slices that were opened.

    Log-normal: its logarithm is a Gaussian process, one level for the organ and a part that varies over about 8 mm. Before
    anything was opened the ratio is `ratio` on average.

    Args:
        count: Number of slices.
        thickness: Distance of slices in mm.
        ratio: Expected ratio before anything is known.
        floor: See FLOOR_MM2, in the unit of the errors.
    """

    def __init__(self, count: int, thickness: float, ratio: float = 1.0, floor: float = FLOOR_MM2) -> None:
        position = np.arange(count) * thickness
        distance = (position[:, None] - position[None]) / _REACH_MM
        self._covariance: Float64 = _LEVEL_VARIANCE + _LOCAL_VARIANCE * np.exp(-0.5 * distance**2)
        self._mean: Float64 = np.full(count, np.log(ratio))
        self._start: Float64 = self._mean + 0.5 * np.diag(self._covariance)
        self._floor = floor

    def see(self, index: int, expected: float, observed: float) -> None:
        """Learn that slice `index`, of which an error of `expected` was thought, had an error of `observed`.

        Args:
            index: The opened slice.
            expected: Expected error of that slice before any learning, same unit as the floor.
            observed: What the reader changed.
        """
        surprise = float(np.log((observed + self._floor) / (expected + self._floor)) - self._mean[index])
        column = self._covariance[:, index].copy()
        gain = column / (column[index] + _NOISE)
        self._mean += gain * surprise
        self._covariance -= np.outer(gain, column)

    def learned(self, expected: Float64) -> Float64:
        """Return the expected error of each slice in the light of what was seen; (Z,), not negative."""
        ratio = np.exp(self._mean + 0.5 * np.diag(self._covariance))
        return np.asarray(np.maximum((expected + self._floor) * ratio - self._floor, 0.0))
