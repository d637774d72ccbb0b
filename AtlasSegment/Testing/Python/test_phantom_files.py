"""Phantoms on the disk: cases that the product opens, predictions whose probabilities say what is so, commands that can be repeated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import typer
from scipy import ndimage
from typer.testing import CliRunner

from AtlasSegmentLib import commands_phantom, phantom_files
from AtlasSegmentLib.case_folder import open_case
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.files import sha256_of
from AtlasSegmentLib.label_files import read_stated_labels
from AtlasSegmentLib.nifti import read_nifti
from AtlasSegmentLib.phantom import phantom
from AtlasSegmentLib.phantom_errors import ErrorOptions, predict, reader_mask, signed_distance
from AtlasSegmentLib.phantom_files import REFERENCE, PhantomRequest, reader_label, write_phantom
from AtlasSegmentLib.result_labels import read_result
from AtlasSegmentLib.volume import require_same_grid

COARSE = (9.0, 9.0, 9.0)
SPACING = np.array([2.0, 2.0, 2.0])


def ball(radius: float = 24.0, size: int = 48) -> np.ndarray:
    """Return a ball in the middle of a cube of 2 mm voxels."""
    index = np.indices((size, size, size)) - (size - 1) / 2
    return np.asarray((index**2).sum(axis=0) * 4 < radius**2)


def run(*arguments: str) -> str:
    """Run `atlas phantom` and return what it printed."""
    app = typer.Typer(pretty_exceptions_enable=False)
    commands_phantom.add_to(app)
    app.command("other")(lambda: None)
    result = CliRunner().invoke(app, ["phantom", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a dataset folder with one phantom and two predictions."""
    folder = tmp_path_factory.mktemp("phantoms") / "data"
    write_phantom(PhantomRequest(folder, 4, COARSE, predictions=2))
    return folder


def test_a_phantom_is_a_case_with_a_reference_that_states_its_table(dataset: Path) -> None:
    case = open_case(dataset / "phantom_00004")
    ct, reference = read_nifti(case.ct), read_stated_labels(case.folder / REFERENCE, None)
    require_same_grid(ct, reference)
    made = phantom(4, COARSE)
    np.testing.assert_array_equal(ct.array, made.ct.array)
    np.testing.assert_array_equal(reference.array, made.labels.array)
    assert reference.table is not None
    assert reference.table.value_of("liver") == made.labels.table.value_of("liver")
    assert ct.orientation == "RAS"
    assert ct.array.dtype == np.int16


def test_predictions_are_what_models_leave_in_a_case(dataset: Path) -> None:
    case = open_case(dataset / "phantom_00004")
    assert case.models() == ["phantom_a", "phantom_b"]
    ct = read_nifti(case.ct).grid
    for model in case.models():
        folder = case.backbone(model)
        assert folder.organs() == folder.organs("soft_pred") == folder.organs("entropy")
        found = read_result(folder)
        assert "liver" not in found.missing
        soft, mask = read_nifti(folder.map("soft_pred", "liver")), read_nifti(folder.mask("liver"))
        require_same_grid(soft, ct)
        np.testing.assert_array_equal(mask.array > 0, soft.array > 127)


def test_two_predictions_differ_and_are_both_near_the_truth(dataset: Path) -> None:
    case = open_case(dataset / "phantom_00004")
    truth = read_stated_labels(case.folder / REFERENCE, None)
    liver = truth.array == truth.table.value_of("liver")
    masks = [read_nifti(case.backbone(model).mask("liver")).array > 0 for model in case.models()]
    assert not np.array_equal(*masks)
    for mask in masks:
        assert 0.6 < 2 * np.count_nonzero(mask & liver) / (np.count_nonzero(mask) + np.count_nonzero(liver)) < 1


def test_what_is_there_is_not_made_again_and_predictions_can_be_added(dataset: Path) -> None:
    request = PhantomRequest(dataset, 4, COARSE, predictions=2)
    before = sha256_of(dataset / "phantom_00004" / "ct.nii.gz")
    assert write_phantom(request) is None
    assert write_phantom(PhantomRequest(dataset, 4, COARSE, predictions=3)) is not None
    assert open_case(dataset / "phantom_00004").models() == ["phantom_a", "phantom_b", "phantom_c"]
    assert sha256_of(dataset / "phantom_00004" / "ct.nii.gz") == before


