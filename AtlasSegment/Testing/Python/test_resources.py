"""The shared Resources folder is found in every way the software can be installed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.resources import resource_path

REPOSITORY = Path(__file__).resolve().parents[3]
IGNORED = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", ".git")
ASK = """
import json, sys
from AtlasSegmentLib import resources
from AtlasSegmentLib.labels import load_table
path = resources.resource_path("Labels", "structures.json")
print(json.dumps([resources.__file__, str(path), load_table("abdomenatlas").value_of("gallbladder")]))
"""


def found_from(search_path: Path, cwd: Path) -> tuple[Path, Path]:
    """Return (library file, resource file) as a fresh Python sees them with only `search_path` added."""
    code = f"import sys; sys.path.insert(0, {str(search_path)!r})\n{ASK}"
    command = [sys.executable, "-P" if sys.version_info >= (3, 11) else "-B", "-c", code]
    environment = {"PYTHONDONTWRITEBYTECODE": "1", "PATH": ""}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    library, resource, gall_bladder = json.loads(done.stdout)
    assert gall_bladder == 4
    return Path(library), Path(resource)


def copy_checkout(target: Path) -> Path:
    """Copy what a source checkout or a build needs."""
    for folder in ("AtlasSegment", "AtlasQuality", "AtlasReview", "Resources"):
        if (REPOSITORY / folder).is_dir():
            shutil.copytree(REPOSITORY / folder, target / folder, ignore=IGNORED)
    for name in ("pyproject.toml", "README.md", "LICENSE.txt"):
        if (REPOSITORY / name).is_file():
            shutil.copy(REPOSITORY / name, target / name)
    (target / "README.md").touch()  # the build wants one; its text is not what is tested here
    return target


def test_source_checkout_uses_the_resources_beside_the_modules(tmp_path: Path) -> None:
    checkout = copy_checkout(tmp_path / "checkout")
    library, resource = found_from(checkout / "AtlasSegment", tmp_path)
    assert library.is_relative_to(tmp_path)
    assert resource == checkout / "Resources" / "Labels" / "structures.json"


def test_source_checkout_is_not_confused_by_the_icons_of_the_module(tmp_path: Path) -> None:
    checkout = copy_checkout(tmp_path / "checkout")
    (checkout / "AtlasSegment" / "Resources" / "Icons").mkdir(parents=True, exist_ok=True)
    _, resource = found_from(checkout / "AtlasSegment", tmp_path)
    assert resource == checkout / "Resources" / "Labels" / "structures.json"


def test_slicer_uses_the_resources_in_its_flat_module_folder(tmp_path: Path) -> None:
    flat = tmp_path / "lib" / "Slicer-5.8" / "qt-scripted-modules"
    shutil.copytree(REPOSITORY / "AtlasSegment" / "AtlasSegmentLib", flat / "AtlasSegmentLib", ignore=IGNORED)
    shutil.copytree(REPOSITORY / "Resources" / "Labels", flat / "Resources" / "Labels")
    (flat / "Resources" / "Icons").mkdir()
    library, resource = found_from(flat, tmp_path)
    assert library == flat / "AtlasSegmentLib" / "resources.py"
    assert resource == flat / "Resources" / "Labels" / "structures.json"


def test_wheel_layout_has_the_resources_inside_the_package(tmp_path: Path) -> None:
    library_folder = tmp_path / "site" / "AtlasSegmentLib"
    shutil.copytree(REPOSITORY / "AtlasSegment" / "AtlasSegmentLib", library_folder, ignore=IGNORED)
    shutil.copytree(REPOSITORY / "Resources", library_folder / "Resources")
    _, resource = found_from(tmp_path / "site", tmp_path)
    assert resource == library_folder / "Resources" / "Labels" / "structures.json"


@pytest.mark.skipif(not (REPOSITORY / "pyproject.toml").is_file(), reason="no pyproject.toml: the layout test above stands in for pip")
def test_pip_install_brings_the_resources_along(tmp_path: Path) -> None:
    checkout = copy_checkout(tmp_path / "checkout")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"]
    done = subprocess.run([*pip, "--target", str(tmp_path / "site"), str(checkout)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    shutil.rmtree(checkout)
    library, resource = found_from(tmp_path / "site", tmp_path)
    assert library.is_relative_to(tmp_path / "site")
    assert resource.is_relative_to(tmp_path / "site")


def test_missing_resource_is_named_with_its_place() -> None:
    with pytest.raises(InputError, match=r"no_such_table\.json") as caught:
        resource_path("Labels", "no_such_table.json")
    assert caught.value.remedy


def test_installation_without_resources_says_where_it_looked(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "AtlasSegment" / "AtlasSegmentLib", tmp_path / "AtlasSegmentLib", ignore=IGNORED)
    with pytest.raises(AssertionError) as caught:
        found_from(tmp_path, tmp_path)
    assert "Labels/structures.json was not found" in str(caught.value)
    assert str(tmp_path / "AtlasSegmentLib" / "Resources") in str(caught.value)
