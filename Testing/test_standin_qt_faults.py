"""Errors that nobody would see fail the test."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def qt(slicer_app: object) -> ModuleType:  # noqa: ARG001
    import qt

    return qt


@pytest.fixture
def faults(slicer_app: object) -> Iterator[ModuleType]:  # noqa: ARG001
    from slicer_standin import faults

    yield faults
    faults.clear()


def fail(*_: Any) -> None:
    message = "broken panel"
    raise KeyError(message)


def test_no_fault_is_no_error(faults: ModuleType) -> None:
    assert faults.reported() == []
    faults.check()


def test_check_raises_with_the_traceback_and_forgets(faults: ModuleType) -> None:
    try:
        fail()
    except KeyError as error:
        faults.record(error)
    with pytest.raises(AssertionError, match=r"1 fault(?s:.*)in fail(?s:.*)KeyError: 'broken panel'"):
        faults.check()
    faults.check()


def test_an_exception_in_a_slot_is_a_fault_and_the_caller_goes_on(qt: ModuleType, faults: ModuleType) -> None:
    button, reached = qt.QPushButton(), []
    button.connect("clicked()", fail)
    button.clicked.connect(fail)
    button.connect("clicked()", lambda: reached.append(1))
    button.click()
    assert reached == [1]
    assert [text.splitlines()[-1] for text in faults.reported()] == ["KeyError: 'broken panel'"] * 2


def test_an_exception_in_a_timer_is_a_fault(qt: ModuleType, faults: ModuleType, slicer_app: Any) -> None:
    timer = qt.QTimer()
    timer.singleShot = True
    timer.connect("timeout()", fail)
    timer.start(0)
    qt.QTimer.singleShot(0, fail)
    slicer_app.processEvents()
    assert len(faults.reported()) == 2


def test_an_exception_in_an_event_filter_is_a_fault_and_the_event_goes_on(qt: ModuleType, faults: ModuleType) -> None:
    class Filter(qt.QObject):
        def eventFilter(self, _watched: Any, _event: Any) -> bool:  # noqa: N802
            fail()
            return True

    button, watcher, got = qt.QPushButton(), Filter(), []
    button.installEventFilter(watcher)
    button.connect("clicked()", lambda: got.append(1))
    qt.QApplication.sendEvent(button, qt.QEvent(qt.QEvent.Enter))
    button.removeEventFilter(watcher)
    assert len(faults.reported()) == 1


def test_an_exception_in_an_event_handler_is_a_fault(qt: ModuleType, faults: ModuleType) -> None:
    class Panel(qt.QWidget):
        def closeEvent(self, _event: Any) -> None:  # noqa: N802
            fail()

    Panel().close()
    assert len(faults.reported()) == 1


def test_an_exception_in_a_vtk_observer_is_a_fault(faults: ModuleType) -> None:
    import vtk

    thing = vtk.vtkObject()
    thing.AddObserver(vtk.vtkCommand.ModifiedEvent, fail)
    thing.Modified()
    assert "broken panel" in faults.reported()[0]


def test_a_warning_of_qt_is_a_fault(qt: ModuleType, faults: ModuleType) -> None:
    qt.QSettings().value("")
    assert faults.reported()[0].startswith("Qt warning: QSettings::value: Empty key passed")


def test_what_the_offscreen_platform_cannot_do_is_no_fault(qt: ModuleType, faults: ModuleType) -> None:
    window = qt.QWidget()
    window.show()
    window.raise_()
    window.close()
    assert faults.reported() == []
