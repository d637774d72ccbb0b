"""Atlas Segment on a fresh machine: the starter models are there and checked, and Apply works."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atlas_phantoms import make_model, softmax_network
from segment_panel import SegmentPanelUser, open_panel

STARTERS = ["starter-a", "starter-b", "starter-c"]
pytestmark = pytest.mark.starter_models


@pytest.fixture
def user(
    open_module: Callable[[str], Any], wait_until: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> SegmentPanelUser:
    return open_panel(open_module, wait_until, tmp_path, monkeypatch)


def checked(user: SegmentPanelUser) -> list[str]:
    return [Path(path).name for path in user.panel.models.checked]


def test_a_sample_and_apply_give_organs_without_any_other_choice(
    user: SegmentPanelUser, answers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from AtlasSegmentLib.scene_segmentation import value_of_segment

    monkeypatch.setattr("AtlasSegmentLib.sample_data.PHANTOM_SPACING", 4.0)
    answers.menu("Phantom, drawn here")
    user.ui.sampleButton.click()
    assert (checked(user), user.reason()) == (STARTERS, "")
    nodes = user.run()
    assert [node.GetName() for node in nodes] == ["AtlasPhantom average", *(f"AtlasPhantom {name}" for name in STARTERS)]
    assert value_of_segment(nodes[0], "liver") > 0


def test_what_they_are_for_is_said_before_apply_as_long_as_one_is_checked(user: SegmentPanelUser) -> None:
    user.check("starter-b", False)
    assert "starter-a, starter-c: Demonstration only, not for clinical use." in user.ui.modelDescriptionLabel.text
    for name in ("starter-a", "starter-c"):
        user.check(name, False)
    assert "clinical" not in user.ui.modelDescriptionLabel.text


def test_they_are_not_the_users_own_and_cannot_be_removed(user: SegmentPanelUser) -> None:
    tree = user.ui.modelTree
    tree.setCurrentItem(tree.topLevelItem(0))
    assert not user.ui.removeModelButton.enabled
    assert "not for clinical use" in user.ui.modelDescriptionLabel.text


def test_what_was_unchecked_stays_unchecked_until_the_next_scene(user: SegmentPanelUser) -> None:
    import slicer

    user.check("starter-b", False)
    user.widget.exit()
    user.widget.enter()
    assert checked(user) == ["starter-a", "starter-c"]
    slicer.mrmlScene.Clear(0)
    assert checked(user) == STARTERS


def test_who_has_models_of_their_own_chooses_among_them(user: SegmentPanelUser) -> None:
    import slicer

    make_model(user.folder / "own", "own", softmax_network(softness=1.0))
    user.add_folder(user.folder / "own")
    slicer.mrmlScene.Clear(0)
    assert checked(user) == []
