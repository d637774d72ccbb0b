"""Where to look in a task: the hot spots of the panel and the worst slice in words, from the same stored maps."""

from __future__ import annotations

from pathlib import Path

import pytest

from AtlasReviewLib.review_case import load_review_case
from AtlasReviewLib.where_to_look import where_to_look
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import InputError
from review_data import make_review_case, scores


@pytest.mark.parametrize("orientation", ["RAS", "LPS"])
def test_panel_and_command_line_name_the_same_places(tmp_path: Path, orientation: str) -> None:
    case = make_review_case(tmp_path / "case", attention=scores(liver=1.0), orientation=orientation)
    found, shown = where_to_look(case, "liver", 20), load_review_case(case.folder, "liver")
    assert found.spots == shown.hot_spots
    lines = found.lines()
    assert len(lines) == len(shown.hot_spots) + 1
    assert lines[0] == "hot spot 1: left of the organ, 4.57 ml, at L 9 A 72 I 45 mm"
    assert lines[-1] == "worst axial slice: I 50 mm, 1.1 cm2"


def test_only_so_many_hot_spots_as_are_wanted(tmp_path: Path) -> None:
    case = make_review_case(tmp_path / "case", attention=scores(liver=1.0))
    assert len(where_to_look(case, "liver", 1).lines()) == 2


def test_a_task_without_attention_has_nothing_to_say(tmp_path: Path) -> None:
    case = make_review_case(tmp_path / "case")
    assert where_to_look(case, "liver").lines() == []
    assert where_to_look(CaseFolder(tmp_path / "none"), "liver").lines() == []


def test_a_damaged_map_is_said(tmp_path: Path) -> None:
    case = make_review_case(tmp_path / "case", attention=scores(liver=1.0))
    path = case.average.map("attention", "liver")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError):
        where_to_look(case, "liver")
