"""The review panel in a team: handing over, sending back, reopening with a reason, looking only, taking only some tasks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from AtlasQualityLib.checks_finding import Finding
from AtlasReviewLib.review_policy import ReviewPolicy, write_policy
from AtlasReviewLib.revisions import history
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_findings import apply_findings
from AtlasReviewLib.worklist_merge import open_worklist
from AtlasSegmentLib.case_folder import CaseFolder
from review_data import make_dataset
from review_desk import Desk

pytestmark = pytest.mark.usefixtures("slicer_app")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "hospital")


@pytest.fixture
def desk(open_module: Callable[[str], Any], wait_until: Callable[..., None]) -> Desk:
    return Desk(open_module("AtlasReview"), wait_until)


def errors(answers: Any) -> list[str]:
    return [text for kind, text in answers.shown if kind == "error"]


def comments(dataset: Path, kind: str) -> list[str]:
    return [event.comment for event in Worklist(dataset).events("first", "liver") if event.kind == kind]


# Handing over


def test_a_task_is_handed_to_a_reader_who_is_chosen_among_those_that_are_known(desk: Desk, dataset: Path, answers: Any) -> None:
    (dataset / "readers.json").write_text(json.dumps({"Zoe": 1, "Ada": 1}), encoding="utf-8")
    desk.open(dataset)
    Worklist(dataset).take("first", "spleen", "Bob")
    desk.take_next()
    assert desk.panel.team.readers() == ["Bob", "Zoe"]
    desk.ui.commentEdit.setText("the dome is yours")
    answers.item("Zoe")
    desk.click(desk.ui.handOverButton)
    task = Worklist(dataset).task("first", "liver")
    assert (task.state, task.assignee, task.reader) == ("waiting", "Zoe", "")
    assert comments(dataset, "hand over") == ["to Zoe: the dome is yours"]
    assert desk.name == "first kidney_left taken"
    assert "liver of first waits for Zoe now." in desk.status
    assert "Handed to Zoe" in desk.ui.taskTable.item(0, 0).toolTip()
    assert desk.ui.commentEdit.text == ""


def test_a_cancelled_hand_over_changes_nothing(desk: Desk, dataset: Path, answers: Any) -> None:
    desk.open(dataset)
    desk.take_next()
    answers.item(None)
    desk.click(desk.ui.handOverButton)
    assert desk.name == "first liver taken"
    answers.item("../Zoe")
    desk.ui.handOverButton.click()
    assert "cannot be used as a file name" in errors(answers)[0]
    assert desk.name == "first liver taken"
    assert desk.ui.saveButton.enabled


def test_edits_are_saved_before_a_hand_over_when_the_reader_wants_that(desk: Desk, dataset: Path, answers: Any) -> None:
    desk.open(dataset)
    desk.take_next()
    desk.stroke()
    answers.item("Bob")
    answers.yes()
    desk.click(desk.ui.handOverButton)
    assert len(history(CaseFolder(dataset / "first"), "liver")) == 1
    assert Worklist(dataset).task("first", "liver").assignee == "Bob"


def test_what_was_handed_to_another_reader_is_for_looking_and_passed_over(desk: Desk, dataset: Path) -> None:
    desk.open(dataset)
    other = Worklist(dataset)
    other.hand_over(other.take("first", "liver", "Bob"), "Bob", "Zoe")
    desk.panel.refresh()
    desk.click(desk.ui.nextUnfinishedButton)
    assert desk.name == "first kidney_left taken"
    desk.go_to("first", "liver")
    assert "This task waits for Zoe: looking only." in desk.notice
    assert not desk.ui.saveButton.enabled


# Looking only


def test_a_task_of_another_reader_says_who_has_it_since_when(desk: Desk, dataset: Path) -> None:
    desk.open(dataset)
    Worklist(dataset).take("first", "liver", "Bob")
    assert desk.ui.lookingFrame.isHidden()
    desk.go_to("first", "liver")
    assert not desk.ui.lookingFrame.isHidden()
    assert desk.ui.lookingLabel.text.startswith("Bob has this task (taken) since 20")
    assert desk.ui.lookingLabel.text.endswith(": looking only.")
    shown = [button for button in (desk.ui.takeOverButton, desk.ui.reopenButton, desk.ui.putBackButton) if not button.isHidden()]
    assert shown == [desk.ui.takeOverButton]
    desk.go_to("first", "spleen")
    assert desk.ui.lookingFrame.isHidden()


# Opening again


def finish_first(desk: Desk, dataset: Path) -> None:
    """Accept the first task and look at it."""
    desk.open(dataset)
    desk.take_next()
    desk.click(desk.ui.acceptButton)
    desk.show("all")
    desk.go_to("first", "liver")
    assert desk.name == "first liver accepted"


def test_reopening_asks_for_a_reason(desk: Desk, dataset: Path, answers: Any) -> None:
    finish_first(desk, dataset)
    answers.text("  ")
    desk.click(desk.ui.reopenButton)
    assert desk.name == "first liver accepted"
    answers.text("the dome is cut off")
    desk.click(desk.ui.reopenButton)
    assert desk.name == "first liver taken"
    assert comments(dataset, "reopen") == ["the dome is cut off"]


@pytest.mark.parametrize("state", ["flagged", "skipped"])
@pytest.mark.parametrize("again", [False, True], ids=["open", "opened again"])
def test_a_task_that_was_put_aside_is_put_back_for_anybody(desk: Desk, dataset: Path, answers: Any, state: str, again: bool) -> None:
    desk.open(dataset)
    desk.ui.goOnCheckBox.setChecked(False)
    desk.take_next()
    assert desk.ui.putBackButton.isHidden()
    desk.click(desk.ui.flagButton if state == "flagged" else desk.ui.skipButton)
    assert desk.name == f"first liver {state}"
    if again:  # which takes it
        desk.show("all")
        desk.go_to("first", "liver")
        assert desk.name == "first liver taken"
    assert not desk.ui.putBackButton.isHidden()
    answers.text("the question was answered")
    answers.item("(anybody)")
    desk.click(desk.ui.putBackButton)
    task = Worklist(dataset).task("first", "liver")
    assert (task.state, task.assignee, task.session, task.lease_until) == ("waiting", "", "", "")
    assert comments(dataset, "revisit") == ["the question was answered"]
    assert desk.name == ""


def test_a_task_that_was_put_aside_and_revised_since_is_not_put_back(desk: Desk, dataset: Path) -> None:
    desk.open(dataset)
    desk.ui.goOnCheckBox.setChecked(False)
    desk.take_next()
    desk.click(desk.ui.flagButton)
    desk.show("all")
    desk.go_to("first", "liver")
    desk.stroke()
    desk.click(desk.ui.saveButton)
    assert desk.name == "first liver revised"
    assert desk.ui.putBackButton.isHidden()


@pytest.mark.parametrize(("chosen", "assignee"), [("(anybody)", ""), ("Bob", "Bob")])
def test_a_finished_task_is_put_back_on_the_list_with_a_reason(desk: Desk, dataset: Path, answers: Any, chosen: str, assignee: str) -> None:
    finish_first(desk, dataset)
    answers.text("wrong phase")
    answers.item(chosen)
    desk.click(desk.ui.putBackButton)
    task = Worklist(dataset).task("first", "liver")
    assert (task.state, task.assignee) == ("waiting", assignee)
    assert comments(dataset, "revisit") == ["wrong phase"]
    assert desk.name == ""
    assert desk.rows[0][3] == "waiting"
    assert "liver of first is on the list again." in desk.status


# Two levels


@pytest.fixture
def verified(dataset: Path) -> Path:
    """A dataset whose readers' work Ada verifies; Ben did the first task."""
    (dataset / "readers.json").write_text(json.dumps({"Ada": "senior", "Ben": "junior"}), encoding="utf-8")
    write_policy(dataset, ReviewPolicy(verify=True))
    return dataset