def test_another_phantom_in_its_place_takes_the_predictions_of_the_first_one_away(tmp_path: Path) -> None:
    out = tmp_path / "data"
    write_phantom(PhantomRequest(out, 4, (20.0, 20.0, 20.0), (4, 4, 4), predictions=2))
    case = open_case(out / "phantom_00004")
    mine = case.backbone("phantom_b").folder / "notes.txt"
    mine.write_text("kept")
    write_phantom(PhantomRequest(out, 4, (20.0, 20.0, 20.0), (5, 4, 4), predictions=1))
    ct = read_nifti(case.ct).grid
    require_same_grid(read_nifti(case.backbone("phantom_a").mask("liver")), ct)
    assert [path.name for path in case.backbone("phantom_b").folder.rglob("*")] == ["notes.txt"]
    write_phantom(PhantomRequest(out, 4, (20.0, 20.0, 20.0), (4, 4, 4)))
    assert case.models() == ["phantom_b"]  # what somebody else put there stays


def test_readers_draw_the_organs_of_the_atlas_each_in_their_own_way(tmp_path: Path) -> None:
    out, shape = tmp_path / "data", (36, 24, 8)
    box = ("--spacing", "9,9,20", "--size", "36,24,8", "--out", str(out))
    run("--readers", "2", "--predictions", "0", *box)
    case = open_case(out / "phantom_00000")
    truth = read_stated_labels(case.folder / REFERENCE, None)
    drawn = [read_stated_labels(reader_label(case, number), None) for number in range(2)]
    liver = truth.table.value_of("liver")
    assert not np.array_equal(drawn[0].array, drawn[1].array)
    for reader in drawn:
        require_same_grid(reader, truth)
        mask, real = reader.array == liver, truth.array == liver
        assert 0.6 < 2 * np.count_nonzero(mask & real) / (mask.sum() + real.sum()) < 1
        assert not np.any(reader.array == truth.table.value_of("rib_right_10"))
    assert "1 skipped" in run("--readers", "1", *box)
    write_phantom(PhantomRequest(out, 0, (9.0, 9.0, 20.0), shape, phase="venous"))
    assert sorted(path.name for path in case.folder.glob("reader_*")) == []


