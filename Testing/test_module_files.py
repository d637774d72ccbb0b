"""The module files that Slicer loads: light at file scope, complete, and their own tests pass."""

from __future__ import annotations

import ast
import functools
import importlib.util
import json
import os
import subprocess
import sys
import types
import unittest
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from atlas_fixtures import REPOSITORY
from cmake_files import MODULES

HEAVY = (
    "torch",
    "monai",
    "onnxruntime",
    "pydantic",
    "nibabel",
    "scipy",
    "SimpleITK",
    "pydicom",
    "matplotlib",
    "distributed",
    "typer",
    "rich",
)
ALLOWED = {*sys.stdlib_module_names, "slicer", "vtk", "qt", "ctk", "numpy"}
ALLOWED_STATEMENTS = (ast.Import, ast.ImportFrom, ast.ClassDef, ast.FunctionDef)


def file_scope_faults(source: str) -> list[str]:
    """Return what a module file does at file scope besides light imports, definitions and constants."""
    faults = []
    for number, node in enumerate(ast.parse(source).body):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "."]
        faults += [f"line {node.lineno}: imports {name}" for name in names if name.partition(".")[0] not in ALLOWED]
        docstring = number == 0 and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        constant = isinstance(node, ast.Assign | ast.AnnAssign) and not any(isinstance(part, ast.Call) for part in ast.walk(node))
        for_checkers = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if not (isinstance(node, ALLOWED_STATEMENTS) or docstring or constant or for_checkers):
            faults.append(f"line {node.lineno}: runs code at file scope")
    return faults