def ben_accepts(desk: Desk, dataset: Path) -> None:
    """Let Ben accept the first task."""
    desk.open(dataset, "Ben")
    desk.take_next()
    desk.stroke()
    desk.click(desk.ui.acceptButton)


def test_what_a_junior_accepts_waits_for_a_senior_and_the_junior_goes_on(desk: Desk, verified: Path) -> None:
    ben_accepts(desk, verified)
    assert desk.name == "first kidney_left taken"
    desk.show("all")
    assert not desk.ui.taskTable.isColumnHidden(5)
    assert desk.rows[0] == ("1", "first", "liver", "to verify", "")
    assert desk.ui.taskTable.item(0, 5).text() == "2"
    assert desk.ui.onlyLevelCombo.isHidden()
    desk.click(desk.ui.previousUnfinishedButton)
    assert desk.name == "first kidney_left taken"  # to verify it is not for them


def test_a_senior_sees_what_is_to_verify_and_sends_it_back_with_a_comment(desk: Desk, verified: Path, answers: Any) -> None:
    ben_accepts(desk, verified)
    desk.open(verified, "Ada")
    assert not desk.ui.onlyLevelCombo.isHidden()
    desk.take_next()
    assert desk.name == "first liver taken"
    assert desk.ui.taskLabel.text.startswith("first: liver, being verified, level 2, read by Ben")
    assert not desk.ui.sendBackButton.isHidden()
    answers.text(None)
    desk.click(desk.ui.sendBackButton)
    assert desk.name == "first liver taken"
    answers.text("the dome is cut off")
    desk.click(desk.ui.sendBackButton)
    task = Worklist(verified).task("first", "liver")
    assert (task.state, task.assignee, task.comment) == ("waiting", "Ben", "the dome is cut off")
    assert "liver of first went back to Ben." in desk.status
    assert desk.name == "first kidney_left taken"
    assert desk.ui.sendBackButton.isHidden()


