"""Widgets bound to parameters, as Slicer's developer guide says (parameter_nodes/gui_connection.md)."""

from __future__ import annotations

import enum
import pathlib
from typing import Annotated, Any

import pytest

pytestmark = pytest.mark.usefixtures("slicer_app")


class Mode(enum.Enum):
    FAST = 1
    EXACT = 2

    def label(self) -> str:
        return self.name.title()


def wrapped(scene: Any, **hints: Any) -> Any:
    """Return a parameter node with these parameters."""
    from slicer.parameterNodeWrapper import parameterNodeWrapper

    kind = parameterNodeWrapper(type("Parameters", (), {"__annotations__": hints}))
    return kind(scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "Parameters"))


@pytest.fixture
def bind(slicer_app: Any) -> Any:
    """Return a function: (widget, type of the parameter) -> parameter node whose parameter `value` is bound to the widget."""

    def make(widget: Any, hint: Any) -> Any:
        parameters = wrapped(slicer_app.mrmlScene(), value=hint)
        parameters.connectParametersToGui({"value": widget})
        return parameters

    return make


def annotations() -> Any:
    import slicer.parameterNodeWrapper

    return slicer.parameterNodeWrapper


CASES = {
    "check box": ("QCheckBox", "checked", bool, True),
    "button": ("QPushButton", "checked", bool, True),
    "line": ("QLineEdit", "text", str, "abc"),
    "spin box": ("QSpinBox", "value", int, 7),
    "double spin box": ("QDoubleSpinBox", "value", float, 2.5),
    "path": ("ctkPathLineEdit", "currentPath", pathlib.Path, "a/b"),
    "directory": ("ctkDirectoryButton", "directory", pathlib.Path, "/"),
}


def make_widget(name: str) -> Any:
    import ctk
    import qt

    widget = getattr(ctk if name.startswith("ctk") else qt, name)()
    if name == "QPushButton":
        widget.checkable = True
    return widget


@pytest.mark.parametrize("case", CASES)
def test_what_the_user_enters_reaches_the_parameter(bind: Any, case: str) -> None:
    name, attribute, kind, value = CASES[case]
    widget = make_widget(name)
    parameters = bind(widget, kind)
    setattr(widget, attribute, value)
    assert parameters.value == kind(value)


@pytest.mark.parametrize("case", CASES)
def test_a_changed_parameter_is_shown(bind: Any, case: str) -> None:
    name, attribute, kind, value = CASES[case]
    widget = make_widget(name)
    parameters = bind(widget, kind)
    parameters.value = kind(value)
    assert getattr(widget, attribute) == value


def test_a_label_only_shows(bind: Any) -> None:
    import qt

    label = qt.QLabel()
    parameters = bind(label, str)
    parameters.value = "abc"
    assert label.text == "abc"
    label.text = "other"
    assert parameters.value == "abc"


def test_a_slider_takes_its_range_decimals_and_step_from_the_annotations(bind: Any) -> None:
    import ctk

    hints = annotations()
    slider = ctk.ctkSliderWidget()
    parameters = bind(slider, Annotated[float, hints.WithinRange(-2, 3), hints.Decimals(3), hints.SingleStep(0.125)])
    assert (slider.minimum, slider.maximum, slider.decimals, slider.singleStep) == (-2, 3, 3, 0.125)
    slider.value = 0.625
    assert parameters.value == 0.625


def test_a_slider_of_an_unbounded_number_is_refused(bind: Any) -> None:
    import ctk
    import qt

    for widget, kind in ((ctk.ctkSliderWidget(), float), (qt.QSlider(), int)):
        with pytest.raises(RuntimeError, match="unbounded"):
            bind(widget, kind)


def test_a_spin_box_of_an_unbounded_number_takes_every_number(bind: Any) -> None:
    import qt

    box = qt.QSpinBox()
    parameters = bind(box, int)
    parameters.value = -123456
    assert box.value == -123456


def test_a_combo_box_offers_the_choices(bind: Any) -> None:
    import qt

    box = qt.QComboBox()
    parameters = bind(box, Annotated[str, annotations().Choice(["auto", "gpu", "cpu"]), annotations().Default("auto")])
    assert [box.itemText(row) for row in range(box.count)] == ["auto", "gpu", "cpu"]
    box.currentIndex = 2
    assert parameters.value == "cpu"
    parameters.value = "gpu"
    assert box.currentText == "gpu"


def test_a_combo_box_of_a_free_text_is_refused(bind: Any) -> None:
    import qt

    with pytest.raises(RuntimeError, match="Choice"):
        bind(qt.QComboBox(), str)


