"""What a model leaves in a case folder: every file the case folder promises, on the CT's grid, and how it was made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from atlas_phantoms import FIT, ORGANS, ct, files_below, make_case, make_model, organ, roi, sigmoid_network, softmax_network
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.classes import class_of
from AtlasSegmentLib.encoding import entropy_bytes
from AtlasSegmentLib.errors import AtlasError, InputError, ModelError
from AtlasSegmentLib.files import sha256_of
from AtlasSegmentLib.inference import on_ct, predict
from AtlasSegmentLib.model import Model, load_model
from AtlasSegmentLib.nifti import write_nifti
from AtlasSegmentLib.segment_case import SegmentOptions, segment_case
from AtlasSegmentLib.segment_request import SegmentRequest, segment
from AtlasSegmentLib.volume import Volume

WITH_BOWEL = (*ORGANS, "colon")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Return a model of three target organs and the colon, which is none."""
    content = softmax_network((20.0, 150.0, 300.0, 450.0, 600.0))
    return load_model(make_model(tmp_path_factory.mktemp("m"), "tiny", content, organs=WITH_BOWEL))


@pytest.fixture(scope="module")
def done(model: Model, tmp_path_factory: pytest.TempPathFactory) -> CaseFolder:
    """Return an LPS case that was segmented; for reading only."""
    case = make_case(tmp_path_factory.mktemp("set") / "case", ct("LPS"))
    assert segment_case(case, model) is not None
    return case


def load(path: Path) -> Any:
    return np.asarray(nib.load(path).dataobj)


def test_every_map_that_the_case_folder_promises_is_there_and_no_other_file(done: CaseFolder) -> None:
    maps = {f"{kind}/{name}.nii.gz" for kind in ("segmentations", "soft_pred") for name in WITH_BOWEL}
    maps |= {f"entropy/{name}.nii.gz" for name in ORGANS}  # the colon is no target of AbdomenAtlas
    assert set(files_below(done.backbone("tiny").folder)) == maps | {"pseudo_label.nii.gz", "run.json"}


def test_maps_are_bytes_on_the_grid_of_the_ct(done: CaseFolder) -> None:
    image = nib.load(done.ct)
    for path in done.backbone("tiny").folder.rglob("*.nii.gz"):
        found = nib.load(path)
        assert found.get_data_dtype() == np.uint8, path
        assert found.shape == image.shape, path
        np.testing.assert_allclose(found.affine, image.affine, atol=1e-5)
        assert found.header["qform_code"] == image.header["qform_code"]
        assert found.header["xyzt_units"] == image.header["xyzt_units"]


def test_masks_are_zero_or_one_and_lie_on_the_organ(done: CaseFolder) -> None:
    for number, name in enumerate(ORGANS):
        mask = Volume(load(done.backbone("tiny").mask(name)), nib.load(done.ct).affine).reoriented("RAS").array
        assert set(np.unique(mask)) <= {0, 1}
        if name == "kidney_left":  # blurred rims of brighter organs look like the darker ones to this network
            assert (mask[organ(number)] > 0).mean() > 0.2
            assert (mask > 0)[~organ(number)].sum() < 0.05 * mask.sum()


def test_the_pseudo_label_is_the_masks_in_abdomenatlas_values(done: CaseFolder) -> None:
    folder = done.backbone("tiny")
    expected = np.zeros(load(folder.pseudo_label).shape, np.uint8)
    for value, name in sorted((class_of(name), name) for name in WITH_BOWEL):
        expected[load(folder.mask(name)) > 0] = value
    np.testing.assert_array_equal(load(folder.pseudo_label), expected)


def test_soft_predictions_and_entropies_are_the_bytes_of_the_probability(done: CaseFolder, model: Model) -> None:
    image = ct("LPS")
    prediction = predict(image, model)
    folder = done.backbone("tiny")
    for value, name in enumerate(ORGANS, 1):
        p = on_ct(prediction, image.grid, value).dense()
        mask, soft = load(folder.mask(name)) > 0, load(folder.map("soft_pred", name))
        np.testing.assert_array_equal(load(folder.map("entropy", name)), entropy_bytes(p))
        np.testing.assert_array_equal(soft[mask], (p[mask] * 255).astype(np.uint8))
        assert not soft[~binary_dilation(mask, np.ones((3, 3, 3)))].any()


def test_the_record_says_what_made_the_files(done: CaseFolder, model: Model) -> None:
    record = json.loads(done.backbone("tiny").run_record.read_text(encoding="utf-8"))
    assert record["step"] == "segment"
    assert record["inputs"]["ct"] == {"file": "ct.nii.gz", "sha256": sha256_of(done.ct)}
    assert record["parameters"]["model"] == {"name": "tiny", "version": "1", "sha256": model.spec.sha256}
    assert record["parameters"]["roi"] is None
    assert record["parameters"]["postprocess"] is True
    assert record["results"]["engine"] == model.engine
    assert record["results"]["model"]["license"] == "Apache-2.0"
    assert record["software"]["numpy"] == np.__version__
    assert record["started"] <= record["finished"]
    for name in WITH_BOWEL:
        voxels = int(load(done.backbone("tiny").mask(name)).sum())
        found = record["results"]["organs"][name]
        assert found == {"voxels": voxels, "volume_ml": pytest.approx(voxels * 3.0 * 3.5 * 5.0 / 1000, abs=1e-3)}


