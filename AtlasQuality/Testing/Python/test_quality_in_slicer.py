"""The tasks of Atlas Quality run with numpy, scipy and what Slicer ships."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ABSENT = (
    "nibabel",
    "pydantic",
    "typer",
    "rich",
    "isal",
    "cc3d",
    "edt",
    "psutil",
    "onnxruntime",
    "torch",
    "matplotlib",
    "dask",
    "sqlalchemy",
)
STORY = """
import sys
for name in {absent!r}:
    sys.modules[name] = None
from pathlib import Path
from AtlasQualityLib import tasks
from AtlasQualityLib.phantom_case import write_phantom_case
case = write_phantom_case(Path({folder!r}) / "hospital" / "scan")
answer = tasks.find_errors(str(case.folder), {folder!r} + "/work")
assert answer["spots"][0]["organ"] == "liver"
tasks.open_files(str(case.folder), {folder!r} + "/work")
rows = tasks.compare_files({{"case": str(case.folder)}}, {{"case": str(case.folder), "model": "first"}})["rows"]
assert {{row["organ"] for row in rows}} == {{"liver", "spleen", "kidney_left"}}
"""


def test_errors_are_found_and_compared_without_the_packages_that_slicer_lacks(repository: Path, tmp_path: Path) -> None:
    story = STORY.format(absent=ABSENT, folder=str(tmp_path))
    path = os.pathsep.join(str(repository / name) for name in ("AtlasSegment", "AtlasQuality"))
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-W", "error", "-c", story], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["scene_case", "scene_focus", "scene_masks", "scene_overlay", "scene_plot"])
def test_scene_files_never_import_qt(repository: Path, name: str) -> None:
    text = (repository / "AtlasQuality" / "AtlasQualityLib" / f"{name}.py").read_text(encoding="utf-8")
    assert "import qt" not in text
    assert "PySide" not in text