@pytest.mark.parametrize("stopped_at", ["reference", "ct"])
def test_a_phantom_whose_writing_was_stopped_is_finished_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped_at: str
) -> None:
    request = PhantomRequest(tmp_path / "data", 4, (20.0, 20.0, 20.0), (4, 4, 4))
    write_phantom(request)
    folder = tmp_path / "data" / "phantom_00004"
    before = sha256_of(folder / "ct.nii.gz")

    def stop(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(phantom_files, "write_labels" if stopped_at == "reference" else "write_nifti", stop)
        with pytest.raises(KeyboardInterrupt):
            write_phantom(PhantomRequest(tmp_path / "data", 4, (20.0, 20.0, 20.0), (5, 4, 4)))
    assert write_phantom(request) is not None
    assert sha256_of(folder / "ct.nii.gz") == before
    assert write_phantom(request) is None


def test_a_ct_that_is_no_phantom_is_never_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "phantom_00001"
    folder.mkdir(parents=True)
    (folder / "ct.nii.gz").write_bytes(b"a person's scan")
    with pytest.raises(InputError, match="no phantom"):
        write_phantom(PhantomRequest(tmp_path / "data", 1, COARSE, force=True))
    assert (folder / "ct.nii.gz").read_bytes() == b"a person's scan"


def test_the_command_writes_a_dataset_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    out = tmp_path / "data"
    text = run("--seed", "2", "--cases", "2", "--spacing", "16", "--phase", "venous", "--out", str(out))
    assert "2 done, 0 skipped, 0 failed" in text.replace(" (finished before)", "")
    assert "contrast venous" in text
    assert sorted(path.name for path in out.iterdir()) == ["phantom_00002", "phantom_00003"]
    again = run("--seed", "2", "--cases", "3", "--spacing", "16", "--phase", "venous", "--out", str(out))
    assert "1 done, 2 skipped" in again


def test_the_command_takes_any_voxels_and_size(tmp_path: Path) -> None:
    run("--spacing", "8,8,12", "--size", "40,30,20", "--no-table", "--noise", "0", "--out", str(tmp_path / "data"))
    ct = read_nifti(tmp_path / "data" / "phantom_00000" / "ct.nii.gz")
    assert ct.shape == (40, 30, 20)
    np.testing.assert_allclose(ct.spacing, (8, 8, 12))


@pytest.mark.parametrize(
    "wrong",
    [
        *(("--spacing", text) for text in ("1,2", "wide", "nan", "0", "-3", "100")),
        *(("--size", text) for text in ("10,10,2.5", "nan,1,1", "0,4,4")),
        *(("--phase", "late"), ("--seed", "-1"), ("--noise", "inf"), ("--streaks", "nan"), ("--error", "inf"), ("--predictions", "27")),
    ],
)
def test_options_that_cannot_be_are_refused(tmp_path: Path, wrong: tuple[str, str]) -> None:
    app = typer.Typer(pretty_exceptions_enable=False)
    commands_phantom.add_to(app)
    app.command("other")(lambda: None)
    result = CliRunner().invoke(app, ["phantom", "--out", str(tmp_path / "data"), *wrong])
    assert result.exit_code != 0
    assert "Traceback" not in result.output
    assert "unexpectedly" not in result.output
    assert not list(tmp_path.rglob("*.nii.gz"))


def test_probabilities_are_right_as_often_as_they_say() -> None:
    said, so = [], []
    truth = ball()
    for seed in range(40):
        box, probability = predict(truth, SPACING, np.random.default_rng(seed), ErrorOptions(missing=0))
        said.append(probability.ravel())
        so.append(truth[box].ravel())
    p, t = np.concatenate(said), np.concatenate(so)
    bins = np.digitize(p, np.linspace(0.1, 0.9, 9))
    for number in range(1, 9):
        chosen = bins == number
        assert abs(t[chosen].mean() - p[chosen].mean()) < 0.08, (number, p[chosen].mean(), t[chosen].mean())


def test_errors_hang_together_and_grow_with_what_is_asked() -> None:
    truth = ball()
    wrong = {}
    for surface in (0.8, 3.0):
        box, probability = predict(truth, SPACING, np.random.default_rng(1), ErrorOptions(surface=surface, spots=0, missing=0))
        error = (probability > 0.5) != truth[box]
        wrong[surface] = int(error.sum())
        _, count = ndimage.label(error, np.ones((3, 3, 3)))
        assert count < error.sum() / 3
    assert wrong[3.0] > 2 * wrong[0.8] > 0


def test_an_absent_organ_gives_an_empty_prediction_and_no_outline() -> None:
    empty = np.zeros((5, 5, 5), bool)
    box, probability = predict(empty, SPACING, np.random.default_rng(0))
    assert probability.size == 0
    assert box == (slice(0, 0), slice(0, 0), slice(0, 0))
    assert not reader_mask(empty, SPACING, np.random.default_rng(0)).any()


def test_a_reader_leaves_out_ends_and_is_uneven_from_slice_to_slice_only() -> None:
    truth = ball()
    drawn = reader_mask(truth, SPACING, np.random.default_rng(3))
    slices = np.flatnonzero(truth.any(axis=(0, 1)))
    assert drawn.any()
    assert not drawn[:, :, : slices[0]].any()
    assert drawn.any(axis=(0, 1)).sum() < len(slices)
    assert 0.75 < 2 * np.count_nonzero(drawn & truth) / (drawn.sum() + truth.sum()) < 1
    rough = [np.mean(np.abs(np.diff(mask[10:38, 10:38, 16:32].astype(int), axis=2))) for mask in (drawn, truth)]
    assert rough[0] > rough[1]


def test_the_signed_distance_is_zero_between_voxels() -> None:
    mask = np.zeros((9, 1, 1), bool)
    mask[3:6] = True
    np.testing.assert_allclose(signed_distance(mask, np.array([2.0, 2.0, 2.0])).ravel(), [-5, -3, -1, 1, 3, 1, -1, -3, -5])
