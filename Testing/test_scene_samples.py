"""Sample CTs in Slicer's module Sample Data and behind the button Sample."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from AtlasSegmentLib.nifti import read_nifti
from segment_panel import SegmentPanelUser, open_panel


@pytest.fixture
def user(
    open_module: Callable[[str], Any], wait_until: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> SegmentPanelUser:
    return open_panel(open_module, wait_until, tmp_path, monkeypatch)


@pytest.fixture
def samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep samples in a folder of the test, and draw the phantom coarsely."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setattr("AtlasSegmentLib.sample_data.PHANTOM_SPACING", 8.0)
    return tmp_path


def registered() -> dict[str, Any]:
    import SampleData

    return {source.sampleName: source for source in SampleData.SampleDataLogic.sampleDataSourcesByCategory("Atlas")}


def test_the_samples_are_registered_once_when_slicer_has_started_with_checksum_and_picture(open_module: Callable[[str], Any]) -> None:
    from AtlasSegmentLib.sample_data import SHA256
    from AtlasSegmentLib.scene_samples import register_samples

    open_module("AtlasSegment")
    found = registered()
    assert list(found) == ["AtlasCTLiver", "AtlasPhantom"]
    assert found["AtlasCTLiver"].checksums == f"SHA256:{SHA256}"
    assert found["AtlasCTLiver"].uris.endswith(f"/SHA256/{SHA256}")
    assert Path(found["AtlasPhantom"].thumbnailFileName).is_file()
    register_samples(Path(found["AtlasPhantom"].thumbnailFileName).parent)
    assert list(registered()) == ["AtlasCTLiver", "AtlasPhantom"]


def test_the_phantom_is_drawn_when_its_button_in_sample_data_is_pressed(open_module: Callable[[str], Any], samples: Path) -> None:
    from AtlasSegmentLib.scene import volume_from_node

    open_module("AtlasSegment")
    source = registered()["AtlasPhantom"]
    node = source.customDownloader(source)
    drawn = read_nifti(next(samples.rglob("phantom_*/ct.nii.gz")))
    shown = volume_from_node(node)
    np.testing.assert_array_equal(shown.array, drawn.array)
    np.testing.assert_allclose(shown.affine, drawn.affine, atol=1e-9)
    assert source.customDownloader(source).GetName() != node.GetName()


def test_the_button_sample_offers_both_and_nothing_happens_when_none_is_taken(user: SegmentPanelUser, answers: Any, samples: Path) -> None:
    answers.menu(None)
    user.ui.sampleButton.click()
    assert user.parameters.ct is None
    answers.menu("Phantom, drawn here")
    user.ui.sampleButton.click()
    assert user.parameters.ct.GetName() == "AtlasPhantom"
    assert any(samples.rglob("phantom_*/ct.nii.gz"))


def test_a_phantom_that_cannot_be_stored_is_told(
    user: SegmentPanelUser, answers: Any, samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (samples / "file").write_text("")
    monkeypatch.setenv("HOME", str(samples / "file"))
    answers.menu("Phantom, drawn here")
    user.ui.sampleButton.click()
    assert answers.shown[-1][0] == "error"
    assert user.parameters.ct is None
