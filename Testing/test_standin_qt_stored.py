"""Stored properties, of which the stand-in's widgets are made."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def widget(slicer_app: object) -> Any:  # noqa: ARG001
    import qt

    from slicer_standin.qt_loader import register
    from slicer_standin.stored_property import stored

    @register
    class StoredTestWidget(qt.QWidget):
        thresholdChanged = qt.Signal(float)  # noqa: N815
        threshold, setThreshold = stored("threshold", float, 0.5, after="_after", notify="thresholdChanged")  # noqa: N815
        names, setNames = stored("names", list, [])  # noqa: N815

        def __init__(self) -> None:
            super().__init__()
            self._seen: list[float] = []

        def _after(self, value: float) -> None:
            self._seen.append(value)

    return StoredTestWidget()


def test_a_stored_property_has_a_default_and_converts(widget: Any) -> None:
    assert widget.threshold == 0.5
    widget.threshold = 1
    assert isinstance(widget.threshold, float)


def test_its_setter_is_a_method_too_and_qt_knows_the_property(widget: Any) -> None:
    widget.setThreshold(0.7)
    assert widget.property("threshold") == 0.7
    assert widget.setProperty("threshold", 0.8)
    assert widget.threshold == 0.8


def test_it_notifies_of_changes_only_and_calls_after_every_assignment(widget: Any) -> None:
    got: list[float] = []
    widget.connect("thresholdChanged(double)", got.append)
    widget.threshold = 0.6
    widget.threshold = 0.6
    assert (got, widget._seen) == ([0.6], [0.6, 0.6])


def test_a_default_list_belongs_to_one_widget(widget: Any) -> None:
    widget.names.append("liver")
    assert type(widget)().names == []