def test_a_combo_box_shows_the_labels_of_an_enum(bind: Any) -> None:
    import qt

    box = qt.QComboBox()
    parameters = bind(box, Mode)
    assert [box.itemText(row) for row in range(box.count)] == ["Fast", "Exact"]
    box.currentIndex = 1
    assert parameters.value is Mode.EXACT


def test_a_node_selector_lists_only_the_type_of_the_parameter(slicer_app: Any, bind: Any) -> None:
    import slicer

    scene = slicer_app.mrmlScene()
    selector = slicer.qMRMLNodeComboBox()
    selector.noneEnabled = True
    selector.setMRMLScene(scene)
    parameters = bind(selector, slicer.vtkMRMLScalarVolumeNode)
    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    scene.AddNewNodeByClass("vtkMRMLModelNode")
    assert list(selector.nodeTypes) == ["vtkMRMLScalarVolumeNode"]
    assert selector.nodeCount() == 1
    selector.setCurrentNode(volume)
    assert parameters.value is volume
    parameters.value = None
    assert selector.currentNode() is None


def test_a_subclass_of_a_known_widget_is_refused(bind: Any) -> None:
    import qt

    class Box(qt.QCheckBox):
        pass

    with pytest.raises(RuntimeError, match="Unable to create GUI connector"):
        bind(Box(), bool)


def test_a_widget_that_cannot_show_the_type_is_refused_with_its_name(bind: Any) -> None:
    import qt

    box = qt.QCheckBox()
    box.objectName = "nameBox"
    with pytest.raises(RuntimeError, match="nameBox"):
        bind(box, str)


def test_an_unknown_parameter_name_is_refused(slicer_app: Any) -> None:
    import qt

    with pytest.raises(ValueError, match="speling"):
        wrapped(slicer_app.mrmlScene(), spelling=str).connectParametersToGui({"speling": qt.QLineEdit()})


@pytest.fixture
def panel(slicer_app: Any) -> Any:  # noqa: ARG001
    """Return a widget with two named children of which one names a parameter."""
    import qt

    top = qt.QWidget()
    layout = qt.QVBoxLayout(top)
    for name in ("nameEdit", "otherEdit"):
        edit = qt.QLineEdit(top)
        edit.objectName = name
        layout.addWidget(edit)
    top.findChild(qt.QLineEdit, "nameEdit").setProperty("SlicerParameterName", "name")
    return top


def test_a_panel_is_bound_through_the_dynamic_property_of_its_widgets(slicer_app: Any, panel: Any) -> None:
    import slicer

    ui = slicer.util.childWidgetVariables(panel)
    parameters = wrapped(slicer_app.mrmlScene(), name=str)
    parameters.connectGui(ui)
    ui.nameEdit.text = "liver"
    ui.otherEdit.text = "not bound"
    assert parameters.name == "liver"
    parameters.name = "spleen"
    assert ui.nameEdit.text == "spleen"


def test_a_panel_is_filled_from_the_parameters_when_it_is_bound(slicer_app: Any, panel: Any) -> None:
    import slicer

    ui = slicer.util.childWidgetVariables(panel)
    ui.nameEdit.text = "left over"
    parameters = wrapped(slicer_app.mrmlScene(), name=str)
    parameters.name = "liver"
    parameters.connectGui(ui)
    assert (ui.nameEdit.text, parameters.name) == ("liver", "liver")


def test_a_panel_that_is_disconnected_neither_writes_nor_reads(slicer_app: Any, panel: Any) -> None:
    import slicer

    ui = slicer.util.childWidgetVariables(panel)
    parameters = wrapped(slicer_app.mrmlScene(), name=str)
    tag = parameters.connectGui(ui)
    parameters.disconnectGui(tag)
    ui.nameEdit.text = "unseen"
    assert parameters.name == ""
    parameters.name = "unshown"
    assert ui.nameEdit.text == "unseen"
    parameters.disconnectGui(tag)  # again, or never connected: nothing happens
    parameters.disconnectGui(None)


def test_a_panel_that_is_disconnected_does_not_keep_its_parameters_alive(slicer_app: Any, panel: Any) -> None:
    import weakref

    parameters = wrapped(slicer_app.mrmlScene(), name=str)
    parameters.disconnectGui(parameters.connectGui(panel))
    gone = weakref.ref(parameters)
    del parameters
    assert gone() is None


def test_a_value_that_the_validator_refuses_is_a_fault_of_the_panel(slicer_app: Any, bind: Any) -> None:  # noqa: ARG001
    import qt

    from slicer_standin import faults

    edit = qt.QLineEdit()
    bind(edit, Annotated[str, annotations().Exclude(["bad"])])
    edit.text = "bad"
    assert any("excluded" in fault for fault in faults.reported())
    faults.clear()
