"""Signals of the stand-in connect as PythonQt's do."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def qt(slicer_app: object) -> ModuleType:  # noqa: ARG001
    import qt

    return qt


def test_a_slot_gets_the_arguments_of_the_named_signature(qt: ModuleType) -> None:
    button, got = qt.QPushButton(), []
    button.checkable = True
    button.connect("clicked(bool)", got.append)
    button.connect("toggled(bool)", lambda on: got.append(("toggled", on)))
    button.click()
    assert got == [("toggled", True), True]


def test_a_slot_with_fewer_parameters_gets_fewer_arguments(qt: ModuleType) -> None:
    button, got = qt.QPushButton(), []

    class Panel:
        def onClicked(self) -> None:  # noqa: N802
            got.append("method")

    button.connect("clicked(bool)", Panel().onClicked)
    button.connect("clicked(bool)", lambda: got.append("lambda"))
    button.clicked.connect(lambda: got.append("attribute"))
    button.click()
    assert got == ["method", "lambda", "attribute"]


def test_a_signal_argument_overwrites_a_default_parameter(qt: ModuleType) -> None:
    button, got = qt.QPushButton(), []
    button.connect("clicked(bool)", lambda row=7: got.append(row))
    button.connect("clicked()", lambda row=7: got.append(row))
    button.click()
    assert got == [False, 7]


def test_a_slot_with_any_number_of_parameters_gets_all(qt: ModuleType) -> None:
    box, got = qt.QSpinBox(), []

    def slot(*values: Any) -> None:
        got.append(values)

    box.connect("valueChanged(int)", slot)
    box.value = 5
    assert got == [(5,)]


def test_qt_methods_can_be_slots(qt: ModuleType) -> None:
    button, edit = qt.QPushButton(), qt.QLineEdit("text")
    button.connect("clicked(bool)", edit.clear)
    button.click()
    assert edit.text == ""


def test_a_connection_to_a_deleted_receiver_does_nothing(qt: ModuleType) -> None:
    button, edit = qt.QPushButton(), qt.QLineEdit()
    button.connect("clicked()", edit.clear)
    edit.delete()
    button.click()


def test_a_slot_can_be_named_by_its_signature(qt: ModuleType) -> None:
    box, label = qt.QCheckBox(), qt.QLabel()
    box.connect("toggled(bool)", label, "setEnabled(bool)")
    box.checked = True
    box.checked = False
    assert not label.enabled


def test_an_unknown_signal_raises(qt: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"QPushButton has no signal pressedd\(\)"):
        qt.QPushButton().connect("pressedd()", print)


def test_a_signal_without_parentheses_raises_as_pythonqt_does_not_find_it(qt: ModuleType) -> None:
    with pytest.raises(ValueError, match="'clicked' is no signature"):
        qt.QPushButton().connect("clicked", print)


def test_a_signature_that_the_signal_does_not_have_raises(qt: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"no signal clicked\(int\)"):
        qt.QPushButton().connect("clicked(int)", print)


def test_disconnect_takes_one_slot_away(qt: ModuleType) -> None:
    button, got = qt.QPushButton(), []

    def keep() -> None:
        got.append("kept")

    def lose() -> None:
        got.append("lost")

    button.connect("clicked()", keep)
    button.connect("clicked()", lose)
    assert button.disconnect("clicked()", lose)
    assert not button.disconnect("clicked()", lose)
    button.click()
    assert got == ["kept"]


def test_a_bound_method_is_disconnected_by_an_equal_bound_method(qt: ModuleType) -> None:
    class Panel:
        clicks = 0

        def onClicked(self) -> None:  # noqa: N802
            self.clicks += 1

    panel, button = Panel(), qt.QPushButton()
    button.connect("clicked()", panel.onClicked)
    button.disconnect("clicked()", panel.onClicked)
    button.click()
    assert panel.clicks == 0


def test_disconnect_without_a_slot_takes_all_slots_of_the_signal(qt: ModuleType) -> None:
    button, got = qt.QPushButton(), []
    button.connect("clicked()", lambda: got.append(1))
    button.connect("clicked(bool)", lambda: got.append(2))
    button.connect("pressed()", lambda: got.append("pressed"))
    button.disconnect("clicked()")
    button.click()
    assert got == ["pressed"]


def test_connections_end_with_the_object(qt: ModuleType) -> None:
    from slicer_standin import qt_signals

    before = len(qt_signals._connections)
    button = qt.QPushButton()
    button.connect("clicked()", print)
    assert len(qt_signals._connections) == before + 1
    button.delete()
    assert len(qt_signals._connections) == before


def test_a_signal_that_qt6_renamed_works_and_warns(qt: ModuleType) -> None:
    combo, got = qt.QComboBox(), []
    with pytest.warns(DeprecationWarning, match="use currentTextChanged"):
        combo.connect("currentIndexChanged(QString)", got.append)
    combo.addItem("liver")
    assert got == ["liver"]


def test_signals_declared_in_python_connect_the_same_way(qt: ModuleType) -> None:
    class Panel(qt.QWidget):
        chosen = qt.Signal(str, int)

    panel, got = Panel(), []

    def slot(name: str) -> None:
        got.append(name)

    panel.connect("chosen(QString,int)", slot)
    panel.chosen.emit("liver", 3)
    assert got == ["liver"]


def test_a_timer_calls_its_slot(qt: ModuleType, slicer_app: Any) -> None:
    timer, got = qt.QTimer(), []
    timer.singleShot = True
    timer.interval = 0
    timer.connect("timeout()", lambda: got.append(1))
    timer.start()
    slicer_app.processEvents()
    assert (got, timer.active) == ([1], False)
