"""What ``qt`` offers beside properties and signals, and only what Qt 5.15 and Qt 6 share."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def qt(slicer_app: object) -> ModuleType:  # noqa: ARG001
    import qt

    return qt


def test_all_classes_are_in_one_name_space(qt: ModuleType) -> None:
    for name in ("QObject", "QTimer", "QIcon", "QAction", "QShortcut", "QWidget", "QUiLoader", "QStandardItemModel", "QSettings"):
        assert hasattr(qt, name), name


def test_an_unknown_name_raises(qt: ModuleType) -> None:
    with pytest.raises(AttributeError, match="QFancyWidget"):
        _ = qt.QFancyWidget


def test_names_that_only_qt6_has_are_missing(qt: ModuleType) -> None:
    assert not hasattr(qt, "QKeyCombination")
    with pytest.raises(AttributeError, match="checkStateChanged"):
        _ = qt.QCheckBox().checkStateChanged
    with pytest.raises(ValueError, match="checkStateChanged"):
        qt.QCheckBox().connect("checkStateChanged(Qt::CheckState)", print)


def test_names_that_only_qt5_had_are_missing(qt: ModuleType) -> None:
    for name in ("QRegExp", "QDesktopWidget", "QStringRef"):
        assert not hasattr(qt, name), name


def test_exec_with_underscore_runs_a_loop_and_returns_an_int(qt: ModuleType) -> None:
    loop = qt.QEventLoop()
    qt.QTimer.singleShot(0, lambda: loop.exit(3))
    assert loop.exec_() == 3


def test_a_variant_is_its_value(qt: ModuleType) -> None:
    assert qt.QVariant("x") == "x"
    assert qt.QVariant() is None


def test_a_color_names_itself(qt: ModuleType) -> None:
    assert qt.QColor(255, 0, 16).name() == "#ff0010"


def test_settings_never_touch_the_users_own(qt: ModuleType, slicer_app: Any) -> None:
    settings = qt.QSettings()
    settings.setValue("AtlasAnnotator/threshold", 0.5)
    settings.setValue("AtlasAnnotator/folders", ["a", "b"])
    settings.sync()
    assert Path(settings.fileName()).is_relative_to(slicer_app.temporaryPath)
    assert float(qt.QSettings().value("AtlasAnnotator/threshold")) == 0.5
    assert list(qt.QSettings().value("AtlasAnnotator/folders")) == ["a", "b"]
    assert "qttest" in qt.QStandardPaths.writableLocation(qt.QStandardPaths.AppDataLocation)
    settings.remove("AtlasAnnotator")


def test_the_clipboard_works(qt: ModuleType) -> None:
    qt.QApplication.clipboard().setText("case 7")
    assert qt.QApplication.clipboard().text() == "case 7"


def test_a_process_runs_and_reports(qt: ModuleType) -> None:
    process, loop, codes = qt.QProcess(), qt.QEventLoop(), []
    process.connect("finished(int,QProcess::ExitStatus)", lambda code: (codes.append(code), loop.quit()))
    process.start(sys.executable, ["-c", "print('hello')"])
    loop.exec_()
    assert codes == [0]
    assert process.readAllStandardOutput().data().strip() == b"hello"


def test_items_keep_data_of_a_role(qt: ModuleType) -> None:
    item = qt.QTableWidgetItem("liver")
    item.setData(qt.Qt.UserRole, {"hot spot": 3})
    assert item.data(qt.Qt.UserRole) == {"hot spot": 3}


def test_none_survives_any_number_of_calls(slicer_app: object) -> None:  # noqa: ARG001
    script = "import slicer_standin; slicer_standin.install_qt(); import qt; app = qt.QApplication([]); label = qt.QLabel()\n"
    script += "for _ in range(50000): label.setText('x')\nprint('alive')"
    assert run(["-c", script]).stdout.strip() == "alive"


def test_qt_imported_too_early_is_refused(slicer_app: object, tmp_path: Path) -> None:  # noqa: ARG001
    script = tmp_path / "early.py"
    script.write_text("import PySide6.QtCore, slicer_standin\nslicer_standin.install_qt()\n")
    assert "was imported before slicer_standin" in run([str(script)]).stderr


def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Run Python with the stand-in on its path."""
    folder = Path(sys.modules["slicer_standin"].__file__ or "").parent.parent
    return subprocess.run([sys.executable, *arguments], env={"PYTHONPATH": str(folder)}, capture_output=True, text=True, check=False)