@pytest.mark.parametrize("code", ["RAS", "SPL"])
def test_overlapping_structures_of_a_sigmoid_model_are_masks_of_their_own_in_any_orientation(tmp_path: Path, code: str) -> None:
    sigmoid = load_model(make_model(tmp_path / "m", "sig", sigmoid_network(), output={"activation": "sigmoid"}, input=FIT))
    found = []
    for name, orientation in (("plain", "LPS"), ("turned", code)):
        case = make_case(tmp_path / name, ct(orientation))
        segment_case(case, sigmoid, SegmentOptions(roi=roi(), postprocess=False))
        affine = nib.load(case.ct).affine
        masks = [Volume(load(case.backbone("sig").mask(o)), affine).reoriented("RAS").array for o in ORGANS]
        assert (masks[0] >= masks[1]).all()
        assert (masks[1] >= masks[2]).all()
        found.append(masks)
    np.testing.assert_array_equal(found[0], found[1])


def test_a_second_run_touches_nothing(done: CaseFolder, model: Model) -> None:
    before = files_below(done.folder)
    assert segment_case(done, model) is None
    assert files_below(done.folder) == before


@pytest.mark.parametrize(
    "options",
    [SegmentOptions(roi=roi()), SegmentOptions(postprocess=False), SegmentOptions(all_entropies=True), SegmentOptions(force=True)],
)
def test_other_parameters_or_force_do_it_again(tmp_path: Path, model: Model, options: SegmentOptions) -> None:
    case = make_case(tmp_path / "case")
    segment_case(case, model)
    before = files_below(case.backbone("tiny").folder)
    assert segment_case(case, model, options) is not None
    after = files_below(case.backbone("tiny").folder)
    assert all(after[path][0] > stat[0] for path, stat in before.items())
    assert ("entropy/colon.nii.gz" in after) == options.all_entropies


def test_a_missing_output_or_another_ct_is_made_again(tmp_path: Path, model: Model) -> None:
    case = make_case(tmp_path / "case")
    segment_case(case, model)
    case.backbone("tiny").mask("liver").unlink()
    assert segment_case(case, model) is not None
    write_nifti(case.ct, Volume(np.where(ct().array > 200, 20, ct().array).astype(np.int16), ct().affine))
    record = segment_case(case, model)
    assert record is not None
    assert record["results"]["organs"]["kidney_left"]["voxels"] == 0


def test_entropies_that_are_no_longer_asked_for_are_removed(tmp_path: Path, model: Model) -> None:
    case = make_case(tmp_path / "case")
    segment_case(case, model, SegmentOptions(all_entropies=True))
    segment_case(case, model)
    assert not case.backbone("tiny").map("entropy", "colon").exists()
    assert case.backbone("tiny").map("entropy", "liver").exists()


def test_a_ct_without_any_organ_gives_empty_masks(tmp_path: Path, model: Model) -> None:
    array = np.full((12, 11, 10), -1000, np.int16)
    array[2:10, 2:9, 2:8] = 20
    case = make_case(tmp_path / "case", Volume(array, np.diag([4.0, 4.0, 4.0, 1.0])))
    segment_case(case, model)
    for path in case.backbone("tiny").folder.rglob("*.nii.gz"):
        if path.parent.name != "entropy":
            assert not load(path).any(), path


def fit_model(tmp_path: Path) -> Path:
    return make_model(tmp_path / "fit", "fit", input=FIT)


def test_a_missing_region_is_told_before_anything_is_written(tmp_path: Path) -> None:
    source = tmp_path / "scan.nii.gz"
    write_nifti(source, ct())
    window = make_model(tmp_path / "tiny", "tiny")
    request = SegmentRequest(CaseFolder(tmp_path / "set/case"), source, (window, fit_model(tmp_path)))
    with pytest.raises(InputError, match=rf"{source}: model fit needs a region of interest"):
        segment(request)
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("damage", ["sha256", "network", "ct", "original grid", "original values"])
def test_bad_input_leaves_no_case_behind(tmp_path: Path, damage: str) -> None:
    source, labels = tmp_path / "scan.nii.gz", tmp_path / "labels.nii.gz"
    write_nifti(source, ct())
    good = np.zeros(ct().shape, np.float32)
    write_nifti(
        labels, Volume(good + (0.5 if damage == "original values" else 0), ct("RAS", 10 if damage == "original grid" else 0).affine)
    )
    if damage == "ct":
        source.write_bytes(source.read_bytes()[:-3000])
    changes: dict[str, Any] = {"sha256": "0" * 64} if damage == "sha256" else {}
    folder = make_model(tmp_path / "m", "tiny", b"broken" if damage == "network" else None, **changes)
    with pytest.raises(AtlasError) as caught:
        segment(SegmentRequest(CaseFolder(tmp_path / "set/case"), source, (folder,), original=labels))
    named = {"sha256": "model.onnx", "network": "model.onnx", "ct": "scan.nii.gz"}.get(damage, "labels.nii.gz")
    assert named in caught.value.message
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "set").exists()


def test_a_failing_network_leaves_the_finished_result_alone(tmp_path: Path, model: Model) -> None:
    case = make_case(tmp_path / "case")
    segment_case(case, model)
    before = files_below(case.folder)
    broken = load_model(make_model(tmp_path / "m", "tiny", softmax_network((1.0, float("nan"), 2.0, 3.0))))
    with pytest.raises(ModelError, match="not finite"):
        segment_case(case, broken)
    assert files_below(case.folder) == before


def test_several_models_run_and_only_the_new_one_on_the_second_time(tmp_path: Path) -> None:
    case = make_case(tmp_path / "set/case")
    one, two = make_model(tmp_path / "a", "a"), make_model(tmp_path / "b", "b")
    seen: list[float] = []
    first = segment(SegmentRequest(case, case.ct, (one,)))
    again = segment(SegmentRequest(case, case.ct, (one, two)), lambda done, _: seen.append(done))
    assert first is not None
    assert list(first) == ["a"]
    assert again is not None
    assert list(again) == ["b"]
    assert seen == sorted(seen)
    assert segment(SegmentRequest(case, case.ct, (one, two))) is None
