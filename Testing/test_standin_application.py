"""slicer.app and the Python modules that the running Slicer adds: i18n, packaging, SampleData, subject hierarchy items, versions."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def test_the_application_tells_its_version_and_folders(slicer_app: Any) -> None:
    assert (slicer_app.majorVersion, slicer_app.minorVersion) == (5, 12)
    assert slicer_app.applicationName == "Slicer"
    assert Path(slicer_app.temporaryPath).is_dir()
    assert slicer_app.mainWindow().objectName == "qSlicerMainWindow"
    assert not slicer_app.testingEnabled()


def test_a_name_that_slicer_does_not_have_raises(slicer_app: Any) -> None:
    import slicer

    with pytest.raises(AttributeError):
        _ = slicer_app.layoutManger
    with pytest.raises(AttributeError):
        _ = slicer.qMRMLNoSuchWidget
    with pytest.raises(AttributeError):
        slicer_app.layoutManager().sliceWidget("Red").sliceLogics()
    with pytest.raises(AttributeError):
        slicer_app.coreIOManager().loadNode("x")


def test_settings_are_kept_in_a_folder_of_the_test_run_and_forgotten(slicer_app: Any) -> None:
    import slicer

    settings = slicer_app.userSettings()
    assert settings.fileName().startswith(slicer_app.temporaryPath)
    settings.setValue("AtlasSegment/Device", "cpu")
    assert slicer.util.settingsValue("AtlasSegment/Device", "auto") == "cpu"
    from slicer_standin import session

    session.reset()
    assert slicer.util.settingsValue("AtlasSegment/Device", "auto") == "auto"


def test_the_scene_has_the_default_nodes_and_colors(slicer_app: Any) -> None:
    import slicer

    scene = slicer_app.mrmlScene()
    assert slicer.mrmlScene is scene
    for name in ("vtkMRMLSelectionNode", "vtkMRMLInteractionNode", "vtkMRMLCrosshairNode", "vtkMRMLLayoutNode", "vtkMRMLCameraNode"):
        assert scene.GetNumberOfNodesByClass(name) == 1, name
    assert scene.GetNodeByID("vtkMRMLColorTableNodeGrey") is not None
    assert slicer.modules.colors.logic().GetDefaultVolumeColorNodeID() == "vtkMRMLColorTableNodeGrey"


def test_the_terminology_knows_organs(slicer_app: Any) -> None:  # noqa: ARG001
    import slicer

    from slicer_standin.application_logic import terminology_folder

    if terminology_folder() is None:
        pytest.skip("needs Slicer's terminology files: pip install trame-slicer")
    entry = slicer.vtkSlicerTerminologyEntry()
    logic = slicer.modules.terminologies.logic()
    assert logic.FindTypeInTerminologyBy3dSlicerLabel("Segmentation category and type - 3D Slicer General Anatomy list", "liver", entry)
    assert entry.GetTypeObject().GetCodeMeaning() == "Liver"


# slicer.i18n


def test_a_text_without_translation_stays(slicer_app: Any) -> None:  # noqa: ARG001
    from slicer.i18n import tr as _

    assert _("Saved {count} cases").format(count=3) == "Saved 3 cases"


def test_a_text_is_translated_in_the_context_of_its_file(slicer_app: Any) -> None:  # noqa: ARG001
    from slicer.i18n import getContext, translate
    from slicer.i18n import tr as _

    from slicer_standin import translation

    context = Path(__file__).stem
    assert getContext(__file__) == context
    translation.set_translations({(context, "liver"): "Leber", ("other", "spleen"): "Milz"})
    assert _("liver") == "Leber"
    assert _("spleen") == "spleen"
    assert translate("other", "spleen") == "Milz"


def test_the_context_of_a_file_in_a_package_has_the_packages_name(slicer_app: Any, tmp_path: Path) -> None:  # noqa: ARG001
    from slicer.i18n import getContext

    package = tmp_path / "AtlasSegmentLib"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "panel.py").touch()
    assert getContext(str(package / "panel.py")) == "AtlasSegmentLib.panel"


def test_a_translation_with_other_placeholders_is_not_used(slicer_app: Any, caplog: pytest.LogCaptureFixture) -> None:  # noqa: ARG001
    from slicer.i18n import tr as _

    from slicer_standin import translation

    translation.set_translations({(Path(__file__).stem, "delete {count} files"): "{zahl} Dateien"})
    with caplog.at_level(logging.WARNING):
        assert _("delete {count} files") == "delete {count} files"
    assert "placeholders" in caplog.text


# slicer.packaging and slicer.util.pip_install


def test_packaging_is_there_since_slicer_5_11(slicer_app: Any) -> None:
    import importlib

    import slicer

    from slicer_standin import application

    assert importlib.import_module("slicer.packaging") is slicer.packaging
    application.set_version((5, 10))
    with pytest.raises(ImportError):
        importlib.import_module("slicer.packaging")
    assert not hasattr(slicer, "packaging")
    assert slicer_app.minorVersion == 10
    slicer.util.pip_install("numpy")
    application.set_version((5, 12))
    assert importlib.import_module("slicer.packaging").pip_check("numpy")


@pytest.fixture
def recorder(slicer_app: Any) -> Any:  # noqa: ARG001
    from slicer_standin import installer

    return installer.recorder


def test_what_is_there_is_not_asked_for(recorder: Any) -> None:
    import slicer

    slicer.packaging.pip_ensure(["numpy>=1.20", "pywin32; sys_platform == 'win32'"], requester="Atlas Segment")
    assert recorder.installed == []


def test_what_is_missing_is_asked_for_once_and_then_there(recorder: Any, answers: Any) -> None:
    import slicer

    recorder.pretend_missing("onnx_runtime", "numpy")
    answers.yes()
    slicer.packaging.pip_ensure(["numpy>=1.20", "onnx-runtime"], requester="Atlas Segment")
    assert recorder.installed == [["numpy>=1.20", "onnx-runtime"]]
    assert slicer.packaging.pip_check("numpy")
    assert [kind for kind, _ in answers.shown] == ["question"]
    assert "2 Python packages" in answers.shown[0][1]
    assert "- numpy>=1.20" in answers.details[0]


def test_a_refusal_raises_and_installs_nothing(recorder: Any, answers: Any) -> None:
    import slicer

    recorder.pretend_missing("numpy")
    answers.no()
    with pytest.raises(RuntimeError, match="declined"):
        slicer.packaging.pip_ensure("numpy")
    assert recorder.installed == []
    assert not slicer.packaging.pip_check("numpy")


def test_a_failing_installation_raises_as_pip_does(recorder: Any) -> None:
    import slicer

    recorder.pretend_missing("numpy")
    recorder.fails = True
    with pytest.raises(subprocess.CalledProcessError):
        slicer.util.pip_install("numpy --upgrade")
    assert recorder.installed == [["numpy", "--upgrade"]]
    assert not slicer.packaging.pip_check("numpy")


@pytest.mark.parametrize("fails", [False, True])
def test_an_installation_in_the_background_tells_its_exit_code(recorder: Any, fails: bool) -> None:
    import slicer

    recorder.pretend_missing("numpy")
    recorder.fails = fails
    codes: list[int] = []
    slicer.packaging.pip_install("numpy", blocking=False, completedCallback=codes.append)
    assert codes == [int(fails)]
    assert slicer.packaging.pip_check("numpy") is not fails


def test_in_testing_mode_nothing_is_installed_or_asked(recorder: Any, answers: Any) -> None:
    import slicer

    from slicer_standin import application

    recorder.pretend_missing("numpy")
    application.set_testing(True)
    slicer.packaging.pip_ensure("numpy")
    slicer.util.confirmOkCancelDisplay("Really?")
    assert (recorder.installed, answers.shown) == ([], [])


def test_requirements_are_read_from_a_file(slicer_app: Any, tmp_path: Path) -> None:  # noqa: ARG001
    import slicer

    path = tmp_path / "requirements.txt"
    path.write_text("# needed\nonnxruntime>=1.17  # engine\n\n--prefer-binary\nnumpy\n")
    assert [str(item) for item in slicer.packaging.load_requirements(path)] == ["onnxruntime>=1.17", "numpy"]


# SampleData


def test_a_sample_is_a_small_ct_unless_the_test_names_a_file(slicer_app: Any, tmp_path: Path) -> None:  # noqa: ARG001
    import SampleData
    import slicer

    from slicer_standin import sample_data

    phantom = SampleData.downloadSample("CTChest")
    values = slicer.util.arrayFromVolume(phantom)
    assert phantom.GetName() == "CTChest"
    assert (values.min(), values.max()) == (-1000, 600)
    slicer.util.saveNode(phantom, str(tmp_path / "own.nrrd"))
    sample_data.files["CTAbdomen"] = tmp_path / "own.nrrd"
    assert SampleData.downloadSample("CTAbdomen").GetStorageNode().GetFileName() == str(tmp_path / "own.nrrd")
    assert sample_data.requested == ["CTChest", "CTAbdomen"]


def test_a_registered_source_is_found_and_kept_once(slicer_app: Any) -> None:  # noqa: ARG001
    import SampleData
    import slicer

    logic = SampleData.SampleDataLogic
    for _ in range(2):
        logic.registerCustomSampleDataSource(
            category="Atlas", sampleName="AtlasTorso", uris="https://example.org/ct.nii.gz", fileNames="ct.nii.gz", nodeNames="Torso"
        )
    assert [source.sampleName for source in slicer.modules.sampleDataSources["Atlas"]] == ["AtlasTorso"]
    assert SampleData.downloadSample("AtlasTorso").GetName() == "Torso"
    with pytest.raises(TypeError):
        logic.registerCustomSampleDataSource(category="Atlas", sampleName="x", uri="https://example.org")


# Subject hierarchy


def test_data_nodes_get_an_item_and_others_do_not(slicer_app: Any) -> None:
    import slicer

    scene = slicer_app.mrmlScene()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    for name in ("vtkMRMLScalarVolumeNode", "vtkMRMLSegmentationNode", "vtkMRMLTableNode", "vtkMRMLMarkupsFiducialNode"):
        assert hierarchy.GetItemByDataNode(scene.AddNewNodeByClass(name)), name
    for name in ("vtkMRMLScriptedModuleNode", "vtkMRMLScalarVolumeDisplayNode", "vtkMRMLColorTableNode"):
        assert not hierarchy.GetItemByDataNode(scene.AddNewNodeByClass(name)), name


def test_the_item_goes_with_its_node(slicer_app: Any) -> None:
    import slicer
    import vtk

    scene = slicer_app.mrmlScene()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    items = vtk.vtkIdList()
    hierarchy.GetItemChildren(hierarchy.GetSceneItemID(), items)
    assert items.GetNumberOfIds() == 1
    scene.RemoveNode(volume)
    hierarchy.GetItemChildren(hierarchy.GetSceneItemID(), items)
    assert items.GetNumberOfIds() == 0


# Observers and the count of what is left behind


def test_an_error_in_an_observer_is_a_fault(slicer_app: Any) -> None:
    import slicer

    from slicer_standin import faults

    def broken(_caller: Any, _event: str) -> None:
        message = "broken observer"
        raise ValueError(message)

    scene = slicer_app.mrmlScene()
    tag = scene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, broken)
    scene.AddNewNodeByClass("vtkMRMLModelNode")
    scene.RemoveObserver(tag)
    assert any("broken observer" in fault for fault in faults.reported())
    faults.clear()


def test_the_observation_mixin_is_slicers_own(slicer_app: Any) -> None:
    import slicer

    class Watcher(slicer.util.VTKObservationMixin):
        def __init__(self) -> None:
            super().__init__()
            self.seen = 0

        def note(self, _caller: Any, _event: str) -> None:
            self.seen += 1

    watcher = Watcher()
    scene = slicer_app.mrmlScene()
    watcher.addObserver(scene, scene.EndCloseEvent, watcher.note)
    scene.Clear(False)
    watcher.removeObservers()
    scene.Clear(False)
    assert watcher.seen == 1


# Each leaves something behind and returns a function that takes it away again.


def leave_node() -> Any:
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode")
    return lambda: slicer.mrmlScene.RemoveNode(node)


def leave_scene_observer() -> Any:
    import slicer

    tag = slicer.mrmlScene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, lambda *_: None)
    return lambda: slicer.mrmlScene.RemoveObserver(tag)


def leave_view_observer() -> Any:
    import slicer

    interactor = slicer.app.layoutManager().sliceWidget("Red").sliceView().interactor()
    tag = interactor.AddObserver("MouseMoveEvent", lambda *_: None)
    return lambda: interactor.RemoveObserver(tag)


def leave_window() -> Any:
    import qt

    window = qt.QWidget()
    window.show()
    return window.deleteLater


def leave_shortcut() -> Any:
    import qt
    import slicer

    return qt.QShortcut(qt.QKeySequence("K"), slicer.util.mainWindow()).deleteLater


def leave_timer() -> Any:
    import qt

    timer = qt.QTimer()
    timer.start(100000)
    return timer.stop


def leave_process() -> Any:
    pytest.importorskip("psutil", reason="counting child processes needs psutil")
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    return lambda: process.communicate(b"\n")


LEFT = {
    "nodes": leave_node,
    "scene_observers": leave_scene_observer,
    "view_observers": leave_view_observer,
    "windows": leave_window,
    "shortcuts": leave_shortcut,
    "timers": leave_timer,
    "processes": leave_process,
}


@pytest.mark.parametrize("what", LEFT)
def test_what_is_left_behind_is_counted(slicer_app: Any, what: str) -> None:  # noqa: ARG001
    from slicer_standin import leaks

    before = leaks.snapshot()
    assert leaks.snapshot().grown(before) == {}
    take_away = LEFT[what]()
    assert list(leaks.snapshot().grown(before)) == [what]
    take_away()
    del take_away
    assert leaks.snapshot().grown(before) == {}


# The fixtures


def test_waiting_ends_when_the_condition_holds_and_fails_when_it_never_does(slicer_app: Any, wait_until: Any) -> None:  # noqa: ARG001
    import qt

    fired: list[int] = []
    qt.QTimer.singleShot(20, lambda: fired.append(1))
    wait_until(lambda: fired)
    with pytest.raises(AssertionError, match="did not become true"):
        wait_until(lambda: len(fired) > 1, seconds=0.05)


def test_waiting_ends_at_once_when_a_slot_fails(slicer_app: Any, wait_until: Any) -> None:  # noqa: ARG001
    import qt

    def broken() -> None:
        message = "broken timer"
        raise ValueError(message)

    qt.QTimer.singleShot(10, broken)
    with pytest.raises(AssertionError, match="broken timer"):
        wait_until(lambda: False, seconds=20)


def test_the_reason_is_told_when_packages_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    import standin_fixtures

    assert standin_fixtures.missing_packages() == []
    monkeypatch.setattr(standin_fixtures, "NEEDED", {"no_such_module_here": "slicer-core", "sys": "x"})
    assert standin_fixtures.missing_packages() == ["slicer-core"]


def test_the_plug_in_loads_nothing_heavy() -> None:
    code = "import sys, standin_fixtures; print(sorted({'slicer', 'PySide6', 'vtk', 'numpy'} & set(sys.modules)))"
    folder = Path(__file__).parent
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
