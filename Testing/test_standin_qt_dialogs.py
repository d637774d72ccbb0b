"""Dialogs are answered by the test; what nobody answers fails."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def qt(slicer_app: object) -> ModuleType:  # noqa: ARG001
    import qt

    return qt


@pytest.fixture
def util(slicer_app: object) -> ModuleType:  # noqa: ARG001
    import slicer.util

    return slicer.util


def test_slicer_questions_get_the_prepared_answers(util: ModuleType, answers: Any) -> None:
    answers.yes()
    answers.no()
    answers.button("Retry")
    assert util.confirmYesNoDisplay("Delete the case?")
    assert not util.confirmOkCancelDisplay("Install packages?")
    assert util.confirmRetryCloseDisplay("Disk is full.")
    assert answers.shown == [("question", "Delete the case?"), ("question", "Install packages?"), ("question", "Disk is full.")]


def test_messages_need_no_answer_and_are_kept(util: ModuleType, answers: Any) -> None:
    util.infoDisplay("done")
    util.warningDisplay("looks like MR")
    util.errorDisplay("no volume", detailedText="traceback")
    util.delayDisplay("a moment")
    assert answers.shown == [("info", "done"), ("warning", "looks like MR"), ("error", "no volume"), ("message", "a moment")]
    assert answers.details == ["traceback"]


def test_an_error_of_an_action_is_shown_and_raised(util: ModuleType, answers: Any) -> None:
    with pytest.raises(ValueError, match="no CT"), util.tryWithErrorDisplay("Segmentation failed."):
        raise ValueError("no CT")  # noqa: EM101
    assert answers.shown == [("error", "Segmentation failed.\n\nno CT")]


def test_an_unanswered_question_is_a_fault_that_names_it(util: ModuleType, answers: Any) -> None:
    from slicer_standin import faults
    from slicer_standin.answers import UnansweredDialogError

    with pytest.raises(UnansweredDialogError, match="Really delete"):
        util.confirmYesNoDisplay("Really delete?")
    assert "Really delete?" in faults.reported()[0]
    assert answers.shown == [("question", "Really delete?")]
    faults.clear()


def test_an_answer_for_another_kind_of_dialog_is_a_fault(util: ModuleType, answers: Any) -> None:
    from slicer_standin import faults
    from slicer_standin.answers import UnansweredDialogError

    answers.text("liver")
    with pytest.raises(UnansweredDialogError, match="next answer is for a text dialog"):
        util.confirmYesNoDisplay("Really?")
    faults.clear()


def test_a_button_that_the_box_does_not_have_is_a_fault(util: ModuleType, answers: Any) -> None:
    from slicer_standin import faults
    from slicer_standin.answers import UnansweredDialogError

    answers.button("Maybe")
    with pytest.raises(UnansweredDialogError, match="no button 'Maybe'"):
        util.confirmYesNoDisplay("Really?")
    faults.clear()


def test_answers_that_no_dialog_asked_for_are_known(answers: Any) -> None:
    answers.yes()
    assert len(answers.unused()) == 1
    answers.clear()
    assert answers.unused() == []


def test_own_buttons_of_a_message_box_are_chosen_by_their_text(qt: ModuleType, answers: Any) -> None:
    box = qt.QMessageBox()
    box.text, box.informativeText = "Unsaved edits", "They were found after a crash."
    restore = box.addButton("&Restore", qt.QMessageBox.AcceptRole)
    box.addButton("Discard", qt.QMessageBox.DestructiveRole)
    answers.button("Restore")
    box.exec_()
    assert box.clickedButton() is restore
    assert answers.shown == [("question", "Unsaved edits\nThey were found after a crash.")]


def test_static_message_boxes_return_the_button(qt: ModuleType, answers: Any) -> None:
    answers.no()
    assert qt.QMessageBox.question(None, "title", "Go on?") == qt.QMessageBox.No
    assert qt.QMessageBox.critical(None, "title", "Broken") == qt.QMessageBox.Ok
    assert answers.shown == [("question", "Go on?"), ("error", "Broken")]


def test_input_dialogs_return_plain_values(qt: ModuleType, answers: Any) -> None:
    answers.text("too small")
    answers.item("liver")
    answers.number(7)
    answers.number(None)
    assert qt.QInputDialog.getText(None, "Reject", "Comment:") == "too small"
    assert qt.QInputDialog.getItem(None, "Organ", "Organ:", ["spleen", "liver"], 0, False) == "liver"
    assert qt.QInputDialog.getInt(None, "Cases", "Cases:", 3) == 7
    assert qt.QInputDialog.getInt(None, "Cases", "Cases:", 3) == 3


def test_a_cancelled_text_is_empty_and_says_so(qt: ModuleType, answers: Any) -> None:
    accepted = qt.BoolResult()
    answers.text(None)
    answers.text("")
    assert qt.QInputDialog.getText(None, "Reject", "Comment:", qt.QLineEdit.Normal, "old", accepted) == ""
    assert not accepted
    assert qt.QInputDialog.getText(None, "Reject", "Comment:", qt.QLineEdit.Normal, "old", accepted) == ""
    assert accepted


def test_file_dialogs_return_plain_paths(qt: ModuleType, answers: Any, tmp_path: Path) -> None:
    ct = tmp_path / "ct.nii.gz"
    ct.touch()
    answers.folder(tmp_path)
    answers.file(ct)
    answers.files([ct])
    answers.save(tmp_path / "new.csv")
    answers.folder(None)
    assert qt.QFileDialog.getExistingDirectory(None, "Dataset folder") == str(tmp_path)
    assert qt.QFileDialog.getOpenFileName(None, "CT", "", "*.nii.gz") == str(ct)
    assert qt.QFileDialog.getOpenFileNames() == [str(ct)]
    assert qt.QFileDialog.getSaveFileName(None, "Table") == str(tmp_path / "new.csv")
    assert qt.QFileDialog.getExistingDirectory() == ""


def test_an_open_dialog_never_returns_a_missing_file(qt: ModuleType, answers: Any, tmp_path: Path) -> None:
    from slicer_standin import faults
    from slicer_standin.answers import UnansweredDialogError

    answers.file(tmp_path / "missing.nii.gz")
    with pytest.raises(UnansweredDialogError, match="does not exist"):
        qt.QFileDialog.getOpenFileName()
    faults.clear()


def test_a_dialog_of_the_panel_is_used_by_the_test(qt: ModuleType, answers: Any) -> None:
    dialog = qt.QDialog()
    dialog.windowTitle = "Add model"
    edit, layout = qt.QLineEdit(), qt.QVBoxLayout(dialog)
    layout.addWidget(edit)
    answers.dialog(lambda shown: setattr(shown.findChild(qt.QLineEdit), "text", "here"))
    assert dialog.exec_() == qt.QDialog.Accepted
    answers.dialog(lambda shown: shown.reject())
    assert dialog.exec_() == qt.QDialog.Rejected
    assert (edit.text, answers.shown) == ("here", [("dialog", "Add model")] * 2)


def test_a_menu_entry_is_chosen_by_its_text(qt: ModuleType, answers: Any) -> None:
    menu, got = qt.QMenu(), []
    menu.addAction("&Flag").connect("triggered()", lambda: got.append("flag"))
    menu.addAction("Skip")
    answers.menu("Flag")
    assert menu.exec_(qt.QCursor.pos()).text == "&Flag"
    assert got == ["flag"]


def test_addresses_are_recorded_and_not_opened(qt: ModuleType, answers: Any) -> None:
    assert qt.QDesktopServices.openUrl(qt.QUrl("https://example.org/help"))
    assert answers.opened == ["https://example.org/help"]


def test_a_progress_dialog_needs_no_answer(util: ModuleType) -> None:
    progress = util.createProgressDialog(labelText="Assembling", maximum=3, autoClose=False)
    progress.value = 2
    assert (progress.value, progress.labelText, progress.wasCanceled) == (2, "Assembling", False)
    progress.close()
    progress.delete()


def test_a_box_is_not_shown_again_when_the_user_said_so(util: ModuleType, qt: ModuleType, answers: Any) -> None:
    key = "AtlasAnnotator/DontShowAgain"
    qt.QSettings().setValue(key, int(qt.QMessageBox.Ok))
    assert util.messageBox("a tip", dontShowAgainSettingsKey=key, icon=qt.QMessageBox.Information) == qt.QMessageBox.Ok
    assert answers.shown == []
    qt.QSettings().remove(key)
