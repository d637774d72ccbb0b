"""A label-quality model of random weights whose scores of the phantom's slices differ: for tests of what panels do with scores."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from AtlasQualityLib import tasks
from AtlasQualityLib.mask_set import masks_of_case
from AtlasQualityLib.phantom_case import write_phantom_case
from AtlasQualityLib.quality_case import quality_case
from AtlasQualityLib.quality_embedding import FEATURES, text_embedding
from AtlasQualityLib.quality_engine import TorchScorer
from AtlasQualityLib.quality_manifest import SAFETENSORS, QualityManifest, Slices, write_manifest
from AtlasQualityLib.quality_model import QualityModel, open_quality_model
from AtlasQualityLib.quality_network import build_network
from AtlasQualityLib.quality_predict import predict_quality
from AtlasQualityLib.quality_training_export import export_model
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.volume_io import read_volume

LOWEST, HIGHEST = 0.35, 0.97
"""Scores of the slices of the phantom case, by what the last layer is set to."""


@cache
def random_model() -> Path:
    """Return a model folder with both engines, made once for all tests; in a process of its own, so that Torch is not in theirs."""
    place = Path(tempfile.mkdtemp(prefix="quality-random-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, __file__, str(place)], env=environment, check=True)
    return place / "random"


def write_plain_model(place: Path) -> Path:
    """Write a model of random weights for Torch alone, whose scores mean nothing, and return its folder."""
    import torch
    from safetensors.torch import save_file

    folder = place / "random"
    folder.mkdir()
    torch.manual_seed(5)
    save_file(build_network("resnet18", 8).state_dict(), str(folder / SAFETENSORS))
    write_manifest(folder, QualityManifest(name="random", backbone="resnet18", width=8, slices=Slices(size=64)))
    return folder


def _make(place: Path) -> None:
    import torch

    torch.manual_seed(3)
    network = build_network("resnet18", 8).eval()
    with torch.no_grad():  # names shall not matter: the slices do
        for layer in (network.attention1, network.attention2):
            layer.weight[:, -FEATURES:] = 0
    manifest = QualityManifest(name="random", backbone="resnet18", width=8, slices=Slices(kind="isotropic", size=64, margin=20))
    case = write_phantom_case(place / "hospital" / "scan")
    tasks.average_files(str(case.folder))
    model = QualityModel(manifest, TorchScorer(network, place), text_embedding, place, "")
    found = predict_quality(read_volume(case.ct), masks_of_case(case), model)
    scores = np.array([one.score for quality in found.values() for one in quality.slices])
    gain = (HIGHEST - LOWEST) / float(np.ptp(scores))
    with torch.no_grad():
        network.fc2.weight *= gain
        network.fc2.bias.mul_(gain).add_(LOWEST - gain * float(scores.min()))
    export_model(network, place / "random", manifest)


def add_prediction(case: CaseFolder) -> None:
    """Predict the quality of the average masks of a case, in this process."""
    quality_case(case, _opened())


@cache
def _opened() -> QualityModel:
    return open_quality_model(random_model())


if __name__ == "__main__":
    _make(Path(sys.argv[1]))
