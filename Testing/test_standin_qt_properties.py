"""Qt objects of the stand-in behave as PythonQt's: properties are attributes, and there are no others."""

from __future__ import annotations

from types import ModuleType

import pytest


@pytest.fixture
def qt(slicer_app: object) -> ModuleType:  # noqa: ARG001
    import qt

    return qt


def test_a_property_is_read_and_written_as_an_attribute(qt: ModuleType) -> None:
    label = qt.QLabel("before")
    assert label.text == "before"
    label.text = "after"
    label.toolTip = "tip"
    assert (label.text, label.toolTip, label.enabled) == ("after", "tip", True)


def test_calling_a_property_fails_as_in_pythonqt(qt: ModuleType) -> None:
    with pytest.raises(TypeError, match="not callable"):
        qt.QLabel("x").text()


def test_setters_and_is_getters_stay_methods(qt: ModuleType) -> None:
    button = qt.QPushButton()
    button.setText("Apply")
    button.setEnabled(False)
    assert (button.text, button.enabled, button.isEnabled()) == ("Apply", False, False)


def test_static_methods_hidden_behind_a_property_stay_reachable_through_the_class(qt: ModuleType, slicer_app: object) -> None:
    timer, fired = qt.QTimer(), []
    timer.singleShot = True
    assert timer.singleShot is True
    qt.QTimer.singleShot(0, lambda: fired.append(1))
    slicer_app.processEvents()
    assert fired == [1]


def test_values_are_converted_to_the_type_of_the_property(qt: ModuleType) -> None:
    bar, box, label = qt.QProgressBar(), qt.QCheckBox(), qt.QLabel()
    bar.value, box.checked, label.text = 41.9, 1, 3
    assert (bar.value, box.checked, label.text) == (41, True, "3")


def test_none_is_no_text(qt: ModuleType) -> None:
    with pytest.raises(AttributeError, match="does not accept an object of type NoneType"):
        qt.QLabel().toolTip = None


def test_a_read_only_property_cannot_be_written(qt: ModuleType) -> None:
    with pytest.raises(AttributeError, match="count"):
        qt.QComboBox().count = 3


def test_reading_an_unknown_attribute_raises(qt: ModuleType) -> None:
    with pytest.raises(AttributeError, match="QPushButton has no attribute named 'checkd'"):
        _ = qt.QPushButton().checkd


def test_writing_an_unknown_attribute_raises(qt: ModuleType) -> None:
    with pytest.raises(AttributeError, match="'checkd' does not exist on QPushButton"):
        qt.QPushButton().checkd = True


def test_a_method_cannot_be_overwritten(qt: ModuleType) -> None:
    with pytest.raises(AttributeError, match="'click' of QPushButton"):
        qt.QPushButton().click = print


def test_a_python_subclass_may_have_its_own_attributes(qt: ModuleType) -> None:
    class Panel(qt.QWidget):
        pass

    panel = Panel()
    panel.anything = 1
    panel.toolTip = "still a property"
    assert (panel.anything, panel.toolTip) == (1, "still a property")


def test_a_dynamic_property_is_an_attribute_once_it_exists(qt: ModuleType) -> None:
    widget = qt.QSpinBox()
    widget.setProperty("SlicerParameterName", "threshold")
    assert widget.SlicerParameterName == widget.property("SlicerParameterName") == "threshold"
    widget.SlicerParameterName = "other"
    assert widget.property("SlicerParameterName") == "other"


def test_a_child_is_an_attribute_by_its_object_name(qt: ModuleType) -> None:
    parent = qt.QWidget()
    child = qt.QPushButton(parent)
    child.objectName = "applyButton"
    assert parent.applyButton is child


def test_name_is_the_object_name(qt: ModuleType) -> None:
    widget = qt.QWidget()
    widget.name = "panel"
    assert widget.objectName == widget.name == "panel"


def test_enum_values_are_ints_through_the_class_and_through_the_object(qt: ModuleType) -> None:
    item = qt.QTableWidgetItem()
    item.setCheckState(qt.Qt.Checked)
    assert item.checkState() == 2
    assert qt.QProcess().Running == qt.QProcess.Running == 2
    assert qt.QMessageBox.Yes | qt.QMessageBox.No == 0x14000


def test_views_and_items_count_as_in_pythonqt(qt: ModuleType) -> None:
    table, tree, model = qt.QTableWidget(2, 3), qt.QTreeWidget(), qt.QStandardItemModel(4, 1)
    qt.QTreeWidgetItem(tree, ["liver"])
    table.setItem(0, 0, qt.QTableWidgetItem("spleen"))
    assert (table.rowCount, table.columnCount, table.item(0, 0).text()) == (2, 3, "spleen")
    assert (tree.topLevelItemCount, tree.topLevelItem(0).text(0)) == (1, "liver")
    assert model.rowCount() == 4


def test_items_and_values_have_no_writable_attributes(qt: ModuleType) -> None:
    for value in (qt.QTableWidgetItem(), qt.QTreeWidgetItem(), qt.QStandardItem(), qt.QColor(), qt.QIcon(), qt.QFont()):
        with pytest.raises(AttributeError, match="can not be set"):
            value.text = "liver"


def test_public_members_of_a_value_can_be_written(qt: ModuleType) -> None:
    option = qt.QStyleOptionButton()
    option.rect, option.text = qt.QRect(1, 2, 3, 4), "Apply"
    assert (option.rect.width(), option.text) == (3, "Apply")


def test_a_python_subclass_of_an_item_may_have_attributes(qt: ModuleType) -> None:
    class CaseItem(qt.QTableWidgetItem):
        pass

    item = CaseItem("case 1")
    item.case = 1
    assert (item.case, item.text()) == (1, "case 1")


def test_class_name_and_delete_come_from_pythonqt(qt: ModuleType) -> None:
    parent = qt.QWidget()
    child = qt.QLabel(parent)
    assert child.className() == "QLabel"
    child.delete()
    assert parent.children() == []
