"""Packages are installed in one place, asked for, with lower bounds, and torch never by us."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from cmake_files import MODULES

INSTALLERS = {"pip_install", "pip_ensure", "pip_uninstall", "installTorch"}


def module_sources(repository: Path) -> list[Path]:
    """Return every Python file that Slicer loads."""
    return [path for module in MODULES for path in (repository / module).rglob("*.py") if "Testing" not in path.parts]


def called_names(source: str) -> set[str]:
    """Return the last name of everything that is called."""
    calls = [node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return {call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "") for call in calls}


def test_only_one_file_installs_packages(repository: Path) -> None:
    found = {path.name for path in module_sources(repository) if called_names(path.read_text(encoding="utf-8")) & INSTALLERS}
    assert found == {"panel_packages.py"}


@pytest.mark.parametrize("module", MODULES)
def test_requirements_are_lower_bounds_and_leave_what_slicer_ships_alone(repository: Path, module: str) -> None:
    path = repository / module / "Resources" / "requirements.txt"
    lines = [line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []
    for line in filter(None, lines):
        name, _, marker = line.partition(";")
        match = re.fullmatch(r"([A-Za-z0-9-]+)>=[\d.]+", name.strip())
        assert match, f"{path.name}: {line!r} is no lower bound"
        assert match[1].lower() not in {"torch", "numpy", "scipy", "simpleitk", "vtk", "pydicom", "requests"}, marker


def test_only_segmentation_needs_packages(repository: Path) -> None:
    assert [m for m in MODULES if (repository / m / "Resources" / "requirements.txt").is_file()] == ["AtlasSegment"]


def test_called_names_sees_methods_and_functions() -> None:
    assert called_names("slicer.util.pip_install('x')\npip_ensure([])") == {"pip_install", "pip_ensure"}