def ui_names_used(source: str) -> set[str]:
    """Return every X of `ui.X`, `self.ui.X` and `self._ui.X` in Python source."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)]
    return {node.attr for node in nodes if ast.unparse(node.value).rpartition(".")[2] in {"ui", "_ui"}}


def ui_names(path: Path) -> list[str]:
    """Return the names of all widgets in a .ui file, in order."""
    return [widget.attrib["name"] for widget in ElementTree.parse(path).iter("widget")]


def qt_sources(repository: Path, module: str) -> list[Path]:
    """Return the Python files of a module that may touch its panel."""
    return [repository / module / f"{module}.py", *sorted((repository / module / f"{module}Lib").glob("panel_*.py"))]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_file_does_nothing_at_file_scope(repository: Path, module: str) -> None:
    assert file_scope_faults((repository / module / f"{module}.py").read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    ["import torch", "from nibabel import load", "from AtlasSegmentLib import labels", "print(1)", "x = f()", "if True:\n    import os"],
)
def test_heavy_imports_and_calls_at_file_scope_are_found(source: str) -> None:
    assert file_scope_faults('"""Doc."""\n' + source)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_file_defines_its_four_classes(repository: Path, module: str) -> None:
    tree = ast.parse((repository / module / f"{module}.py").read_text(encoding="utf-8"))
    bases = {node.name: [ast.unparse(base) for base in node.bases] for node in tree.body if isinstance(node, ast.ClassDef)}
    for suffix in ("", "Widget", "Logic", "Test"):
        assert bases[f"{module}{suffix}"][0] == f"ScriptedLoadableModule{suffix}"


@pytest.mark.parametrize("module", MODULES)
def test_translated_strings_are_plain_strings(repository: Path, module: str) -> None:
    for path in qt_sources(repository, module):
        calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
        wrong = [call.lineno for call in calls if ast.unparse(call.func) == "_" and not isinstance(call.args[0], ast.Constant)]
        assert wrong == [], f"{path}: translate a plain string, then fill it with .format(): lines {wrong}"


@pytest.mark.parametrize("module", MODULES)
def test_widgets_are_connected_so_that_they_can_be_disconnected(repository: Path, module: str) -> None:
    # Slicer's own connectGui returns no tag in some versions; panel_parameters.connectWidgets always does.
    assert [path.name for path in qt_sources(repository, module) if ".connectGui(" in path.read_text(encoding="utf-8")] == []


@pytest.mark.parametrize("module", MODULES)
def test_the_ui_file_is_well_formed_and_its_names_are_unique(repository: Path, module: str) -> None:
    path = repository / module / "Resources" / "UI" / f"{module}.ui"
    names = ui_names(path)
    assert names[0] == module
    assert len(names) == len({*names})
    top = next(ElementTree.parse(path).iter("widget"))
    assert top.attrib["class"] == "qMRMLWidget"


@pytest.mark.parametrize("module", MODULES)
def test_every_widget_that_python_uses_exists_in_the_ui_file(repository: Path, module: str) -> None:
    used = {name for path in qt_sources(repository, module) for name in ui_names_used(path.read_text(encoding="utf-8"))}
    assert used <= {*ui_names(repository / module / "Resources" / "UI" / f"{module}.ui")}


def test_widget_names_are_read_from_python() -> None:
    assert ui_names_used("self.ui.applyButton.connect('clicked()', f)\nui.label.text = x\nself.x.y = 1") == {"applyButton", "label"}


def loaded(name: str) -> types.ModuleType:
    """Return a module file as Slicer imports it; the stand-in must run."""
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / name / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where Slicer puts it, too: annotations are looked up there
    spec.loader.exec_module(module)
    return module


@pytest.mark.usefixtures("slicer_app")
@pytest.mark.parametrize("module", MODULES)
def test_the_modules_own_tests_pass(module: str) -> None:
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(getattr(loaded(module), f"{module}Test"))
    result = unittest.TestResult()
    suite.run(result)
    assert result.testsRun > 0
    assert result.wasSuccessful(), result.errors + result.failures


@pytest.mark.usefixtures("slicer_app")
@pytest.mark.parametrize("module", MODULES)
def test_reload_and_test_runs_every_test_of_the_module(module: str) -> None:
    case = getattr(loaded(module), f"{module}Test")  # a copy of its own: what is replaced in it is gone with it
    called: list[str] = []
    for name in unittest.defaultTestLoader.getTestCaseNames(case):
        if name.startswith("test_"):
            setattr(case, name, functools.partial(called.append, name))
    case("runTest").runTest()
    assert sorted(called) == sorted(n for n in dir(case) if n.startswith("test_"))


@pytest.mark.usefixtures("slicer_app")
@pytest.mark.parametrize("module", MODULES)
def test_the_module_tells_slicer_its_title_category_and_help(module: str) -> None:
    file = loaded(module)
    parent = types.SimpleNamespace(path=str(file.__file__))
    getattr(file, module)(parent)
    assert parent.title == module.replace("Atlas", "Atlas ")
    assert parent.categories == ["Segmentation"]
    assert parent.helpText.endswith(".")


# Starting the stand-in takes seconds, so it is done once; each import is then one of a fork, where no other module has been imported.
IMPORT = """
import json, os, sys, time
modules = sys.argv[1].split(",")
sys.path[:0] = sys.argv[2:]
import slicer_standin
slicer_standin.start()

def load(name):
    before, start = set(sys.modules), time.process_time()
    __import__(name)
    return {"seconds": time.process_time() - start, "loaded": sorted(set(sys.modules) - before)}

for name in [*modules, *modules]:  # the first run may have to compile the file
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            print(json.dumps({"name": name, **load(name)}), flush=True)
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0, name
"""


@functools.cache
def imports() -> list[dict[str, Any]]:
    """Return what each import of a module file has loaded, and the seconds of CPU time; two of each module."""
    folders = [str(REPOSITORY / "Testing"), *(str(REPOSITORY / name) for name in MODULES)]
    done = subprocess.run([sys.executable, "-c", IMPORT, ",".join(MODULES), *folders], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


@pytest.mark.skipif(os.name == "nt", reason="forks")
@pytest.mark.parametrize("module", MODULES)
def test_importing_a_module_file_loads_nothing_heavy_within_a_tenth_of_a_second(module: str, started_slicer: object) -> None:
    assert started_slicer  # skips where the stand-in cannot run
    runs = [run for run in imports() if run["name"] == module]
    assert len(runs) == 2
    packages = {name.partition(".")[0] for name in runs[-1]["loaded"]}
    assert module in packages
    assert packages & {*HEAVY} == set()
    print(f"{module}: {runs[-1]['seconds']:.3f} s of CPU time, {len(runs[-1]['loaded'])} modules")
    assert min(run["seconds"] for run in runs) < 0.1
