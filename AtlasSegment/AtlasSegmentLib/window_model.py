"""Models that see the CT on a grid of their own, as a whole or through a sliding window; atlas model folders among them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from AtlasSegmentLib.devices import Device
from AtlasSegmentLib.errors import ModelError
from AtlasSegmentLib.files import sha256_of
from AtlasSegmentLib.inference_settings import InferenceSettings
from AtlasSegmentLib.model_manifest import FILE, ModelManifest, read_manifest
from AtlasSegmentLib.network import Float32, Network
from AtlasSegmentLib.nnunet_window import mirrored
from AtlasSegmentLib.prediction import Region
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.volume import Volume

if TYPE_CHECKING:
    from AtlasSegmentLib.inference import GridPrediction
    from AtlasSegmentLib.markups import Roi


class WindowModel:
    """A network with its manifest.

    Args:
        spec: What it wants and gives.
        network: One input channel; as many output channels as `spec` says.
        path: Its file, for messages.
        facts: The file that `spec` is from, for messages.
    """

    def __init__(self, spec: ModelManifest, network: Network, path: Path, facts: str = FILE) -> None:
        self._spec, self._network, self._path, self._facts = spec, network, path, facts

    @property
    def spec(self) -> ModelManifest:
        """What the model wants and gives."""
        return self._spec

    @property
    def engine(self) -> str:
        """The engine and device really in use."""
        return self._network.engine

    @property
    def device(self) -> Literal["gpu", "cpu"]:
        """Where it really runs."""
        return self._network.device

    @property
    def networks(self) -> tuple[Network, ...]:
        """The network."""
        return (self._network,)

    def require_region(self, ct: Volume, roi: Roi | Region | None) -> None:
        """Check that it gets the region that it needs; see `Model`."""
        from AtlasSegmentLib.inference import require_region

        require_region(ct, self._spec, roi)

    def segment(
        self, ct: Volume, roi: Roi | Region | None, settings: InferenceSettings, progress: ProgressCallback = ignore_progress
    ) -> GridPrediction:
        """Run it over a CT; see `Model`."""
        from AtlasSegmentLib.inference import predict

        if self.device == "gpu" and hasattr(self._network, "precision"):
            self._network.precision = settings.precision
        return predict(ct, self, roi, progress, settings)

    def predict(self, patch: Float32, mirror: Sequence[int] = ()) -> Float32:
        """Run the network once.

        Args:
            patch: Network input (X, Y, Z) in the orientation and intensity of `spec`.
            mirror: Axes; the mean over all flips along them is taken.

        Returns:
            Logits (C, X, Y, Z).

        Raises:
            ModelError: The network fails, or gives another shape or values that are not finite.
        """
        batch = np.ascontiguousarray(patch[None, None])
        logits = mirrored(self._network, batch, mirror) if mirror else self._network.run(batch)[0]
        expected = (self._spec.channels, *patch.shape)
        if logits.shape != expected:
            message = f"{self._path}: the network gives {(1, *logits.shape)}, {self._facts} promises {(1, *expected)}."
            raise ModelError(message, f"Mend labels or activation in {self._facts}.")
        return logits


def load_atlas_model(folder: Path, threads: int = 0, device: Device = "auto") -> WindowModel:
    """Load an atlas model folder; see `model.load_model`. Raises ModelError."""
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
    return WindowModel(spec, _network(spec, path, threads, device), path)


def _network(spec: ModelManifest, path: Path, threads: int, device: Device) -> Network:
    if spec.engine == "torch":
        from AtlasSegmentLib.universal_model import load_universal

        return load_universal(path.parent, spec, threads, device)
    if spec.engine == "torchscript":
        from AtlasSegmentLib.torch_network import load_torchscript

        return load_torchscript(path, threads, device)
    from AtlasSegmentLib.onnx_network import OnnxNetwork

    return OnnxNetwork(path, threads, device)
