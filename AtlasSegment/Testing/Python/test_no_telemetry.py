"""ONNX Runtime's own reports to its maker are off, however it is loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import AtlasSegmentLib
from AtlasSegmentLib.starter_models import starter_models

pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")

RUN = """
import sys
import AtlasSegmentLib
from AtlasSegmentLib.onnx_network import OnnxNetwork
from pathlib import Path
OnnxNetwork(Path(sys.argv[1]) / "model.onnx", 1, "cpu")
"""


def test_a_network_that_is_loaded_leaves_nothing_in_the_home_folder(tmp_path: Path) -> None:
    library = str(Path(AtlasSegmentLib.__file__).parents[1])
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": library, "ORT_DISABLE_TELEMETRY": "0"}
    environment.pop("XDG_CACHE_HOME", None)
    subprocess.run([sys.executable, "-c", RUN, str(starter_models()[0])], env=environment, check=True, timeout=120)
    assert list(tmp_path.rglob("*")) == []
