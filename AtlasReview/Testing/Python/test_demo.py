"""The demonstration: which CT it takes, and the correction that it pretends a reader made."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from AtlasQualityLib.attention import AttentionOptions, attention_case
from AtlasQualityLib.average import average_case
from AtlasReviewLib import demo_correction
from AtlasReviewLib.case_masks import case_grid, read_mask
from AtlasReviewLib.demo_correction import READER, correct_worst
from AtlasReviewLib.program import build
from AtlasReviewLib.revisions import history
from AtlasSegmentLib import sample_data
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import ModelError
from AtlasSegmentLib.label_files import read_stated_labels
from AtlasSegmentLib.nifti import read_nifti
from AtlasSegmentLib.phantom_files import PhantomRequest, write_phantom
from AtlasSegmentLib.sample_data import CT_FILE, CT_TITLE, PHANTOM_TITLE, sample_ct

COARSE = 5.0


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory: pytest.TempPathFactory) -> CaseFolder:
    """Return a coarse phantom that two pretended networks labeled, with its average and attention."""
    request = PhantomRequest(tmp_path_factory.mktemp("demo"), 5, (COARSE, COARSE, COARSE), predictions=2)
    write_phantom(request)
    case = CaseFolder(request.dataset / request.name)
    average_case(case)
    attention_case(case, AttentionOptions(parts=True))
    return case


@pytest.fixture
def case(reviewed: CaseFolder, tmp_path: Path) -> CaseFolder:
    shutil.copytree(reviewed.folder, tmp_path / "data" / reviewed.name)
    return CaseFolder(tmp_path / "data" / reviewed.name)


def test_the_worst_place_gets_the_labels_of_the_reference_and_the_record_says_that_nobody_looked(case: CaseFolder) -> None:
    reference = read_stated_labels(case.folder / "reference_label.nii.gz", None, case_grid(case))
    done = correct_worst(case, reference)
    assert done is not None
    assert done.source == "the reference"
    assert done.after > done.before
    revised = read_mask(case.average.revised_mask(done.spot.organ), case_grid(case))
    assert int(np.count_nonzero(revised != read_mask(case.average.mask(done.spot.organ), case_grid(case)))) == done.voxels > 0
    (revision,) = history(case, done.spot.organ)
    assert revision.reader == READER == "simulated reader"
    assert "nobody looked" in revision.comment


def test_what_was_revised_is_not_corrected_again(case: CaseFolder) -> None:
    reference = read_stated_labels(case.folder / "reference_label.nii.gz", None, case_grid(case))
    first = correct_worst(case, reference)
    assert first is not None
    assert correct_worst(case, reference) is None
    assert len(history(case, first.spot.organ)) == 1


def test_without_a_reference_the_place_gets_the_labels_of_the_model_whose_mask_is_predicted_to_be_best(
    case: CaseFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = case.models()[1]
    monkeypatch.setattr(demo_correction, "_best_model", lambda c, o: (wanted, read_mask(c.backbone(wanted).mask(o), case_grid(c))))
    done = correct_worst(case)
    assert done is not None
    assert (done.source, np.isnan(done.before)) == (wanted, True)


def test_the_sample_is_a_phantom_where_the_store_cannot_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_data, "CT_FILE", replace(CT_FILE, url="https://127.0.0.1:9/none"))
    monkeypatch.setattr(sample_data, "PHANTOM_SPACING", COARSE)
    found = sample_ct(tmp_path)
    assert found.title == PHANTOM_TITLE
    assert found.reference is not None
    assert read_nifti(found.ct).shape == read_nifti(found.reference).shape
    stamp = found.ct.stat().st_mtime_ns
    assert sample_ct(tmp_path, "phantom").ct.stat().st_mtime_ns == stamp
    with pytest.raises(ModelError, match=r"127\.0\.0\.1"):
        sample_ct(tmp_path, "download")


def test_a_ct_that_was_downloaded_before_needs_no_network_and_a_wrong_file_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"NRRD0004"
    sha256 = hashlib.sha256(content).hexdigest()
    monkeypatch.setattr(sample_data, "CT_FILE", replace(CT_FILE, url="https://127.0.0.1:9/none", sha256=sha256))
    monkeypatch.setattr(sample_data, "PHANTOM_SPACING", COARSE)
    (tmp_path / CT_FILE.save_as).write_bytes(content)
    assert sample_ct(tmp_path) == sample_data.Sample(tmp_path / CT_FILE.save_as, CT_TITLE)
    (tmp_path / CT_FILE.save_as).write_bytes(content[:4])
    assert sample_ct(tmp_path).title == PHANTOM_TITLE


def test_the_demo_does_the_whole_job_without_arguments_and_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_data, "CT_FILE", replace(CT_FILE, url="https://127.0.0.1:9/none"))
    monkeypatch.setattr(sample_data, "PHANTOM_SPACING", COARSE)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke(build(), ["demo", "--json"])
    assert run.exit_code == 0, run.output
    told = json.loads(run.stdout)
    assert told["ct"] == PHANTOM_TITLE
    assert told["correction"]["source"] == "the reference"
    case = CaseFolder(Path(told["case"]))
    assert case.models() == ["starter-a", "starter-b", "starter-c"]
    assert {"liver", "lung", "vertebrae"} <= set(told["organs"])
    page = (tmp_path / "atlas-demo" / "report.html").read_text()
    assert "simulated reader" in page
    assert "A demonstration of the whole job. The CT is a phantom drawn from formulas" in page
    assert "One correction was simulated, nobody looked at it" in page
    assert "exact labels" in page
    assert Path(told["assembled"], "combined_labels.nii.gz").is_file()


def test_a_damaged_phantom_is_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_data, "PHANTOM_SPACING", 8.0)
    found = sample_ct(tmp_path, "phantom")
    whole = found.ct.read_bytes()
    for path in (found.ct, found.reference, found.ct.with_name("reference_label_labels.json")):
        assert path is not None
        path.write_bytes(path.read_bytes()[:100])
        assert sample_ct(tmp_path, "phantom") == found
        assert found.ct.read_bytes() == whole
