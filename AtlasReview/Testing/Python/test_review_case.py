"""Reading a task: what counts now, and what to do with files that cannot be used."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from AtlasReviewLib.background import Cancelled
from AtlasReviewLib.review_case import is_current, load_review_case, same_mask
from AtlasReviewLib.revisions import save_revision
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import DatasetError, GeometryError, InputError
from AtlasSegmentLib.nifti import read_nifti, write_nifti
from AtlasSegmentLib.volume import Volume
from review_data import make_review_case, scores

ATTENTION = scores(liver=100.0, spleen=50.0, kidney_left=20.0)


@pytest.fixture
def case(tmp_path: Path) -> CaseFolder:
    return make_review_case(tmp_path / "hospital" / "one", attention=ATTENTION)


def test_everything_of_a_task_is_read(case: CaseFolder) -> None:
    loaded = load_review_case(case.folder, "liver")
    assert loaded.ct is not None
    assert loaded.ct.array.dtype == np.int16
    assert sorted(loaded.organs) == ["kidney_left", "liver", "spleen"]
    assert next(iter(loaded.organs)) == "liver"
    assert np.array_equal(loaded.baseline.mask.dense(), read_nifti(case.average.mask("liver")).array)
    assert loaded.attention is not None
    assert loaded.hot_spots[0].organ == "liver"
    assert loaded.problems == ()
    assert is_current(loaded)


def test_the_revision_counts_and_not_the_prediction(case: CaseFolder) -> None:
    mask = read_nifti(case.average.mask("liver"))
    mask.array[0, 0, 0] = 1
    save_revision(case, "liver", mask, "Ada")
    loaded = load_review_case(case.folder, "liver")
    assert loaded.baseline.revised
    assert loaded.baseline.mask.dense()[0, 0, 0] == 1
    assert load_review_case(case.folder, "spleen").organs["liver"].revised


def test_an_organ_without_a_mask_starts_empty(case: CaseFolder) -> None:
    loaded = load_review_case(case.folder, "pancreas")
    assert loaded.baseline.file is None
    assert not loaded.baseline.mask.dense().any()
    assert loaded.attention is None
    assert loaded.hot_spots == ()


def test_a_single_model_counts_where_there_is_no_average(tmp_path: Path) -> None:
    case = make_review_case(tmp_path / "d" / "one", organs=("liver",))
    case.backbone("unet").mask("liver").parent.mkdir(parents=True)
    case.average.mask("liver").rename(case.backbone("unet").mask("liver"))
    assert load_review_case(case.folder, "liver").baseline.file == case.backbone("unet").mask("liver")


def test_a_mask_in_another_array_order_is_the_same_mask(case: CaseFolder) -> None:
    before = load_review_case(case.folder, "liver").baseline.mask
    write_nifti(case.average.revised_mask("liver"), read_nifti(case.average.mask("liver")).reoriented("ASL"))
    after = load_review_case(case.folder, "liver").baseline
    assert after.revised
    assert same_mask(after.mask, before)


def test_a_revised_mask_that_nibabel_wrote_as_float_is_read(case: CaseFolder) -> None:
    image = nib.load(case.average.mask("liver"))
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj).astype(np.float64), image.affine), case.average.revised_mask("liver"))
    assert load_review_case(case.folder, "liver").baseline.mask.crop.dtype == np.uint8


def test_a_task_without_a_ct_shows_its_masks(case: CaseFolder) -> None:
    case.ct.unlink()
    (case.folder / "backbones").mkdir()
    write_nifti(case.average.pseudo_label, read_nifti(case.average.mask("liver")))
    loaded = load_review_case(case.folder, "liver")
    assert loaded.ct is None
    assert "no CT" in loaded.problems[0]


def test_a_damaged_ct_is_said_and_the_masks_are_shown(case: CaseFolder) -> None:
    case.ct.write_bytes(case.ct.read_bytes()[:500])
    loaded = load_review_case(case.folder, "liver")
    assert loaded.ct is None
    assert any("ct.nii.gz" in problem and "damaged" in problem for problem in loaded.problems)
    assert loaded.baseline.mask.crop.any()


def test_a_ct_whose_header_is_damaged_is_said_and_the_masks_are_shown(case: CaseFolder) -> None:
    case.ct.write_bytes(b"nothing")
    loaded = load_review_case(case.folder, "liver")
    assert loaded.ct is None
    assert loaded.baseline.mask.crop.any()


def test_a_damaged_attention_map_is_said_and_the_task_opens(case: CaseFolder) -> None:
    path = case.average.map("attention", "liver")
    path.write_bytes(path.read_bytes()[:200])
    loaded = load_review_case(case.folder, "liver")
    assert loaded.attention is None
    assert len(loaded.problems) == 1


def test_a_damaged_mask_of_another_organ_is_said_and_the_task_opens(case: CaseFolder) -> None:
    case.average.mask("spleen").write_bytes(b"junk")
    loaded = load_review_case(case.folder, "liver")
    assert sorted(loaded.organs) == ["kidney_left", "liver"]
    assert "spleen.nii.gz" in loaded.problems[0]


def test_a_damaged_mask_of_the_organ_itself_is_an_error_that_names_it(case: CaseFolder) -> None:
    case.average.mask("liver").write_bytes(b"junk")
    with pytest.raises(InputError, match=r"liver\.nii\.gz"):
        load_review_case(case.folder, "liver")


def test_a_mask_on_another_grid_or_with_other_values_is_refused(case: CaseFolder) -> None:
    mask = read_nifti(case.average.mask("liver"))
    write_nifti(case.average.mask("liver"), Volume(mask.array[1:].copy(order="F"), mask.affine))
    with pytest.raises(GeometryError, match="grid"):
        load_review_case(case.folder, "liver")
    write_nifti(case.average.mask("liver"), mask.with_array(mask.array * 3))
    with pytest.raises(InputError, match="0 and 1"):
        load_review_case(case.folder, "liver")


def test_a_case_that_is_gone_is_said(case: CaseFolder) -> None:
    case.folder.rename(case.folder.with_name("away"))
    with pytest.raises(DatasetError, match="not there any more"):
        load_review_case(case.folder, "liver")


def test_files_that_did_not_change_are_not_read_again(case: CaseFolder) -> None:
    first = load_review_case(case.folder, "liver")
    mask = read_nifti(case.average.mask("spleen"))
    mask.array[0, 0, 0] = 1
    save_revision(case, "spleen", mask, "Ada")
    assert not is_current(first)
    second = load_review_case(case.folder, "spleen", known=first)
    assert second.ct is first.ct
    assert second.organs["kidney_left"] is first.organs["kidney_left"]
    assert second.baseline.mask.dense()[0, 0, 0] == 1
    assert is_current(second)


def test_what_was_read_of_another_case_is_not_taken(case: CaseFolder, tmp_path: Path) -> None:
    other = make_review_case(tmp_path / "hospital" / "two", attention=ATTENTION)
    assert load_review_case(other.folder, "liver", known=load_review_case(case.folder, "liver")).case.folder == other.folder


def test_reading_can_be_stopped_in_the_middle(case: CaseFolder) -> None:
    def stop(fraction: float, _text: str) -> None:
        if fraction > 0.3:
            raise Cancelled

    with pytest.raises(Cancelled):
        load_review_case(case.folder, "liver", stop)
