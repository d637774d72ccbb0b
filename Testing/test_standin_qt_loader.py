""".ui files load as in Slicer, and a mistake in one fails."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

UI = """<ui version="4.0"><class>Panel</class>
<widget class="QWidget" name="panel"><layout class="QVBoxLayout" name="layout">
{widgets}
</layout></widget>
<customwidgets>{custom}</customwidgets>
<connections>{connections}</connections></ui>"""
CHECK_BOX = '<item><widget class="QCheckBox" name="useRoi">{}</widget></item>'
LABEL = '<item><widget class="QLabel" name="hint"><property name="text"><string>Choose</string></property></widget></item>'
SECTION = """<item><widget class="ctkCollapsibleButton" name="section"><property name="text"><string>Inputs</string></property>
<property name="collapsed"><bool>true</bool></property><layout class="QVBoxLayout" name="inner">
<item><widget class="ctkPathLineEdit" name="folder"><property name="filters">
<set>ctkPathLineEdit::Dirs|ctkPathLineEdit::Writable</set></property></widget></item></layout></widget></item>"""
CUSTOM = """<customwidget><class>{name}</class><extends>QWidget</extends><header>{name}.h</header><container>1</container></customwidget>"""
CONNECTION = """<connection><sender>{}</sender><signal>{}</signal><receiver>{}</receiver><slot>{}</slot></connection>"""


@pytest.fixture
def loader(slicer_app: object) -> ModuleType:  # noqa: ARG001
    from slicer_standin import qt_loader

    return qt_loader


@pytest.fixture
def ui_file(tmp_path: Path) -> Path:
    return tmp_path / "panel.ui"


def write(path: Path, widgets: str, custom: tuple[str, ...] = (), connections: str = "") -> Path:
    path.write_text(UI.format(widgets=widgets, custom="".join(CUSTOM.format(name=name) for name in custom), connections=connections))
    return path


def test_children_are_found_by_their_names(loader: ModuleType, ui_file: Path) -> None:
    import slicer.util

    top = loader.load_ui(write(ui_file, LABEL + CHECK_BOX.format("")))
    ui = slicer.util.childWidgetVariables(top)
    assert (ui.hint.text, ui.useRoi.checked) == ("Choose", False)


def test_slicer_load_ui_loads_the_same_way(slicer_app: object, ui_file: Path) -> None:  # noqa: ARG001
    import slicer.util

    assert slicer.util.loadUI(str(write(ui_file, LABEL))).hint.text == "Choose"


def test_custom_widgets_get_their_properties_and_children(loader: ModuleType, ui_file: Path) -> None:
    top = loader.load_ui(write(ui_file, SECTION, ("ctkCollapsibleButton", "ctkPathLineEdit")))
    import ctk

    assert type(top.section) is ctk.ctkCollapsibleButton
    assert (top.section.text, top.section.collapsed) == ("Inputs", True)
    assert top.section.folder.filters == ctk.ctkPathLineEdit.Dirs | ctk.ctkPathLineEdit.Writable


def test_connections_of_the_file_work(loader: ModuleType, ui_file: Path) -> None:
    connection = CONNECTION.format("useRoi", "toggled(bool)", "hint", "setEnabled(bool)")
    top = loader.load_ui(write(ui_file, LABEL + CHECK_BOX.format(""), connections=connection))
    top.useRoi.checked = True
    top.useRoi.checked = False
    assert not top.hint.enabled


def test_connections_of_the_file_carry_a_scene(loader: ModuleType, ui_file: Path) -> None:
    import slicer

    connection = CONNECTION.format("panel", "mrmlSceneChanged(vtkMRMLScene*)", "selector", "setMRMLScene(vtkMRMLScene*)")
    selector = '<item><widget class="qMRMLNodeComboBox" name="selector"/></item>'
    path = write(ui_file, selector, ("qMRMLWidget", "qMRMLNodeComboBox"), connection)
    path.write_text(path.read_text().replace('class="QWidget" name="panel"', 'class="qMRMLWidget" name="panel"'))
    top = loader.load_ui(path)
    top.setMRMLScene(slicer.mrmlScene)
    assert top.selector.mrmlScene() is slicer.mrmlScene
    top.setMRMLScene(None)


def test_an_intended_dynamic_property_is_kept(loader: ModuleType, ui_file: Path) -> None:
    name = '<property name="SlicerParameterName" stdset="0"><string>useRoi</string></property>'
    assert loader.load_ui(write(ui_file, CHECK_BOX.format(name))).useRoi.property("SlicerParameterName") == "useRoi"


def test_a_misspelled_property_fails(loader: ModuleType, ui_file: Path) -> None:
    wrong = '<property name="chekced"><bool>true</bool></property>'
    with pytest.raises(RuntimeError, match="useRoi has no property chekced"):
        loader.load_ui(write(ui_file, CHECK_BOX.format(wrong)))


def test_an_unknown_widget_class_fails(loader: ModuleType, ui_file: Path) -> None:
    unknown = '<item><widget class="qMRMLFancyWidget" name="fancy"/></item>'
    with pytest.raises(RuntimeError, match="unknown class qMRMLFancyWidget"):
        loader.load_ui(write(ui_file, unknown, ("qMRMLFancyWidget",)))
    with pytest.raises(RuntimeError, match="unknown class qMRMLFancyWidget"):
        loader.load_ui(write(ui_file, unknown))


@pytest.mark.parametrize(
    ("connection", "message"),
    [
        (("nobody", "toggled(bool)", "hint", "setEnabled(bool)"), "no object named nobody"),
        (("useRoi", "toggled(bool)", "nobody", "setEnabled(bool)"), "no object named nobody"),
        (("useRoi", "togled(bool)", "hint", "setEnabled(bool)"), r"no signal togled\(bool\)"),
        (("useRoi", "toggled(bool)", "hint", "setEnabledd(bool)"), "no attribute named 'setEnabledd'"),
    ],
)
def test_a_wrong_connection_fails(loader: ModuleType, ui_file: Path, connection: tuple[str, ...], message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        loader.load_ui(write(ui_file, LABEL + CHECK_BOX.format(""), connections=CONNECTION.format(*connection)))


def test_an_unknown_enum_value_of_a_custom_widget_fails(loader: ModuleType, ui_file: Path) -> None:
    path = write(ui_file, SECTION.replace("ctkPathLineEdit::Dirs", "ctkPathLineEdit::Dirz"), ("ctkCollapsibleButton", "ctkPathLineEdit"))
    with pytest.raises(RuntimeError, match="ctkPathLineEdit has no enum value ctkPathLineEdit::Dirz"):
        loader.load_ui(path)


def test_a_missing_file_fails(loader: ModuleType, ui_file: Path) -> None:
    with pytest.raises(RuntimeError, match=r"panel\.ui"):
        loader.load_ui(ui_file)


def test_only_direct_children_are_attributes(loader: ModuleType, ui_file: Path) -> None:
    top = loader.load_ui(write(ui_file, LABEL + SECTION, ("ctkCollapsibleButton", "ctkPathLineEdit")))
    assert top.section.folder.objectName == "folder"
    with pytest.raises(AttributeError, match="no attribute named 'folder'"):
        _ = top.folder
    top.hint.delete()
    with pytest.raises(AttributeError, match="no attribute named 'hint'"):
        _ = top.hint


def test_nothing_but_qt_sets_attributes_while_loading(loader: ModuleType, ui_file: Path) -> None:
    top = loader.load_ui(write(ui_file, LABEL))
    with pytest.raises(AttributeError, match="does not exist on QWidget"):
        top.anything = 1
