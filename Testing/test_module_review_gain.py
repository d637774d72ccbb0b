"""The review panel's order by expected gain per minute, and its stop rule: visible choices that are kept, and nothing is ever blocked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from AtlasReviewLib.worklist import Worklist
from review_data import make_review_case, scores, write_scores
from review_desk import Desk

pytestmark = pytest.mark.usefixtures("slicer_app")
EASY, HARD = "kidney_left", "liver"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Return a dataset whose list begins with the liver, while a minute removes most error in the left kidney."""
    folder = tmp_path / "hospital"
    for name in ("one", "two"):
        found = scores(liver=4000.0, spleen=900.0, kidney_left=1000.0)
        found[HARD]["minutes_to_correct"], found[EASY]["minutes_to_correct"], found["spleen"]["minutes_to_correct"] = 20.0, 1.0, 10.0
        case = make_review_case(folder / name, attention=found)
        write_scores(case, found)
    return folder


@pytest.fixture
def desk(open_module: Callable[[str], Any], wait_until: Callable[..., None], dataset: Path) -> Iterator[Desk]:
    desk = Desk(open_module("AtlasReview"), wait_until)
    desk.open(dataset)
    yield desk
    import slicer

    for key in ("AtlasReview/order", "AtlasReview/stopBoundMl"):
        slicer.app.userSettings().remove(key)


def by_gain(desk: Desk) -> None:
    desk.ui.orderCombo.setCurrentIndex(1)


def organs(desk: Desk) -> list[str]:
    return [row[2] for row in desk.rows]


def test_the_list_is_in_its_own_order_until_the_reader_chooses(desk: Desk) -> None:
    first = organs(desk)
    assert first[0] == HARD
    by_gain(desk)
    assert organs(desk) == [EASY, EASY, HARD, HARD, "spleen", "spleen"]
    desk.ui.orderCombo.setCurrentIndex(0)
    assert organs(desk) == first


def test_take_next_follows_the_chosen_order(desk: Desk) -> None:
    desk.take_next()
    assert desk.panel.task.task.organ == HARD
    by_gain(desk)
    desk.take_next()
    assert desk.panel.task.task.organ == EASY
    desk.take_next()
    assert desk.panel.task.task.organ == EASY
    desk.take_next()
    assert desk.panel.task.task.organ == EASY  # the first one again: it went back, and none has more gain


def test_a_task_that_another_reader_took_meanwhile_is_passed_over(desk: Desk, dataset: Path) -> None:
    by_gain(desk)
    other = Worklist(dataset)
    for case in ("one", "two"):
        other.set_state(other.take(case, EASY, "Bob"), "accepted", "Bob")
    desk.take_next()
    assert desk.panel.task.task.organ == HARD


def test_what_was_handed_to_the_reader_comes_first_in_either_order(desk: Desk, dataset: Path) -> None:
    by_gain(desk)
    other = Worklist(dataset)
    other.hand_over(other.take("two", "spleen", "Bob"), "Bob", "Ada")
    desk.panel.refresh()
    desk.take_next()
    assert desk.name.startswith("two spleen")


def test_the_note_says_whose_speed_it_is(desk: Desk, dataset: Path) -> None:
    by_gain(desk)
    assert "assumed speed" in desk.ui.orderNoteLabel.text
    worklist = Worklist(dataset)
    for number in range(12):
        made = make_review_case(dataset / f"done{number}", organs=("liver",), attention=scores(liver=100.0))
        assert made.ct.is_file()
    desk.open(dataset)
    for number in range(12):
        task = worklist.take(f"done{number}", "liver", "Ada")
        worklist.add_seconds(task, "Ada", 90.0 + number)
        worklist.set_state(task, "accepted", "Ada")
    desk.open(dataset)
    assert desk.ui.orderNoteLabel.text == "By your own speed, measured on 12 tasks."


def test_the_rest_that_is_expected_is_said_and_shrinks_with_every_decision(desk: Desk) -> None:
    assert desk.ui.stopLabel.text == "Expected error in what nobody has decided: 5.9 ml (100% of the 5.9 ml at the beginning)."
    assert not desk.ui.stopFrame.isHidden()
    desk.take_next()
    desk.click(desk.ui.acceptButton)
    assert "3.9 ml (66% of the 5.9 ml" in desk.ui.stopLabel.text


def test_the_bound_says_how_much_is_missing_and_when_it_is_enough_and_blocks_nothing(desk: Desk) -> None:
    desk.ui.stopBoundSpin.setValue(3.0)
    assert "2 more tasks, about 40 minutes bring it below 3 ml." in desk.ui.stopLabel.text
    desk.ui.stopBoundSpin.setValue(6.0)
    assert "That is below 6 ml: you can stop." in desk.ui.stopLabel.text
    assert desk.ui.takeNextButton.enabled
    desk.take_next()
    assert desk.ui.acceptButton.enabled
    desk.ui.stopBoundSpin.setValue(0.0)
    assert "stop" not in desk.ui.stopLabel.text


def test_order_and_bound_are_remembered_and_nonsense_in_the_settings_is_not_believed(desk: Desk, wait_until: Callable[..., None]) -> None:
    import slicer

    by_gain(desk)
    desk.ui.stopBoundSpin.setValue(2.5)
    slicer.util.reloadScriptedModule("AtlasReview")
    again = Desk(slicer.modules.atlasreview.widgetRepresentation().self(), wait_until)
    assert (again.panel.gain.chosen, again.panel.gain.bound) == ("gain", 2.5)
    slicer.app.userSettings().setValue("AtlasReview/stopBoundMl", "much")
    slicer.app.userSettings().setValue("AtlasReview/order", "sideways")
    slicer.util.reloadScriptedModule("AtlasReview")
    again = Desk(slicer.modules.atlasreview.widgetRepresentation().self(), wait_until)
    assert (again.panel.gain.chosen, again.panel.gain.bound) == ("list", None)


def test_tasks_without_a_known_error_come_last_and_are_told(desk: Desk, dataset: Path) -> None:
    make_review_case(dataset / "third", organs=("liver", "spleen"))
    desk.open(dataset)
    by_gain(desk)
    assert [row[1] for row in desk.rows][-2:] == ["third", "third"]
    assert "Of 2 tasks (liver, spleen)" in desk.ui.stopLabel.text


def test_without_a_dataset_nothing_is_said(open_module: Callable[[str], Any]) -> None:
    ui = open_module("AtlasReview").ui
    assert ui.stopLabel.isHidden()
    assert ui.orderNoteLabel.isHidden()
