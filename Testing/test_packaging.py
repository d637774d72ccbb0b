"""A plain pip installation holds the three libraries, the program and the shared resources."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cmake_files import MODULES, expected_shared


@pytest.fixture(scope="module")
def site(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install a copy of the checkout with pip, not editable and without dependencies; return the folder."""
    top = tmp_path_factory.mktemp("pip")
    source, target = top / "source", top / "site"
    # A copy: setuptools writes build/ beside the sources, and a stale one would hide what is missing.
    for name in (*MODULES, "Resources"):
        shutil.copytree(repository / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "LICENSE.txt", "README.md"):
        shutil.copy(repository / name, source / name)
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target", str(target), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return target


def test_the_libraries_are_complete(repository: Path, site: Path) -> None:
    for module in MODULES:
        library = repository / module / f"{module}Lib"
        expected = {path.relative_to(library) for path in library.rglob("*.py")}
        found = {path.relative_to(site / library.name) for path in (site / library.name).rglob("*.py")}
        assert found == expected


def test_the_shared_resources_lie_inside_the_first_library(repository: Path, site: Path) -> None:
    resources = site / "AtlasSegmentLib" / "Resources"
    found = {path.relative_to(resources).as_posix() for path in resources.rglob("*") if path.is_file()}
    assert found == {*expected_shared(repository / "Resources")}


def test_resources_are_found_in_the_installation(site: Path, tmp_path: Path) -> None:
    program = "from AtlasSegmentLib.resources import resource_path; print(resource_path('Labels', 'structures.json'))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(site)


def test_nothing_else_is_installed(site: Path) -> None:
    folders = {path.name for path in site.iterdir() if not path.name.endswith(".dist-info")}
    assert folders == {"AtlasSegmentLib", "AtlasQualityLib", "AtlasReviewLib", "bin"}


def test_the_program_is_declared(site: Path) -> None:
    (declared,) = site.glob("slicer_atlas_annotator-*.dist-info/entry_points.txt")
    assert "atlas = AtlasReviewLib.program:main" in declared.read_text(encoding="utf-8").splitlines()
