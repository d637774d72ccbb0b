"""The libraries import without Slicer and without any heavy package."""

from __future__ import annotations

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


def import_all(names: list[str], folders: list[Path]) -> subprocess.CompletedProcess[str]:
    """Import modules one after another in a fresh Python where no heavy package can be imported."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}
    command = [sys.executable, "-W", "error", "-c", PROGRAM, ",".join(HEAVY), ",".join(names)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def library_modules(repository: Path, module: str) -> list[str]:
    """Return the dotted names of a library's modules besides those that belong to Slicer (scene.py, panel_*.py)."""
    files = sorted((repository / module / f"{module}Lib").rglob("*.py"))
    kept = [path for path in files if path.name != "scene.py" and not path.name.startswith("panel_")]
    dotted = [".".join(path.relative_to(repository / module).with_suffix("").parts) for path in kept]
    return [name.removesuffix(".__init__") for name in dotted]


@pytest.mark.parametrize("module", MODULES)
def test_every_library_module_imports_without_heavy_packages(repository: Path, module: str) -> None:
    done = import_all(library_modules(repository, module), [repository / name for name in MODULES])
    assert done.returncode == 0, done.stderr


def test_a_heavy_import_at_the_top_of_a_file_is_found(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import matplotlib.pyplot\n")
    (tmp_path / "late.py").write_text("def draw():\n    import matplotlib.pyplot\n")
    assert import_all(["late"], [tmp_path]).returncode == 0
    done = import_all(["slow", "late"], [tmp_path])
    assert done.returncode == 1
    assert done.stderr.startswith("slow ")
