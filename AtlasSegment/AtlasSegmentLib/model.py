"""The Model protocol and the reader of model folders: one shape for every kind of network."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from AtlasSegmentLib.devices import Device
from AtlasSegmentLib.errors import ModelError
from AtlasSegmentLib.files import sha256_of
from AtlasSegmentLib.model_manifest import FILE, ModelManifest, read_manifest

Float32 = npt.NDArray[np.float32]


class Model(Protocol):
    """A network with its manifest.

    Attributes:
        spec: What it wants and gives.
        engine: The engine and device really in use, such as "onnxruntime 1.22 CPUExecutionProvider".
        device: Where it really runs.
    """

    @property
    def spec(self) -> ModelManifest:
        """What it wants and gives."""

    @property
    def engine(self) -> str:
        """The engine and device really in use."""

    @property
    def device(self) -> Literal["gpu", "cpu"]:
        """Where it really runs."""

    def predict(self, patch: Float32) -> Float32:
        """Run the network once.

        Args:
            patch: Network input (X, Y, Z) in the orientation and intensity of `spec`.

        Returns:
            Logits (C, X, Y, Z).

        Raises:
            ModelError: The network fails, or gives another shape or values that are not finite.
        """


def load_model(folder: Path, threads: int = 0, device: Device = "auto") -> Model:
    """Load the model in a folder and verify its checksum.

    Args:
        folder: A folder with model.json and the network.
        threads: CPU threads for one prediction; 0 lets the engine choose.
        device: Where it shall run; "auto" takes the GPU when it works.

    Raises:
        ModelError: The folder is no model, the file is missing or its SHA-256 differs, the engine is not installed, or the GPU is
            insisted on and cannot be used.
    """
    folder = Path(folder)
    spec = read_manifest(folder)
    path = folder / spec.file
    if not path.is_file():
        message = f"{path}: the network that {FILE} names is missing."
        raise ModelError(message, "Copy the whole model folder again.")
    found = sha256_of(path)
    if found != spec.sha256.lower():
        message = (
            f"{path}: SHA-256 is {found[:12]}..., but {FILE} says {spec.sha256[:12].lower()}...: the file is damaged or another version."
        )
        raise ModelError(message, "Copy the model again from its source; do not edit the checksum.")
    from AtlasSegmentLib.onnx_engine import OnnxModel

    return OnnxModel(spec, path, threads, device)
