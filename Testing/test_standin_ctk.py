"""The stand-in's CTK widgets do what CTK's do, as far as our panels use them."""

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
def ctk(slicer_app: object) -> ModuleType:  # noqa: ARG001
    import ctk

    return ctk


def test_an_unknown_widget_raises(ctk: ModuleType) -> None:
    with pytest.raises(AttributeError, match="ctkFancyButton"):
        _ = ctk.ctkFancyButton


def test_every_widget_is_strict(ctk: ModuleType) -> None:
    for name in (name for name in vars(ctk) if name.startswith("ctk")):
        with pytest.raises(AttributeError, match="does not exist"):
            getattr(ctk, name)().anything = 1


def test_every_property_can_be_read_and_written_back(ctk: ModuleType) -> None:
    for name in (name for name in vars(ctk) if name.startswith("ctk")):
        widget = getattr(ctk, name)()
        meta = widget.metaObject()
        for prop in (meta.property(index) for index in range(meta.propertyOffset(), meta.propertyCount())):
            value = getattr(widget, prop.name())
            if prop.isWritable():
                setattr(widget, prop.name(), value)
            assert getattr(widget, prop.name()) == value, prop.name()


def test_every_widget_paints_itself_without_a_fault(ctk: ModuleType) -> None:
    from slicer_standin import faults

    for name in (name for name in vars(ctk) if name.startswith("ctk")):
        widget = getattr(ctk, name)()
        assert not widget.grab().isNull(), name
        if hasattr(widget, "collapsed"):
            widget.collapsed = not widget.collapsed
            widget.grab()
        faults.check()


def test_a_collapsed_section_hides_its_contents_and_its_state_is_a_property(ctk: ModuleType, qt: ModuleType) -> None:
    section, got = ctk.ctkCollapsibleButton("Inputs"), []
    layout = qt.QVBoxLayout(section)
    shown, hidden = qt.QLabel("shown"), qt.QLabel("hidden")
    for label in (shown, hidden):
        layout.addWidget(label)
    hidden.hide()
    section.show()
    height = section.sizeHint().height()
    section.connect("contentsCollapsed(bool)", got.append)
    section.collapsed = True
    assert (section.checked, shown.visible, got) == (False, False, [True])
    assert section.sizeHint().height() < height
    section.click()
    assert (section.collapsed, shown.visible, hidden.visible, got) == (False, True, False, [True, False])
    section.close()


def test_contents_added_to_a_collapsed_section_stay_hidden(ctk: ModuleType, qt: ModuleType) -> None:
    section = ctk.ctkCollapsibleButton("Advanced")
    section.collapsed = True
    label, layout = qt.QLabel("late"), qt.QVBoxLayout(section)
    layout.addWidget(label)
    section.show()
    assert not label.visible
    section.collapsed = False
    assert label.visible
    section.close()


def test_a_collapsible_group_box_folds(ctk: ModuleType, qt: ModuleType) -> None:
    box = ctk.ctkCollapsibleGroupBox("Display")
    label, layout = qt.QLabel("x"), qt.QVBoxLayout(box)
    layout.addWidget(label)
    box.show()
    box.checked = False
    assert (box.collapsed, label.visible) == (True, False)
    box.collapsed = False
    assert label.visible
    box.close()


def test_a_slider_widget_keeps_value_range_and_decimals_together(ctk: ModuleType) -> None:
    slider, got = ctk.ctkSliderWidget(), []
    slider.decimals, slider.minimum, slider.maximum, slider.singleStep = 2, 0, 1, 0.05
    slider.connect("valueChanged(double)", got.append)
    slider.value = 0.256
    assert (slider.value, got) == (0.26, [0.26])
    slider.value = 5
    assert slider.value == 1
    slider.maximum = 0.5
    assert (slider.value, got[-1]) == (0.5, 0.5)


def test_the_coarse_slider_never_rounds_the_value(ctk: ModuleType) -> None:
    slider = ctk.ctkSliderWidget()
    slider.setRange(0, 1_000_000)
    slider.value = 123_456.78
    assert slider.value == 123_456.78


def test_dragging_the_slider_changes_the_value(ctk: ModuleType) -> None:
    slider, got = ctk.ctkSliderWidget(), []
    slider.setRange(-100, 100)
    slider.connect("valueChanged(double)", got.append)
    slider.slider().value = 7500
    assert (slider.value, got) == (50, [50])


def test_a_double_slider_is_a_real_number_without_box(ctk: ModuleType, qt: ModuleType) -> None:
    slider = ctk.ctkDoubleSlider(qt.Qt.Horizontal)
    slider.setRange(0, 1)
    slider.value = 0.123
    assert slider.value == pytest.approx(0.123)
    assert slider.orientation == qt.Qt.Horizontal


