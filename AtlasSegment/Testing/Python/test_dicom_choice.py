"""Which series of a study is read: by rule, or by name; and what is said of the choice."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from AtlasSegmentLib import intake
from AtlasSegmentLib.dicom_series import inspect_dicom_folder, read_dicom_folder
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.volume_io import read_volume
from dicom_phantoms import Phantom

pydicom = pytest.importorskip("pydicom")

STUDY = "1.2.826.0.1.3680043.8.498.1"


def series(folder: Path, number: int, slices: int = 4, **tags: Any) -> Phantom:
    """Write an axial CT series of a study."""
    made = Phantom((12, 10, slices), tags={"SeriesNumber": number, "StudyInstanceUID": STUDY, **tags})
    made.write(folder)
    return made


def chosen(folder: Path, **options: Any) -> str:
    """Return the number of the series that is read."""
    origin = read_dicom_folder(folder, **options).origin
    assert origin is not None
    return origin.description.split("number ")[1].split(",")[0]


def with_junk(study: Path) -> Path:
    """Put into a study what archives put there: a directory file, reports, scouts, captures, notes."""
    one = Phantom((12, 10, 3))
    study.mkdir(parents=True, exist_ok=True)
    one.dataset(0, SOPClassUID="1.2.840.10008.1.3.10", Modality=None).save_as(study / "DICOMDIR", enforce_file_format=True)
    report = {"Modality": "SR", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.67", "PixelSpacing": None}
    one.dataset(0, **report).save_as(study / "dose", enforce_file_format=True)
    one.dataset(0, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]).save_as(study / "scout", enforce_file_format=True)
    capture = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "ImageOrientationPatient": None}
    one.dataset(0, **capture).save_as(study / "sheet", enforce_file_format=True)
    (study / "autorun.inf").write_text("[autorun]")
    (study / "__MACOSX").mkdir()
    (study / "__MACOSX" / "._1.dcm").write_bytes(b"\0\5\x16\7")
    return study


def test_of_a_whole_study_the_axial_ct_with_most_slices_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    study = with_junk(tmp_path / "study")
    made = series(study / "IMG" / "S02", 2, 6)
    series(study / "IMG" / "S03", 3, 4)
    series(study / "IMG" / "S04", 4, 9, Modality="PT", SOPClassUID="1.2.840.10008.5.1.4.1.1.128")
    coronal = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    Phantom((12, 10, 9), axes=coronal, step=(0, 2.5, 0), tags={"SeriesNumber": 5, "StudyInstanceUID": STUDY}).write(
        study / "IMG" / "S05", ending=""
    )
    with caplog.at_level(logging.INFO):
        volume = read_dicom_folder(study)
    assert volume.shape == made.shape
    assert "read the series 'portal venous' (number 2, CT, 6 slices of 2.5 mm" in caplog.text
    assert "also there: 'portal venous' (number 3, CT, 4 slices" in caplog.text
    assert "number 5, CT, 9 slices of 2.5 mm, not axial" in caplog.text
    assert "1 DICOMDIR, 1 SR object, 1 localizer, 2 not a DICOM file, 1 secondary capture" in caplog.text
    assert read_volume(study / "DICOMDIR").shape == made.shape
    assert read_volume(study / "IMG").shape == made.shape


@pytest.mark.parametrize(
    ("worse", "better"),
    [
        ({"SliceThickness": 5}, {"SliceThickness": 2}),
        ({"ImageType": ["DERIVED", "SECONDARY", "AXIAL"]}, {}),
        ({"ConvolutionKernel": "B70f"}, {"ConvolutionKernel": "B30f"}),
        ({"ConvolutionKernel": ["Br64d", "3"]}, {"ConvolutionKernel": ["Br38f", "3"]}),
        ({"ConvolutionKernel": "LUNG"}, {"ConvolutionKernel": "STANDARD"}),
    ],
)
def test_of_series_with_as_many_slices_thinner_then_original_then_soft_wins(tmp_path: Path, worse: Any, better: Any) -> None:
    series(tmp_path, 1, **worse)
    series(tmp_path, 2, **better)
    assert chosen(tmp_path) == "2"


@pytest.mark.parametrize("worse", [{"ImageType": ["DERIVED", "SECONDARY", "AXIAL", "MIP"]}, {"RescaleType": "MGML"}])
def test_projections_and_material_maps_never_win_by_their_number_of_slices(tmp_path: Path, worse: Any) -> None:
    series(tmp_path, 1, 8, **worse)
    series(tmp_path, 2, 4)
    assert chosen(tmp_path) == "2"


def test_two_phases_that_the_rule_cannot_tell_apart_are_asked_for(tmp_path: Path) -> None:
    series(tmp_path / "a", 4, SeriesDescription="arterial")
    series(tmp_path / "b", 5, SeriesDescription="venous")
    with pytest.raises(InputError, match=r"2 of them alike: 'arterial' \(number 4.*'venous' \(number 5") as caught:
        read_dicom_folder(tmp_path)
    assert "--series" in caught.value.remedy
    assert chosen(tmp_path, series="5") == "5"


def test_between_studies_nothing_is_chosen_unasked(tmp_path: Path) -> None:
    series(tmp_path / "today", 4, 9)
    series(tmp_path / "years ago", 5, 4, StudyInstanceUID="1.2.3.4")
    with pytest.raises(InputError, match=r"series of 2 studies.*number 4.*in .*today; .*number 5.*in .*years ago") as caught:
        read_dicom_folder(tmp_path)
    assert "--series" in caught.value.remedy
    assert chosen(tmp_path, series="5") == "5"
    assert read_volume(next((tmp_path / "today").iterdir())).shape[2] == 9


def test_a_series_is_named_by_number_uid_or_end_of_uid(tmp_path: Path) -> None:
    made = series(tmp_path, 1, 3)
    series(tmp_path, 2, 5)
    uid = made.tags["SeriesInstanceUID"]
    assert {chosen(tmp_path, series=name) for name in ("1", uid, uid[-9:])} == {"1"}
    series(tmp_path / "more", 3, 4, SeriesInstanceUID="1.2.3.1")  # an end of a UID that is the number of another series
    assert chosen(tmp_path, series="1") == "1"
    with pytest.raises(InputError, match="no series that '99999' names"):
        read_dicom_folder(tmp_path, series="99999")


@pytest.mark.parametrize("modality", ["MR", "PT"])
def test_another_modality_is_refused_for_a_ct_with_the_reason(tmp_path: Path, modality: str) -> None:
    series(tmp_path / "mr", 1, 9, Modality=modality)
    with pytest.raises(InputError, match=rf"is {modality}, and CT is needed; there is no CT series here"):
        intake.read_ct(tmp_path / "mr")
    with pytest.raises(InputError, match=rf"is {modality}, and CT is needed"):
        intake.read_ct(next((tmp_path / "mr").iterdir()))
    assert read_volume(tmp_path / "mr").shape[2] == 9
    series(tmp_path / "ct", 2, 3)
    assert intake.read_ct(tmp_path).shape[2] == 3
    with pytest.raises(InputError, match="There is: 'portal venous'"):
        intake.read_ct(tmp_path, "1")


def test_copies_of_slices_count_once_wherever_they_lie(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = series(tmp_path / "a", 1, 4)
    shutil.copytree(tmp_path / "a", tmp_path / "backup")
    volume = read_dicom_folder(tmp_path)
    assert volume.shape == made.shape
    assert "4 copies of slices were left out" in caplog.text


def test_a_series_sent_twice_under_new_uids_counts_once_where_it_shows_the_same(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = series(tmp_path, 1, 4)
    made.write(tmp_path)
    assert read_dicom_folder(tmp_path).shape == made.shape
    assert "4 copies of slices were left out" in caplog.text
    made.dataset(2, PixelData=bytes(240)).save_as(tmp_path / "other.dcm", enforce_file_format=True)
    with pytest.raises(InputError, match=r"5 position|1 position"):
        read_dicom_folder(tmp_path)


def test_a_file_stands_for_its_own_phase_and_a_report_for_none(tmp_path: Path) -> None:
    one = Phantom((12, 10, 5))
    one.write(tmp_path, lambda _: {"AcquisitionNumber": 1})
    late = Phantom((12, 10, 4), tags=one.tags).write(tmp_path, lambda _: {"AcquisitionNumber": 2})
    assert read_volume(late[1]).shape[2] == 4
    one.dataset(0, Modality="SR", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.67").save_as(tmp_path / "dose.dcm", enforce_file_format=True)
    with pytest.raises(InputError, match=r"dose\.dcm: is no slice of an image"):
        read_volume(tmp_path / "dose.dcm")


def test_a_slice_whose_modality_was_anonymized_away_has_that_of_its_class(tmp_path: Path) -> None:
    series(tmp_path, 1, 4, Modality="")
    assert intake.read_ct(tmp_path).shape[2] == 4


@pytest.mark.parametrize("tag", ["AcquisitionNumber", "TemporalPositionIdentifier", "ConvolutionKernel"])
def test_phases_in_one_series_are_parted_and_can_be_named(tmp_path: Path, tag: str) -> None:
    one = Phantom((12, 10, 5))
    one.write(tmp_path, lambda _: {tag: "1"})
    Phantom((12, 10, 4), tags=one.tags).write(tmp_path, lambda _: {tag: "2", "SeriesDescription": "late"})
    uid = one.tags["SeriesInstanceUID"]
    assert read_dicom_folder(tmp_path).shape[2] == 5
    assert read_dicom_folder(tmp_path, series=uid).shape[2] == 5
    assert read_dicom_folder(tmp_path, series=f"{uid}@2").shape[2] == 4
    assert [report.key[-2:] for report in inspect_dicom_folder(tmp_path)] == ["@1", "@2"]


def test_a_scout_in_the_series_of_the_slices_is_left_aside(tmp_path: Path) -> None:
    made = series(tmp_path, 1, 5)
    scout = made.dataset(0, ImageOrientationPatient=[1, 0, 0, 0, 0, -1])
    scout.save_as(tmp_path / "scout.dcm", enforce_file_format=True)
    assert read_dicom_folder(tmp_path).shape == made.shape


def test_the_best_series_is_refused_rather_than_replaced_when_it_is_broken(tmp_path: Path) -> None:
    thin = series(tmp_path / "thin", 1, 9)
    series(tmp_path / "thick", 2, 4)
    gone = next(p for p in (tmp_path / "thin").iterdir() if pydicom.dcmread(p).ImagePositionPatient[2] == thin.position(4)[2])
    gone.unlink()
    with pytest.raises(InputError, match=r"number 1.*1 slices are missing, at 310 mm") as caught:
        read_dicom_folder(tmp_path)
    assert "Or choose another with --series: 'portal venous' (number 2" in caught.value.remedy
    assert chosen(tmp_path, series="2") == "2"


def test_a_damaged_file_beside_the_slices_stops_and_one_elsewhere_does_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    series(tmp_path / "good", 1)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "torn.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\x02\0\x10\0UI\x40\0")
    assert read_dicom_folder(tmp_path).shape[2] == 4
    assert "torn.dcm" in caplog.text
    shutil.move(tmp_path / "other" / "torn.dcm", tmp_path / "good")
    with pytest.raises(InputError, match=r"torn\.dcm"):
        read_dicom_folder(tmp_path)


@pytest.mark.parametrize("implicit", [False, True])
def test_files_without_the_mark_of_dicom_or_an_ending_are_read(tmp_path: Path, implicit: bool) -> None:
    made = series(tmp_path / "ct", 1)
    expected = read_dicom_folder(tmp_path / "ct")
    bare = tmp_path / "bare"
    bare.mkdir()
    for z in range(made.shape[2]):
        data = pydicom.dataset.Dataset(made.dataset(z))
        data.save_as(bare / f"IM{z}", implicit_vr=implicit, little_endian=True)
    assert (bare / "IM0").read_bytes()[:2] == b"\x08\0"
    found = read_dicom_folder(bare)
    np.testing.assert_array_equal(found.array, expected.array)
    named = tmp_path / "ct" / "IM"
    next((tmp_path / "ct").glob("*.dcm")).rename(named)
    assert read_volume(named).shape == made.shape


def test_what_was_read_is_recorded_in_the_case_without_names_of_people(tmp_path: Path) -> None:
    from AtlasSegmentLib.case_folder import CaseFolder
    from AtlasSegmentLib.dicom_record import NAME, read_origin, recorded_slices

    made = series(tmp_path / "study" / "a", 1, 6)
    series(tmp_path / "study" / "b", 2, 4)
    case = CaseFolder(tmp_path / "set" / "scan")
    intake.store(case, (tmp_path / "study", ct := intake.read_ct(tmp_path / "study")))
    origin = read_origin(case.folder)
    assert origin == getattr(ct, "origin", None)
    assert origin is not None
    assert origin.series_uid == made.tags["SeriesInstanceUID"]
    assert len(origin.others) == 1
    places = [float(pydicom.dcmread(path).ImagePositionPatient[2]) for path in recorded_slices(case.folder)]
    assert places == sorted(places)
    assert len(places) == 6
    assert "Ada" not in (case.folder / NAME).read_text()
    shutil.rmtree(tmp_path / "study")
    assert recorded_slices(case.folder) == []
    (case.folder / NAME).write_text("{}")
    with pytest.raises(InputError, match="no record of a DICOM series"):
        read_origin(case.folder)


def test_info_lists_the_series_of_a_study_the_chosen_one_first(tmp_path: Path) -> None:
    from AtlasSegmentLib.commands import info_command

    app = typer.Typer()
    app.command()(info_command)
    study = with_junk(tmp_path / "study")
    series(study / "a", 1, 3)
    series(study / "b", 2, 6)
    for path in (study, study / "DICOMDIR"):
        done = CliRunner().invoke(app, [str(path), "--json"], catch_exceptions=False)
        first, second = json.loads(done.stdout)["items"]
        assert (first["number"], first["by rule"], first["shape"][2]) == (2, "chosen", 6)
        assert (second["number"], second["by rule"]) == (1, "not chosen")
        assert "1 DICOMDIR" in first["left out"]
