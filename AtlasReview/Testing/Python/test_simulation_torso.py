"""The measured economy on a real CT with three real networks, on every second pixel of a slice so that it takes seconds.

Testing/Benchmarks/simulate.py prints the whole table. The reference is another network's prediction.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from AtlasReviewLib.simulation import PerfectEditor, replay
from AtlasReviewLib.simulation_carry import replay_carried
from AtlasReviewLib.simulation_case import Stack
from AtlasReviewLib.simulation_output import SHARES
from AtlasReviewLib.simulation_read import OrganArrays, predictions_of_arrays
from AtlasReviewLib.simulation_strategies import GAIN, ORACLE, SHARPENED
from AtlasReviewLib.simulation_time import ReviewTime
from AtlasSegmentLib.inference import predict
from AtlasSegmentLib.label_conversion import convert_labels
from AtlasSegmentLib.labels import load_table
from AtlasSegmentLib.model import load_model
from AtlasSegmentLib.nifti import read_nifti
from AtlasSegmentLib.sparse import from_dense
from AtlasSegmentLib.volume import Grid, Volume
from AtlasSegmentLib.volume_io import read_label_volume

SIX = ("spleen", "pancreas", "kidney_left", "gall_bladder", "liver", "stomach")
CUT = (slice(5, 113), slice(13, 95), slice(60, 112))  # the ROI in voxels, RAS
EVERY = (slice(None, None, 2), slice(None, None, 2))


@pytest.fixture(scope="module")
def torso(shared_data: Path, shared_models: list[Path]):
    ct = read_nifti(shared_data / "data/torso-3mm/ct.nii.gz")
    models = [load_model(folder) for folder in shared_models[:3]]
    table = models[0].spec.table
    reference = read_label_volume(shared_data / "data/torso-3mm/reference_label.nii.gz", load_table("totalsegmentator_v2"))
    truth = convert_labels(reference, table).array[CUT]
    for axis in range(3):
        truth = np.take(truth, np.arange(144) * truth.shape[axis] // 144, axis=axis)
    truth = truth[::-1, :, ::-1][EVERY]
    softmax = np.stack([predict(Volume(ct.array[CUT], ct.affine), model, "whole").probabilities[(slice(None), *EVERY)] for model in models])
    labels, chosen = softmax.argmax(axis=1), softmax.mean(axis=0).argmax(axis=0)
    grid = Grid(chosen.shape, np.diag([-4.5, 3.4167, -1.0833, 1.0]))
    values = {organ: table.value_of(organ) for organ in SIX}
    arrays = {organ: OrganArrays(softmax[:, value], labels == value, chosen == value) for organ, value in values.items()}
    found = predictions_of_arrays("torso", arrays, grid, "axial")
    return found.organs, PerfectEditor(
        found.organs, [Stack(found.axes.turned(from_dense(truth == value, grid))) for value in values.values()]
    )


def test_our_orders_need_at_most_eight_percent_more_slices_than_the_oracle_and_carrying_a_third_fewer(torso):
    organs, reader = torso
    oracle = replay(ORACLE, organs, reader, ReviewTime())
    assert oracle.units == 864
    assert 100 * oracle.reached(0.9) / 864 == pytest.approx(38.1, abs=0.5)
    needed = {name: replay(name, organs, reader, ReviewTime()) for name in ("expected-error", SHARPENED, GAIN)}
    for share in SHARES:
        bound = oracle.reached(share)
        assert needed[GAIN].reached(share) <= 1.08 * bound
        assert needed[SHARPENED].reached(share) <= 1.08 * bound
        assert needed["expected-error"].reached(share) > needed[SHARPENED].reached(share)
    carried = replay_carried(GAIN, organs, reader, ReviewTime(), until=0.92)
    assert carried.reached(0.9) <= oracle.reached(0.9) * 2 / 3