def test_a_senior_accepts_what_a_junior_did(desk: Desk, verified: Path) -> None:
    ben_accepts(desk, verified)
    desk.open(verified, "Ada")
    desk.ui.onlyLevelCombo.setCurrentIndex(2)
    desk.take_next()
    assert desk.name == "first liver taken"
    desk.click(desk.ui.acceptButton)
    task = Worklist(verified).task("first", "liver")
    assert (task.state, task.stage, task.author) == ("accepted", "verified", "Ben")
    desk.show("accepted")
    assert desk.rows[0][3] == "verified"
    desk.take_next()
    assert "Nothing is left for you." in desk.status
    assert "Take only: verify." in desk.status


def test_readings_of_two_readers_are_compared_as_soon_as_both_are_done(desk: Desk, dataset: Path) -> None:
    (dataset / "readers.json").write_text(json.dumps({"Ada": "junior", "Ben": "junior"}), encoding="utf-8")
    write_policy(dataset, ReviewPolicy(double_share=1.0))
    for reader in ("Ada", "Ben"):
        desk.open(dataset, reader)
        assert [row[1:] for row in desk.rows].count(("first", "liver", "waiting", "")) >= 1
        assert not any(row[4] for row in desk.rows), "the name of another reader is shown"
        desk.take_next()
        assert desk.name == "first liver taken"
        desk.stroke()
        desk.click(desk.ui.acceptButton)
        assert desk.name == "first kidney_left taken"
    desk.wait(lambda: not desk.panel.sync.running)
    (measured,) = (one["measured"] for one, _two in Worklist(dataset).pairs("first") if one["organ"] == "liver")
    assert json.loads(measured)["agree"] is True


def test_what_another_reader_draws_blind_is_not_shown(desk: Desk, dataset: Path, answers: Any) -> None:
    write_policy(dataset, ReviewPolicy(double_share=1.0))
    desk.open(dataset, "Ada")
    desk.take_next()
    desk.click(desk.ui.acceptButton)
    desk.open(dataset, "Ben")
    desk.show("taken")
    assert [row[1:] for row in desk.rows] == [("first", "liver", "taken", "")]
    desk.go_to("first", "liver")
    assert "blind to each other" in errors(answers)[0]
    assert desk.name == ""
    assert desk.panel.task.nodes is None


