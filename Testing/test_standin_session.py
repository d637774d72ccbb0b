"""Between two tests the stand-in is as if Slicer had just been started, whatever the modules of the last test have left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core")


def test_what_a_module_left_is_gone_in_the_next_test(slicer_app: Any) -> None:
    from slicer_standin import session

    core = slicer.modules.volumes
    folder = Path(slicer_app.temporaryPath)
    slicer.modules.AtlasSegmentSessionFolder = str(folder / "AtlasAnnotator-1")
    (folder / "AtlasAnnotator-1").mkdir()
    (folder / "left.txt").write_text("left")
    session.reset()
    assert not hasattr(slicer.modules, "AtlasSegmentSessionFolder")
    assert not (folder / "AtlasAnnotator-1").exists()
    assert not (folder / "left.txt").exists()
    assert slicer.modules.volumes is core
