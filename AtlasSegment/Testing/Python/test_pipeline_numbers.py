"""The numbers of the inference pipeline: against scipy, against a naive sum, against what was measured, in every orientation."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

import atlas_phantoms as phantoms
from AtlasSegmentLib import geometry, regions
from AtlasSegmentLib.encoding import entropy_bytes, probability_from_bytes, soft_bytes
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.inference import predict
from AtlasSegmentLib.labels import load_table
from AtlasSegmentLib.markups import Roi, read_roi
from AtlasSegmentLib.model import load_model
from AtlasSegmentLib.nifti import read_nifti
from AtlasSegmentLib.resample import resample, resample_labels
from AtlasSegmentLib.segment_case import SegmentOptions, segment_case
from AtlasSegmentLib.sliding_window import gaussian_weights, sliding_window, window_starts
from AtlasSegmentLib.volume import Grid, LabelVolume, Volume
from AtlasSegmentLib.volume_io import read_label_volume


def random_volume(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(
    code=st.sampled_from(["RAS", "LPS", "PIR", "SAL", "IPL", "ARS"]),
    degrees=st.sampled_from([0.0, 0.0, 7.0, 25.0]),
    spacing=st.tuples(*[st.floats(0.6, 4)] * 3),
    offset=st.tuples(*[st.floats(-3, 3)] * 3),
)
def test_linear_sampling_is_that_of_scipy_on_any_grid(code, degrees, spacing, offset):
    source = Volume(random_volume((9, 8, 7)), phantoms.turn(10.0) @ np.diag([1.5, 2.0, 2.5, 1.0]))
    order, sign = geometry.reorientation(source.orientation, code)
    turned = geometry.reorient_affine(source.affine, source.shape, order, sign)
    scale = np.eye(4)
    scale[:3, :3] = np.diag(np.array(spacing) / geometry.spacing_of(turned))
    scale[:3, 3] = offset
    grid = Grid((6, 7, 8), phantoms.turn(degrees) @ turned @ scale)
    found = resample(source, grid, fill=-9.0).array
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), axis=-1)
    position = geometry.apply_affine(np.linalg.inv(source.affine) @ grid.affine, index)
    expected = ndimage.map_coordinates(source.array, position.reshape(-1, 3).T, order=1, mode="nearest").reshape(grid.shape)
    border = np.minimum(position + 0.5, np.array(source.shape) - 0.5 - position).min(axis=-1)
    np.testing.assert_allclose(found[border > 1e-3], expected[border > 1e-3], atol=1e-4)
    assert (found[border < -1e-3] == -9.0).all()


def test_the_same_grid_gives_the_same_voxels():
    volume = Volume(random_volume((5, 6, 7)), phantoms.turn(30.0))
    assert np.array_equal(resample(volume, volume.grid).array, volume.array)


def test_label_sampling_makes_no_value_that_was_not_there():
    labels = np.random.default_rng(1).choice([0, 3, 9, 200], size=(9, 8, 7)).astype(np.uint8)
    grid = Grid((20, 21, 22), np.diag([0.4, 0.4, 0.3, 1.0]))
    assert set(np.unique(resample_labels(LabelVolume(labels, np.eye(4)), grid).array)) <= {0, 3, 9, 200}


def test_nearest_takes_the_higher_voxel_halfway():
    grid = Grid((2, 1, 1), np.array([[1, 0, 0, 0.5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]))
    volume = Volume(np.arange(3, dtype=np.int16).reshape(3, 1, 1), np.eye(4))
    assert resample(volume, grid, mode="nearest").array.ravel().tolist() == [1, 2]


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(*[st.integers(3, 14)] * 3), window=st.tuples(*[st.integers(3, 8)] * 3), overlap=st.sampled_from([0.0, 0.25, 0.5, 0.75])
)
def test_merged_windows_are_the_weighted_mean_of_all_windows(shape, window, overlap):
    image = random_volume(shape)
    offsets = iter(range(10**6))

    def network(patch):
        return np.stack([patch, patch * 0 + next(offsets)])

    merged = np.concatenate([part for _, part in sliding_window(image, window, overlap, network)], axis=1)
    assert merged.shape == (2, *shape)
    np.testing.assert_allclose(merged[0], image, atol=1e-5)
    np.testing.assert_allclose(merged[1], naive_offsets(shape, window, overlap), rtol=1e-5, atol=1e-5)


def naive_offsets(shape, window, overlap):
    """Return the weighted mean of window numbers, on a grid padded as the windows need it."""
    size = [max(n, w) for n, w in zip(shape, window, strict=True)]
    total, weight = np.zeros(size), np.zeros(size)
    starts = [window_starts(n, w, overlap) for n, w in zip(size, window, strict=True)]
    corners = [(x, y, z) for x in starts[0] for y in starts[1] for z in starts[2]]
    for number, corner in enumerate(corners):
        at = tuple(slice(c, c + w) for c, w in zip(corner, window, strict=True))
        total[at] += number * gaussian_weights(window)
        weight[at] += gaussian_weights(window)
    begin = [(s - n) // 2 for s, n in zip(size, shape, strict=True)]
    return (total / weight)[tuple(slice(b, b + n) for b, n in zip(begin, shape, strict=True))]


def test_the_last_window_ends_at_the_border():
    assert window_starts(10, 4, 0.5) == [0, 2, 4, 6]
    assert window_starts(11, 4, 0.5) == [0, 2, 4, 6, 7]
    assert window_starts(4, 4, 0.75) == [0]


def test_entropy_bytes_at_the_published_points():
    assert entropy_bytes(np.array([0.0, 0.3679, 1.0], np.float32)).tolist() == [0, 93, 0]
    assert entropy_bytes(np.array([0.9486, 0.95], np.float32)).tolist() == [12, 12]
    assert entropy_bytes(np.array([0.94], np.float32))[0] >= 13


@given(st.floats(0, 1))
def test_a_probability_comes_back_from_its_two_bytes(p):
    value = np.array([p], np.float32)
    near = probability_from_bytes(soft_bytes(value), entropy_bytes(value))[0]
    assert abs(near - p) <= 1 / 255


@pytest.mark.parametrize("kind", ["windows", "fit"])
@pytest.mark.parametrize(("code", "degrees"), [("LPS", 0.0), ("PIR", 0.0), ("SAL", 0.0), ("RAS", 20.0), ("LPS", 20.0)])
def test_a_case_gives_the_same_masks_in_every_orientation(tmp_path, kind, code, degrees):
    changes = {} if kind == "windows" else {"input": phantoms.FIT}
    model = load_model(phantoms.make_model(tmp_path / "model", "m", **changes))
    results = []
    for name, orientation, angle in (("plain", "RAS", 0.0), ("turned", code, degrees)):
        case = phantoms.make_case(tmp_path / name, phantoms.ct(orientation, angle))
        segment_case(case, model, SegmentOptions(roi=phantoms.roi(angle)))
        volumes = [
            read_nifti(case.backbone("m").map(kind_, o)) for o in phantoms.ORGANS for kind_ in ("segmentations", "entropy", "soft_pred")
        ]
        results.append(
            [v.array if orientation == "RAS" else Volume(v.array, reversed_turn(angle) @ v.affine).reoriented("RAS").array for v in volumes]
        )
    for plain, turned in zip(*results, strict=True):
        different = plain != turned
        # Turned affines are rounded to float32 in the header, so voxels on an edge may fall to the other side.
        assert different.mean() <= (0 if degrees == 0 else 5e-3)
    assert all(array.any() for array in results[0])


def reversed_turn(degrees):
    return np.linalg.inv(phantoms.turn(degrees))


def test_a_mask_lies_on_its_organ(tmp_path):
    # The brightest organ: the blurred rims of brighter ones look like the others to this network.
    case = phantoms.make_case(tmp_path / "case", phantoms.ct("LPS"))
    segment_case(case, load_model(phantoms.make_model(tmp_path / "model", "m")), SegmentOptions(roi="whole"))
    mask = read_nifti(case.backbone("m").mask("kidney_left")).reoriented("RAS").array > 0
    truth = phantoms.organ(phantoms.ORGANS.index("kidney_left"))
    assert mask.sum() > 0.3 * truth.sum()
    assert (mask & truth).sum() > 0.95 * mask.sum()


def test_a_second_run_writes_nothing_and_other_parameters_do(tmp_path):
    case = phantoms.make_case(tmp_path / "case")
    model = load_model(phantoms.make_model(tmp_path / "model", "m"))
    assert segment_case(case, model, SegmentOptions(roi="whole")) is not None
    before = phantoms.files_below(case.folder)
    assert segment_case(case, model, SegmentOptions(roi="whole")) is None
    assert phantoms.files_below(case.folder) == before
    assert segment_case(case, model, SegmentOptions(roi=phantoms.roi())) is not None


REFERENCE_IDS = {"spleen": 1, "pancreas": 7, "kidney_left": 3, "gall_bladder": 4, "liver": 5, "stomach": 6, "duodenum": 19}


@pytest.mark.parametrize("fold", [1, 2, 3])
def test_real_networks_reach_the_dice_measured_for_them(shared_data, shared_models, fold):
    torso, folder = shared_data / "data/torso-3mm", shared_models[fold - 1]
    ct = read_nifti(torso / "ct.nii.gz")
    labels = predict(ct, load_model(folder), read_roi(torso / "abdomen_roi.mrk.json")).probabilities.argmax(axis=0)
    reference = reference_as_it_was_sampled(torso)
    measured = json.loads((folder / "model.json").read_text())["measured"]["dice"]
    values = {name: int(value) for value, name in json.loads((folder / "model.json").read_text())["labels"].items()}
    for organ, expected in measured.items():
        mask, truth = labels == values[organ], reference == REFERENCE_IDS[organ]
        found = 2 * (mask & truth).sum() / (mask.sum() + truth.sum())
        assert found == pytest.approx(expected, abs=0.01), organ


def reference_as_it_was_sampled(torso):
    """Return the reference on 144^3 as when `measured` was taken: RAS crop, index floor(i n / 144), then flipped to LAI.

    That rule puts the reference half a CT voxel off its image; voxel-centered sampling differs by up to 0.026.
    """
    labels = read_label_volume(torso / "reference_label.nii.gz", load_table("totalsegmentator_v2")).array[5:113, 13:95, 60:112]
    for axis in range(3):
        labels = np.take(labels, np.arange(144) * labels.shape[axis] // 144, axis=axis)
    return labels[::-1, :, ::-1]


def test_the_body_box_holds_the_body_and_leaves_out_air():
    volume = phantoms.ct("LPS")
    box = regions.body_box(volume)
    whole = regions.whole_box(volume.grid)
    assert (box.min(0) > whole.min(0) - 1e-6).all()
    assert (box.max(0) < whole.max(0) + 1e-6).all()
    dense = geometry.apply_affine(volume.affine, np.argwhere(volume.array > -400))
    assert (dense.min(0) >= box.min(0)).all()
    assert (dense.max(0) <= box.max(0)).all()


def test_an_roi_without_two_voxels_is_refused_and_one_mostly_outside_is_told(caplog):
    volume = phantoms.ct()
    center = geometry.apply_affine(volume.affine, [15, 15, 10])
    with pytest.raises(InputError, match="too small to segment"):
        regions.require_covered(volume.grid, regions.roi_box(volume.grid, Roi(center, np.eye(3), np.full(3, 0.5))))
    shifted = Roi(center + np.array([60.0, 0, 0]), np.eye(3), np.full(3, 90.0))
    regions.require_covered(volume.grid, regions.roi_box(volume.grid, shifted))
    assert "of the ROI lies inside" in caplog.text