# Taking only some


def test_only_some_organs_and_cases_are_taken(desk: Desk, dataset: Path) -> None:
    desk.open(dataset)
    desk.ui.onlyOrgansEdit.setText("Spleen, kidney left")
    desk.ui.onlyCasesEdit.setText("sec*, zlast")
    assert desk.ui.takeNextButton.toolTip.endswith("Only: spleen, kidney_left; 2 cases")
    desk.take_next()
    assert desk.name == "second spleen taken"
    seen = []
    for _ in range(3):
        seen.append(desk.name)
        desk.click(desk.ui.acceptButton)  # going on keeps to them too
    assert seen == ["second spleen taken", "second kidney_left taken", "zlast spleen taken"]
    assert "Nothing is left for you." in desk.status
    assert "Take only: spleen, kidney_left; 2 cases." in desk.status


def test_a_name_that_no_task_has_is_said_and_nothing_can_be_taken(desk: Desk, dataset: Path) -> None:
    desk.open(dataset)
    desk.ui.onlyOrgansEdit.setText("spleeen")
    assert not desk.ui.takeNextButton.enabled
    assert desk.ui.takeNextButton.toolTip == "No task has the organ spleeen. Is it spleen?"
    desk.ui.onlyOrgansEdit.setText("")
    assert desk.ui.takeNextButton.enabled


def test_what_the_checks_found_is_the_reason_to_look(desk: Desk, dataset: Path) -> None:
    open_worklist(dataset)[0].close()
    message = "the spleen lies on the right"
    apply_findings(Worklist(dataset), [Finding("hospital", "second", "spleen", "side", "error", message, "Look.")])
    desk.open(dataset)
    desk.take_next()
    assert desk.name == "second spleen taken"
    assert desk.ui.taskLabel.text.splitlines()[1].endswith(message)
    assert message in desk.ui.taskTable.item(0, 0).toolTip()


# Small things


def test_every_button_that_cannot_be_pressed_says_why(desk: Desk, dataset: Path) -> None:
    names = ("save", "accept", "reject", "flag", "skip", "handOver", "takeNext", "openTask", "addOrgan", "next", "previous")
    names += ("nextUnfinished", "previousUnfinished", "overlay", "mask", "nextSpot", "previousSpot")
    buttons = {name: getattr(desk.ui, f"{name}Button") for name in names}
    closed = {name: button.toolTip for name, button in buttons.items()}
    assert not any(button.enabled for button in buttons.values())
    reasons = {"Open a task first.", "Open a dataset folder first.", "Select a task in the list first."}
    assert {*closed.values()} == reasons
    desk.open(dataset)
    desk.take_next()
    assert all(button.enabled for button in buttons.values())
    assert reasons.isdisjoint({button.toolTip for button in buttons.values()})
    desk.go_to("zlast", "liver")
    assert desk.ui.overlayButton.toolTip == "No attention map of this organ is shown."
    assert desk.ui.nextSpotButton.toolTip == "No hot spot is known for this organ."


def test_a_cancelled_dialog_adds_no_organ(desk: Desk, dataset: Path, answers: Any) -> None:
    desk.open(dataset)
    desk.ui.taskTable.setCurrentCell(0, 0)
    answers.item(None)
    desk.click(desk.ui.addOrganButton)
    assert desk.name == ""
    assert len(Worklist(dataset).tasks()) == 8


def test_edits_that_were_left_a_moment_ago_are_in_the_editor_again_and_not_offered(desk: Desk, dataset: Path) -> None:
    desk.open(dataset)
    desk.take_next()
    before = desk.voxels()
    desk.stroke()
    edited = desk.voxels()
    desk.click(desk.ui.nextButton)
    desk.click(desk.ui.previousButton)
    assert desk.name == "first liver taken"
    assert desk.voxels() == edited
    assert desk.ui.bannerFrame.isHidden()
    assert "The unsaved edits are in the editor." in desk.status
    desk.ui.segmentEditor.undo()
    assert desk.voxels() == before
