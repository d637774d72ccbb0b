"""The .ui files: what Qt and Slicer only find out at run time, or not at all."""

from __future__ import annotations

import ast
from pathlib import Path
from xml.etree import ElementTree

import pytest

from cmake_files import MODULES

Element = ElementTree.Element
CONTAINERS = {"qMRMLWidget", "ctkCollapsibleButton", "ctkCollapsibleGroupBox", "QWidget", "QGroupBox", "QFrame", "QTabWidget"}
# The embedded Segment Editor gets its parameter node first and the scene then, from Python, as in Slicer's own SegmentEditor.py.
WITHOUT_SCENE = {"qMRMLWidget", "qMRMLSegmentEditorWidget", "qMRMLSegmentationShow3DButton"}
SCENE_SIGNAL, SCENE_SLOT = "mrmlSceneChanged(vtkMRMLScene*)", "setMRMLScene(vtkMRMLScene*)"


@pytest.fixture(params=MODULES)
def module(request: pytest.FixtureRequest) -> str:
    """Return each module's name in turn."""
    return str(request.param)


@pytest.fixture
def root(repository: Path, module: str) -> Element:
    """Return the .ui file of the module."""
    return ElementTree.parse(repository / module / "Resources" / "UI" / f"{module}.ui").getroot()


def dynamic_properties(root: Element) -> list[tuple[str, str, str]]:
    """Return (widget, property, value) of every property that Qt does not know (stdset="0"), spacers left out."""
    found = []
    for widget in root.iter("widget"):
        for entry in widget.findall("property"):
            if entry.get("stdset") == "0":
                found.append((widget.attrib["name"], entry.attrib["name"], "".join(entry.itertext()).strip()))
    return found


def wrapper_parameters(source: str) -> set[str]:
    """Return the parameters of every class decorated with parameterNodeWrapper."""
    classes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef)]
    wrapped = [node for node in classes if any("parameterNodeWrapper" in ast.unparse(mark) for mark in node.decorator_list)]
    return {
        line.target.id for node in wrapped for line in node.body if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
    }


def test_the_only_dynamic_property_is_the_one_that_slicer_connects(root: Element) -> None:
    assert [entry for entry in dynamic_properties(root) if entry[1] != "SlicerParameterName"] == []


def test_every_connected_widget_names_a_parameter_that_exists_and_none_twice(root: Element, repository: Path, module: str) -> None:
    parameters = {
        name
        for path in [repository / module / f"{module}.py", *(repository / module / f"{module}Lib").glob("*.py")]
        for name in wrapper_parameters(path.read_text(encoding="utf-8"))
    }
    named = [value for _, name, value in dynamic_properties(root) if name == "SlicerParameterName"]
    assert named, "the panel has no widget that is kept with the scene"
    assert len(named) == len({*named})
    assert {*named} <= parameters


def test_every_mrml_widget_is_given_the_scene(root: Element, module: str) -> None:
    wired = {
        entry.findtext("receiver")
        for entry in root.iter("connection")
        if (entry.findtext("sender"), entry.findtext("signal"), entry.findtext("slot")) == (module, SCENE_SIGNAL, SCENE_SLOT)
    }
    widgets = {
        widget.attrib["name"]
        for widget in root.iter("widget")
        if widget.attrib["class"].startswith("qMRML") and widget.attrib["class"] not in WITHOUT_SCENE
    }
    assert widgets == wired


def test_every_custom_widget_class_is_declared(root: Element) -> None:
    declared = {entry.findtext("class") for entry in root.iter("customwidget")}
    used = {widget.attrib["class"] for widget in root.iter("widget") if widget.attrib["class"].startswith(("qMRML", "ctk", "qSlicer"))}
    assert used <= declared


def test_no_widget_has_a_style_of_its_own(root: Element) -> None:
    assert [p.attrib["name"] for p in root.iter("property") if p.attrib["name"] == "styleSheet"] == []


def test_every_button_field_and_list_says_what_it_is_for(root: Element) -> None:
    silent = []
    for widget in root.iter("widget"):
        kind = widget.attrib["class"]
        if kind in CONTAINERS or kind in {"QLabel", "QProgressBar", "qMRMLSegmentEditorWidget", "QPlainTextEdit", "QStackedWidget"}:
            continue
        if not any(entry.attrib["name"] == "toolTip" for entry in widget.findall("property")):
            silent.append(widget.attrib["name"])
    assert silent == []


def test_the_helpers_find_what_they_look_for() -> None:
    text = '<ui><widget name="a"><property name="SlicerParameterName" stdset="0"><string> ct </string></property></widget></ui>'
    assert dynamic_properties(ElementTree.fromstring(text)) == [("a", "SlicerParameterName", "ct")]
    assert wrapper_parameters("@parameterNodeWrapper\nclass P:\n    ct: int\n    other: str = ''\nclass Q:\n    no: int\n") == {
        "ct",
        "other",
    }
