"""Scripted modules in the stand-in: loading, opening, leaving, reloading, unloading, and what a module file can ask of Slicer."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SOURCE = """
import slicer
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import *
from slicer.util import VTKObservationMixin

class {name}(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("A title")
        parent.categories = ["Segmentation"]

class {name}Widget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.calls = ["init"]
    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        self.calls.append("setup")
        self.logic = {name}Logic()
        self.ui = slicer.util.childWidgetVariables(self.loaded())
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onClose)
    def loaded(self):
        widget = slicer.util.loadUI(self.resourcePath("UI/{name}.ui"))
        self.layout.addWidget(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        return widget
    def onClose(self, caller, event): self.calls.append("closing")
    def enter(self): self.calls.append("enter")
    def exit(self): self.calls.append("exit")
    def cleanup(self):
        self.calls.append("cleanup")
        self.removeObservers()

class {name}Logic(ScriptedLoadableModuleLogic):
    pass

class {name}Test(ScriptedLoadableModuleTest):
    ran = []
    def setUp(self): self.ran.append("setUp")
    def test_it(self): self.ran.append("test")
"""
UI = """<?xml version="1.0" encoding="UTF-8"?>
<ui version="4.0"><class>{name}</class>
 <widget class="qMRMLWidget" name="{name}">
  <layout class="QVBoxLayout" name="layout">
   <item><widget class="qMRMLNodeComboBox" name="ctSelector">
     <property name="nodeTypes"><stringlist><string>vtkMRMLScalarVolumeNode</string></stringlist></property></widget></item>
   <item><widget class="QPushButton" name="applyButton"/></item>
  </layout></widget>
 <customwidgets>
  <customwidget><class>qMRMLWidget</class><extends>QWidget</extends><header>qMRMLWidget.h</header><container>1</container></customwidget>
  <customwidget><class>qMRMLNodeComboBox</class><extends>QWidget</extends><header>qMRMLNodeComboBox.h</header></customwidget>
 </customwidgets>
 <connections><connection><sender>{name}</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
  <receiver>ctSelector</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection></connections>
</ui>"""


@pytest.fixture
def make_module(slicer_app: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:  # noqa: ARG001
    """Return a function that writes a module and returns its folder."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def make(name: str) -> Path:
        folder = tmp_path / name
        (folder / "Resources" / "UI").mkdir(parents=True)
        (folder / "Resources" / "UI" / f"{name}.ui").write_text(UI.replace("{name}", name))
        (folder / f"{name}.py").write_text(SOURCE.replace("{name}", name))
        return folder

    return make


@pytest.fixture
def opened(make_module: Callable[[str], Path]) -> Callable[[str], Any]:
    """Return a function: name -> the open panel of a new module of that name."""
    from slicer_standin import session

    return lambda name: session.open_module(make_module(name))


def test_a_module_is_found_under_its_lower_case_name(opened: Callable[[str], Any]) -> None:
    import slicer

    widget = opened("TryOne")
    module = slicer.modules.tryone
    assert (module.name, module.title, module.categories) == ("TryOne", "A title", ["Segmentation"])
    assert slicer.util.getModule("TryOne") is module
    assert slicer.util.getModuleWidget("TryOne") is widget is slicer.modules.TryOneWidget
    assert slicer.util.getModuleLogic("TryOne") is widget.logic
    assert slicer.util.modulePath("TryOne") == module.path
    assert "TryOne" in slicer.util.moduleNames()
    assert slicer.util.selectedModule() == "TryOne"


def test_a_panel_is_set_up_once_and_entered_each_time(opened: Callable[[str], Any]) -> None:
    import slicer

    first = opened("TryOne")
    assert first.calls == ["init", "setup", "enter"]
    second = opened("TryTwo")
    assert first.calls[-1] == "exit"
    assert not first.parent.isEntered
    assert second.parent.isEntered
    slicer.util.selectModule("TryOne")
    assert first.calls == ["init", "setup", "enter", "exit", "enter"]
    assert second.calls[-1] == "exit"


def test_the_ui_file_gives_each_widget_the_scene(opened: Callable[[str], Any], slicer_app: Any) -> None:
    widget = opened("TryOne")
    assert widget.ui.ctSelector.mrmlScene() is slicer_app.mrmlScene()
    assert widget.ui.applyButton.text == ""


def test_reload_reads_the_source_again_and_keeps_the_place_of_the_panel(make_module: Callable[[str], Path]) -> None:
    import slicer

    from slicer_standin import session

    folder = make_module("TryOne")
    old = session.open_module(folder)
    old_button, parent = old.ui.applyButton, old.parent
    source = folder / "TryOne.py"
    source.write_text(source.read_text().replace('["init"]', '["new init"]'))
    old.onReload()
    new = slicer.modules.TryOneWidget
    assert new is not old
    assert new.calls == ["new init", "setup"]  # not entered: Slicer does not do that on reload
    assert old.calls[-1] == "cleanup"
    assert new.parent is parent
    assert parent.layout().count() == 1
    assert not old_button.visible


def test_a_reloaded_module_has_left_no_observer_behind(opened: Callable[[str], Any], slicer_app: Any) -> None:
    import slicer

    from slicer_standin import leaks

    widget = opened("TryOne")
    before = leaks.snapshot()
    widget.onReload()
    old, widget = widget, None
    slicer_app.mrmlScene().Clear(False)
    assert "closing" not in old.calls
    assert "closing" in slicer.modules.TryOneWidget.calls
    assert leaks.snapshot().scene_observers <= before.scene_observers + 8  # the hidden old selector lives until its parent goes


def test_an_unloaded_module_leaves_nothing_behind(make_module: Callable[[str], Path]) -> None:
    import slicer

    from slicer_standin import leaks, session

    folder = make_module("TryOne")
    before = leaks.snapshot()
    session.open_module(folder)
    assert leaks.snapshot().grown(before)["panels"] == {"TryOneWidget": 1, "TryOneLogic": 1}
    session.close_modules()
    assert leaks.snapshot().grown(before) == {}
    assert not hasattr(slicer.modules, "tryone")
    assert "TryOne" not in sys.modules


def test_a_module_is_loaded_from_its_file_whatever_has_its_name(
    make_module: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from slicer_standin import session

    other = types.ModuleType("TryOne")
    monkeypatch.setitem(sys.modules, "TryOne", other)
    assert session.open_module(make_module("TryOne")).calls[0] == "init"
    session.close_modules()
    assert sys.modules["TryOne"] is other


def test_a_module_that_cannot_be_loaded_is_not_there(make_module: Callable[[str], Path]) -> None:
    import slicer

    from slicer_standin import session

    folder = make_module("TryOne")
    (folder / "TryOne.py").write_text("raise ValueError('broken')")
    with pytest.raises(ValueError, match="broken"):
        session.open_module(folder)
    assert "TryOne" not in sys.modules
    assert slicer.app.moduleManager().module("TryOne") is None


def test_cleanup_runs_when_the_application_ends(opened: Callable[[str], Any]) -> None:
    from slicer_standin import session

    widget = opened("TryOne")
    session.close_modules()
    assert widget.calls == ["init", "setup", "enter", "exit", "cleanup"]


def test_a_module_may_not_set_what_slicer_does_not_know(opened: Callable[[str], Any]) -> None:
    import slicer

    opened("TryOne")
    with pytest.raises(AttributeError, match="catgories"):
        slicer.modules.tryone.catgories = []


def test_each_module_hears_once_that_slicer_has_started(make_module: Callable[[str], Path]) -> None:
    from slicer_standin import session

    for name in ("TryOne", "TryTwo"):
        folder = make_module(name)
        source = folder / f"{name}.py"
        hook = '        self.started = []\n        slicer.app.connect("startupCompleted()", lambda: self.started.append(1))\n'
        source.write_text(
            source.read_text().replace('        parent.title = _("A title")\n', '        parent.title = _("A title")\n' + hook)
        )
        session.open_module(folder)
    import slicer

    assert (slicer.modules.TryOneInstance.started, slicer.modules.TryTwoInstance.started) == ([1], [1])


def test_an_unknown_module_raises(slicer_app: Any) -> None:  # noqa: ARG001
    import slicer

    with pytest.raises(RuntimeError, match="NoSuchModule"):
        slicer.util.getModule("NoSuchModule")
    with pytest.raises(RuntimeError, match="NoSuchModule"):
        slicer.util.selectModule("NoSuchModule")
    with pytest.raises(AttributeError):
        _ = slicer.modules.nosuchmodule


def test_the_test_of_a_module_runs_all_its_methods(opened: Callable[[str], Any]) -> None:
    import slicer

    opened("TryOne")
    slicer.selfTests["TryOne"]()
    assert sys.modules["TryOne"].TryOneTest.ran == ["setUp", "test"]


def test_a_module_without_a_test_class_fails_its_test(make_module: Callable[[str], Path]) -> None:
    import slicer

    from slicer_standin import session

    folder = make_module("TryOne")
    source = folder / "TryOne.py"
    source.write_text(source.read_text().replace("class TryOneTest", "class Other"))
    session.open_module(folder)
    with pytest.raises(AssertionError, match="TryOneTest"):
        slicer.selfTests["TryOne"]()


def test_the_icon_and_resources_are_found_beside_the_module(make_module: Callable[[str], Path]) -> None:
    import qt
    import slicer

    from slicer_standin import session

    folder = make_module("TryOne")
    icons = folder / "Resources" / "Icons"
    icons.mkdir()
    qt.QPixmap(8, 8).save(str(icons / "TryOne.png"))
    widget = session.open_module(folder)
    assert not slicer.modules.tryone.icon.isNull()
    assert Path(widget.resourcePath("UI/TryOne.ui")) == folder / "Resources" / "UI" / "TryOne.ui"


def test_the_parameter_node_is_one_for_each_module_and_scene(slicer_app: Any) -> None:
    from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

    class TryOneLogic(ScriptedLoadableModuleLogic):
        pass

    node = TryOneLogic().getParameterNode()
    assert TryOneLogic().getParameterNode() is node
    assert (node.GetAttribute("ModuleName"), node.GetSingletonTag()) == ("TryOne", "TryOne")
    slicer_app.mrmlScene().Clear(False)
    assert TryOneLogic().getParameterNode().GetAttribute("ModuleName") == "TryOne"
    assert len(TryOneLogic().getAllParameterNodes()) == 1


def test_there_may_be_several_parameter_nodes_when_a_logic_asks_for_it(slicer_app: Any) -> None:
    from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

    class TryOneLogic(ScriptedLoadableModuleLogic):
        pass

    logic = TryOneLogic()
    logic.isSingletonParameterNode = False
    first = logic.getParameterNode()
    slicer_app.mrmlScene().AddNode(logic.createParameterNode())
    assert logic.getParameterNode() is first
    assert len(logic.getAllParameterNodes()) == 2


def test_core_modules_have_their_logic_and_no_panel(slicer_app: Any) -> None:  # noqa: ARG001
    import slicer

    assert slicer.modules.segmentations.logic().IsA("vtkSlicerSegmentationsModuleLogic")
    assert slicer.util.getModuleLogic("Volumes") is slicer.modules.volumes.logic()
    with pytest.raises(NotImplementedError, match="Volumes"):
        slicer.util.getModuleWidget("Volumes")
