"""The two places that a NIfTI header gives: files whose sform and qform contradict one another are told, no others."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nibabel.eulerangles import euler2mat

from AtlasSegmentLib.nifti import read_nifti, write_nifti
from AtlasSegmentLib.volume import Volume

ONCE = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
SHAPE = (5, 7, 4)
angles = st.floats(-3.1, 3.1)
sizes = st.floats(0.3, 6.0)


def placed(turn: tuple[float, float, float], size: tuple[float, float, float], flips: tuple[int, int, int]) -> Any:
    """Return an affine, oblique and perhaps mirrored along any axis."""
    affine = np.eye(4)
    affine[:3, :3] = euler2mat(*turn) @ np.diag(np.multiply(size, flips))
    affine[:3, 3] = [-251.5, 133.25, 871.75]
    return affine


def saved(path: Path, sform: Any, qform: Any, unit: str = "mm") -> Path:
    image = nib.Nifti1Image(np.zeros(SHAPE, np.int16), sform)
    image.set_sform(sform, 1)
    image.set_qform(qform, 1)
    image.header.set_xyzt_units(unit)
    image.to_filename(path)
    return path


@ONCE
@given(
    turn=st.tuples(angles, angles, angles),
    size=st.tuples(sizes, sizes, sizes),
    flips=st.tuples(*[st.sampled_from([1, -1])] * 3),
    shear=st.floats(-0.5, 0.5),
)
def test_forms_that_agree_as_far_as_a_qform_can_are_not_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, turn: Any, size: Any, flips: Any, shear: float
) -> None:
    affine = placed(turn, size, flips)
    read_nifti(saved(tmp_path / "a.nii", affine, affine))
    sheared = affine @ np.array([[1, 0, 0, 0], [0, 1, shear, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    write_nifti(tmp_path / "b.nii.gz", Volume(np.zeros(SHAPE, np.int16), sheared))  # a tilted gantry
    np.testing.assert_allclose(read_nifti(tmp_path / "b.nii.gz").affine, sheared, atol=1e-3)
    assert caplog.text == ""


@ONCE
@given(turn=st.tuples(angles, angles, angles), size=st.tuples(sizes, sizes, sizes), axis=st.integers(0, 2), mirrored=st.booleans())
def test_forms_that_contradict_one_another_are_warned_of_and_the_sform_counts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, turn: Any, size: Any, axis: int, mirrored: bool
) -> None:
    caplog.clear()
    sform, qform = placed(turn, size, (1, 1, 1)), placed(turn, size, (1, 1, 1))
    if mirrored:
        qform[:3, axis] *= -1  # left for right is the worst of them
    else:
        qform[axis, 3] += max(size)
    with caplog.at_level(logging.WARNING):
        found = read_nifti(saved(tmp_path / "a.nii", sform, qform))
    np.testing.assert_allclose(found.affine, sform, atol=1e-3)
    assert "a.nii: sform and qform put it up to" in caplog.text


@pytest.mark.parametrize(("unit", "told"), [("mm", "up to 30 mm apart"), ("meter", "up to 3e+04 mm apart")])
def test_the_distance_is_told_in_mm(tmp_path: Path, caplog: pytest.LogCaptureFixture, unit: str, told: str) -> None:
    sform = np.diag([2.0, 2.0, 2.0, 1.0])
    qform = sform.copy()
    qform[2, 3] = 30
    read_nifti(saved(tmp_path / "a.nii", sform, qform, unit))
    assert told in caplog.text
