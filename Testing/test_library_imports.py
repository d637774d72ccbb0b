"""The libraries import without Slicer and without any heavy package."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cmake_files import MODULES

HEAVY = (
    "torch", "monai", "onnxruntime", "onnx", "dask", "distributed", "psutil", "matplotlib", "SimpleITK", "pydicom", "sklearn", "pandas",
    "slicer", "vtk", "qt", "ctk",
)  # fmt: skip

# Slicer's own Python has numpy, scipy, SimpleITK and pydicom, and none of these.
NOT_IN_SLICER = (*HEAVY, "nibabel", "pydantic", "typer", "rich", "isal", "cc3d", "sqlalchemy")
COMMAND_LINE = ("commands", "commands_", "console", "program", "report", "train_")
"""Beginnings of modules that only the command line uses; it has packages that Slicer lacks."""
NEEDS_MODELS = {
    "model",
    "model_manifest",
    "onnx_network",
    "inference",
    "intensity",
    "segment_case",
    "segment_request",
    "model_cache",
    "monai_bundle",
    "onnx_export",
    "onnx_quantize",
    "onnx_sources",
    "sliding_window",
    "tasks",
    "universal_model",
    "window_input",
    "window_model",
    "window_result",
    "run_case",
    *("quality_calibration", "quality_case", "quality_evaluation", "quality_manifest", "quality_model", "quality_predict"),
    *("quality_report", "quality_training", "quality_training_export", "quality_training_run"),
    *("quality_case_masks", "quality_settings", "quality_training_figures", "quality_training_start"),
    "demo_correction",
}
"""AtlasSegment asks for its packages; what runs a model may need them at its top."""
NEEDS_WORKLIST = {
    *("worklist_next", "worklist_postgres", "worklist_schema", "worklist_sqlite", "worklist_transaction"),
    *("version_1", "version_2", "version_3"),
}
"""AtlasReview asks for its packages before it opens a worklist; what opens one may need them at its top."""

# A name that is None in sys.modules cannot be imported, as if it were not installed; what a library imports at its top fails.
# Looking at sys.modules afterwards would not do: nibabel imports pydicom by itself where it is installed.
PROGRAM = """
import importlib, sys, traceback
heavy, names = sys.argv[1].split(","), sys.argv[2].split(",")
sys.modules.update(dict.fromkeys(heavy))
failed = False
for name in names:
    try:
        importlib.import_module(name)
    except ImportError:
        failed = True
        print(name, traceback.format_exc(limit=-2), file=sys.stderr)
sys.exit(failed)
"""


def import_all(names: list[str], folders: list[Path], missing: tuple[str, ...] = HEAVY) -> subprocess.CompletedProcess[str]:
    """Import modules one after another in a fresh Python where none of the `missing` packages can be imported."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}
    command = [sys.executable, "-W", "error", "-c", PROGRAM, ",".join(missing), ",".join(names)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def imported_names(source: str) -> list[str]:
    """Return the modules that Python source imports anywhere, in order."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append(node.module or "")
    return found


def library_modules(repository: Path, module: str) -> list[str]:
    """Return the dotted names of a library's modules besides those that belong to Slicer (scene*.py, panel_*.py)."""
    files = sorted((repository / module / f"{module}Lib").rglob("*.py"))
    kept = [path for path in files if not path.name.startswith(("scene.py", "scene_", "panel_"))]
    dotted = [".".join(path.relative_to(repository / module).with_suffix("").parts) for path in kept]
    return [name.removesuffix(".__init__") for name in dotted]


@pytest.mark.parametrize("module", MODULES)
def test_every_library_module_imports_without_heavy_packages(repository: Path, module: str) -> None:
    done = import_all(library_modules(repository, module), [repository / name for name in MODULES])
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", MODULES)
def test_what_the_panels_use_imports_with_what_slicer_ships(repository: Path, module: str) -> None:
    folders = [repository / name for name in MODULES]
    last = {name: name.rpartition(".")[2] for name in library_modules(repository, module)}
    names = [name for name in last if last[name] not in NEEDS_MODELS | NEEDS_WORKLIST and not last[name].startswith(COMMAND_LINE)]
    done = import_all(names, folders, NOT_IN_SLICER)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", MODULES)
def test_scene_files_never_touch_qt_and_only_scene_and_panel_files_touch_slicer(repository: Path, module: str) -> None:
    for path in sorted((repository / module / f"{module}Lib").glob("*.py")):
        imported = {name.partition(".")[0] for name in imported_names(path.read_text(encoding="utf-8"))}
        allowed = {"slicer", "vtk", "qt", "ctk"} if path.name.startswith("panel_") else set()
        allowed = {"slicer", "vtk"} if path.name.startswith(("scene.py", "scene_")) else allowed
        assert imported & {"slicer", "vtk", "qt", "ctk"} <= allowed, path


def test_an_import_inside_a_function_is_seen() -> None:
    assert imported_names("def f():\n    import qt\n    from slicer.util import x\n") == ["qt", "slicer.util"]


def test_a_heavy_import_at_the_top_of_a_file_is_found(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import matplotlib.pyplot\n")
    (tmp_path / "late.py").write_text("def draw():\n    import matplotlib.pyplot\n")
    assert import_all(["late"], [tmp_path]).returncode == 0
    done = import_all(["slow", "late"], [tmp_path])
    assert done.returncode == 1
    assert done.stderr.startswith("slow ")
