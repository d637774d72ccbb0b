"""What the Extensions Index checks by machine, as far as it needs no network."""

from __future__ import annotations

import re
import struct
import subprocess
from pathlib import Path

import pytest

from cmake_files import MODULES

# The Extensions Index: scripts/check_description_files.py
ICON = re.compile(r'set\s*\(EXTENSION_ICONURL\s*"([^"]+)"[ ]*\)')
SCREENSHOTS = re.compile(r'set\s*\(EXTENSION_SCREENSHOTURLS\s*"([^"]+)"\)')
CATEGORIES = ("Active Learning", "Informatics", "Quantification", "Segmentation")
RAW = "https://raw.githubusercontent.com/atlas-annotator/SlicerAtlasAnnotator/main/"
MAX_CHECKOUT_BYTES = 100 * 2**20


@pytest.fixture(scope="module")
def cmake(repository: Path) -> str:
    """Return the text of the top-level CMakeLists.txt."""
    return (repository / "CMakeLists.txt").read_text(encoding="utf-8")


def value_of(cmake: str, key: str) -> str:
    """Return the value of an EXTENSION_ key."""
    match = re.search(rf'^set\({key} "([^"\n]+)"\)$', cmake, re.MULTILINE)
    assert match, f'CMakeLists.txt has no line set({key} "...")'
    return match[1]


def png_size(path: Path) -> tuple[int, int]:
    """Return width and height from the header of a PNG file."""
    data = path.read_bytes()[:24]
    assert data[:8] == b"\x89PNG\r\n\x1a\n", f"{path} is no PNG"
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def test_the_first_project_is_the_extension_name(cmake: str) -> None:
    match = re.search(r"project\((\w+)", cmake)
    assert match
    assert match[1] == "AtlasAnnotator"


def test_the_name_does_not_start_with_slicer_but_the_repository_does(cmake: str) -> None:
    homepage = value_of(cmake, "EXTENSION_HOMEPAGE")
    assert homepage == "https://github.com/atlas-annotator/SlicerAtlasAnnotator"
    assert not re.search(r"project\(Slicer", cmake)


def test_the_icon_url_matches_and_names_a_file_that_exists(cmake: str, repository: Path) -> None:
    match = ICON.search(cmake)
    assert match
    assert match[1] == value_of(cmake, "EXTENSION_ICONURL"), "keep the whole set() on one line"
    assert match[1].startswith(RAW)
    assert png_size(repository / match[1].removeprefix(RAW)) == (128, 128)


def test_the_screenshot_urls_match_and_name_files_that_exist(cmake: str, repository: Path) -> None:
    match = SCREENSHOTS.search(cmake)
    assert match
    assert match[1] == value_of(cmake, "EXTENSION_SCREENSHOTURLS"), "keep the whole set() on one line"
    urls = match[1].split()
    assert urls
    for url in urls:
        assert url.startswith(RAW)
        assert min(png_size(repository / url.removeprefix(RAW))) >= 128


@pytest.mark.parametrize("module", MODULES)
def test_each_module_has_a_square_icon(repository: Path, module: str) -> None:
    assert png_size(repository / module / "Resources" / "Icons" / f"{module}.png") == (128, 128)


def test_the_category_is_one_of_the_index(cmake: str) -> None:
    assert value_of(cmake, "EXTENSION_CATEGORY") in CATEGORIES


def test_the_description_is_short_and_names_the_license(cmake: str) -> None:
    description = value_of(cmake, "EXTENSION_DESCRIPTION")
    assert len(description) < 400
    assert "Apache-2.0" in description


def test_torch_comes_through_the_pytorch_extension(cmake: str) -> None:
    assert value_of(cmake, "EXTENSION_DEPENDS") == "PyTorch"


def test_the_license_is_the_whole_apache_license(repository: Path) -> None:
    text = (repository / "LICENSE.txt").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert len(text.splitlines()) > 170


def test_the_readme_holds_the_test_command_that_ci_runs(repository: Path) -> None:
    text = (repository / "README.md").read_text(encoding="utf-8")
    _, marker, rest = text.partition("<!-- test-command -->")
    assert marker
    commands = [line for line in rest.splitlines() if line.startswith("python3 -m venv .venv && ")]
    assert commands
    assert commands[0].endswith("Testing/check.py")


def test_the_checkout_stays_below_the_limit_of_the_index(repository: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=repository, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("needs a git checkout")
    paths = [repository / name for name in listed.stdout.split("\0") if name]
    assert sum(path.stat().st_size for path in paths if path.is_file()) < MAX_CHECKOUT_BYTES / 2  # the history takes its part
