"""An image finds its case again, and never becomes mixed up with another one of the same name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas_phantoms import ct, make_case
from AtlasSegmentLib.case_choice import case_name, choose_case
from AtlasSegmentLib.errors import DatasetError
from AtlasSegmentLib.names import safe_name


@given(name=st.text(max_size=300))
def test_any_name_becomes_one_that_is_safe(name: str) -> None:
    assert safe_name(case_name(name), "case name")
    assert case_name(case_name(name)) == case_name(name)


@pytest.mark.parametrize(
    ("name", "safe"), [("CTLiver", "CTLiver"), ("5: Abd/Pel  1.0", "5_ Abd_Pel 1.0"), ("..", "CT"), (" ", "CT"), ("Müller 脾", "Müller 脾")]
)
def test_names_stay_as_they_are_where_they_can(name: str, safe: str) -> None:
    assert case_name(name) == safe


def test_a_free_name_is_taken_and_nothing_is_made(tmp_path: Path) -> None:
    case = choose_case(tmp_path, "CT", ct())
    assert case.folder == tmp_path.resolve() / "CT"
    assert list(tmp_path.iterdir()) == []


def test_the_same_image_gets_its_case_again_also_after_others_of_its_name(tmp_path: Path) -> None:
    first, second = ct(), replace(ct(), array=ct().array + np.int16(1))
    make_case(tmp_path / "CT", first)
    assert choose_case(tmp_path, "CT", first).name == "CT"
    assert choose_case(tmp_path, "CT", second).name == "CT 2"
    make_case(tmp_path / "CT 2", second)
    assert choose_case(tmp_path, "CT", second).name == "CT 2"
    assert choose_case(tmp_path, "CT", first).name == "CT"


def test_the_same_voxels_at_another_place_are_another_image(tmp_path: Path) -> None:
    make_case(tmp_path / "CT", ct())
    moved = ct().affine.copy()
    moved[0, 3] += 1
    assert choose_case(tmp_path, "CT", replace(ct(), affine=moved)).name == "CT 2"


def test_a_damaged_case_and_one_without_its_ct_are_left_alone(tmp_path: Path) -> None:
    make_case(tmp_path / "CT", ct()).ct.write_bytes(b"damaged")
    (tmp_path / "CT 2" / "backbones" / "model").mkdir(parents=True)
    assert choose_case(tmp_path, "CT", ct()).name == "CT 3"


def test_a_case_whose_run_was_stopped_before_its_ct_was_there_is_used(tmp_path: Path) -> None:
    (tmp_path / "CT").mkdir()
    assert choose_case(tmp_path, "CT", ct()).name == "CT"


def test_a_case_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "CT").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(DatasetError):
        choose_case(tmp_path / "data", "CT", ct())