def test_a_range_keeps_its_ends_in_order(ctk: ModuleType) -> None:
    widget, got = ctk.ctkRangeWidget(), []
    widget.setRange(-1000, 1000)
    widget.connect("valuesChanged(double,double)", lambda low, high: got.append((low, high)))
    widget.setValues(-160, 240)
    assert (widget.minimumValue, widget.maximumValue, got) == (-160, 240, [(-160, 240)])
    widget.minimumValue = 300
    assert (widget.minimumValue, widget.maximumValue) == (300, 300)
    widget.maximumValue = 5000
    assert widget.maximumValue == 1000


def test_a_path_line_edit_browses_for_what_its_filters_say(ctk: ModuleType, answers: Any, tmp_path: Path) -> None:
    edit, got = ctk.ctkPathLineEdit(), []
    edit.connect("currentPathChanged(QString)", got.append)
    edit.filters = ctk.ctkPathLineEdit.Dirs
    answers.folder(tmp_path)
    edit.browse()
    edit.filters = ctk.ctkPathLineEdit.Files
    answers.file(None)
    edit.browse()
    assert (edit.currentPath, got) == (str(tmp_path), [str(tmp_path)])


def test_a_path_line_edit_says_when_its_path_becomes_valid(ctk: ModuleType, tmp_path: Path) -> None:
    edit, got = ctk.ctkPathLineEdit(), []
    edit.filters = ctk.ctkPathLineEdit.Dirs
    edit.connect("validInputChanged(bool)", got.append)
    edit.currentPath = str(tmp_path / "missing")
    edit.currentPath = str(tmp_path)
    edit.currentPath = str(tmp_path / "missing")
    assert got == [True, False]


def test_a_path_line_edit_remembers_paths_newest_first(ctk: ModuleType) -> None:
    edit = ctk.ctkPathLineEdit()
    edit.settingKey = "AtlasTestFolder"
    for path in ("/a", "/b", "/a"):
        edit.currentPath = path
        edit.addCurrentPathToHistory()
    other = ctk.ctkPathLineEdit()
    other.settingKey = "AtlasTestFolder"
    other.retrieveHistory()
    assert [other.comboBox().itemText(row) for row in range(other.comboBox().count)] == ["/a", "/b"]
    assert other.currentPath == "/a"


def test_a_directory_button_shows_and_reports_its_folder(ctk: ModuleType, answers: Any, tmp_path: Path) -> None:
    button, got = ctk.ctkDirectoryButton(), []
    button.connect("directoryChanged(QString)", got.append)
    answers.folder(tmp_path)
    button.click()
    assert (button.directory, button.text, got) == (str(tmp_path), str(tmp_path), [str(tmp_path)])


def test_rows_of_a_checkable_combo_box_are_checked(ctk: ModuleType, qt: ModuleType) -> None:
    combo, changes = ctk.ctkCheckableComboBox(), []
    combo.addItems(["liver", "spleen"])
    combo.connect("checkedIndexesChanged()", lambda: changes.append(1))
    assert combo.noneChecked()
    assert combo.checkableModel().item(0).isCheckable()
    combo.setItemText(0, "Liver")
    combo.setCheckState(combo.checkableModel().index(1, 0), qt.Qt.Checked)
    assert [index.data() for index in combo.checkedIndexes()] == ["spleen"]
    assert changes == [1]
    combo.setCheckState(combo.checkableModel().index(0, 0), qt.Qt.Checked)
    assert combo.allChecked()


def test_a_search_box_is_a_line_edit_with_an_icon(ctk: ModuleType) -> None:
    box, got = ctk.ctkSearchBox(), []
    box.showSearchIcon = True
    box.connect("textChanged(QString)", got.append)
    box.text = "liver"
    assert (got, box.showSearchIcon) == (["liver"], True)


def test_a_fitted_text_browser_is_as_high_as_its_text_and_shows_details(ctk: ModuleType) -> None:
    browser = ctk.ctkFittedTextBrowser()
    browser.setCollapsibleText("Short.<br>Long explanation.")
    assert "Long explanation" not in browser.plainText
    browser.collapsed = False
    assert "Long explanation" in browser.plainText
    low = browser.sizeHint().height()
    browser.setHtml("<br>".join("line" for _ in range(30)))
    assert browser.sizeHint().height() > low


def test_a_message_box_can_be_silenced_by_the_user(ctk: ModuleType, qt: ModuleType, answers: Any) -> None:
    def overwrite_box() -> Any:
        box = ctk.ctkMessageBox()
        box.text, box.standardButtons = "Overwrite?", qt.QMessageBox.Yes | qt.QMessageBox.No
        box.dontShowAgainSettingsKey = "AtlasTestSilenced"
        return box

    first = overwrite_box()
    assert (first.dontShowAgain, first.dontShowAgainVisible) == (False, True)
    first.show()
    first.dontShowAgain = True
    first.button(qt.QMessageBox.No).click()
    assert overwrite_box().exec_() == qt.QMessageBox.No
    assert answers.shown == []
    qt.QSettings().remove("AtlasTestSilenced")
