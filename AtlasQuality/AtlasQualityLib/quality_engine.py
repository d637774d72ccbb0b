"""The label-quality network on one of two engines, ONNX Runtime or Torch; both take the same arrays and give the same numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from AtlasQualityLib.quality_embedding import Float32
from AtlasSegmentLib.devices import Device
from AtlasSegmentLib.engine_memory import MemoryLadder, first_line
from AtlasSegmentLib.errors import ModelError
from AtlasSegmentLib.onnx_network import engine_failures, open_session

if TYPE_CHECKING:
    import torch
    from torch import nn

_BATCH = 32
"""Slices in one forward pass: enough to use every core, and 50 MB of feature maps in a small network."""
Engine = Literal["onnx", "torch"]


class Scorer(Protocol):
    """The network, loaded."""

    @property
    def engine(self) -> str:
        """What runs it and where, for the record."""
        ...

    def run(self, images: Float32, embeddings: Float32) -> Float32:
        """Return the raw predicted Dice (N,) of images (N, 2, size, size) with embeddings (N, 512). Raises ModelError."""
        ...


class OnnxScorer:
    """The network in an ONNX file with the inputs image and embedding.

    Raises:
        ModelError: It cannot be loaded; see `onnx_network.OnnxNetwork`.
    """

    def __init__(self, path: Path, threads: int = 0, device: Device = "auto") -> None:
        self._path = path
        self._session, self.engine = open_session(path, threads, device, ("the slices", "the embeddings"))
        self._names = [part.name for part in self._session.get_inputs()]
        self.input_shape: tuple[object, ...] = tuple(self._session.get_inputs()[0].shape)
        self._ladder = MemoryLadder(str(path), engine_failures())

    def run(self, images: Float32, embeddings: Float32) -> Float32:
        """See `Scorer.run`."""

        def once(part: slice) -> Float32:
            (result,) = self._session.run(None, dict(zip(self._names, (images[part], embeddings[part]), strict=True)))
            return np.asarray(result, np.float32)

        try:
            return _in_batches(self._ladder, len(images), once, self._path)
        except engine_failures() as error:
            raise _failed(self._path, images, error) from error


class TorchScorer:
    """The network as a Torch module.

    Raises:
        ModelError: Torch is not installed, or the GPU is insisted on and cannot be used.
    """

    def __init__(self, module: nn.Module, name: Path, threads: int = 0, device: Device = "auto") -> None:
        import torch

        from AtlasSegmentLib.torch_device import open_device

        if threads:
            torch.set_num_threads(threads)
        self._name = name
        self._device: torch.device = open_device(name, device)
        self._module = module.eval().to(self._device)
        self._ladder = MemoryLadder(str(name), (RuntimeError,))
        self.engine = f"torch {torch.__version__} {self._device}"

    def run(self, images: Float32, embeddings: Float32) -> Float32:
        """See `Scorer.run`."""
        import torch

        def once(part: slice) -> Float32:
            given = [torch.from_numpy(np.ascontiguousarray(array[part])).to(self._device) for array in (images, embeddings)]
            return np.asarray(self._module(*given).cpu().numpy(), np.float32)

        try:
            with torch.inference_mode():
                return _in_batches(self._ladder, len(images), once, self._name)
        except RuntimeError as error:
            raise _failed(self._name, images, error) from error


def _in_batches(ladder: MemoryLadder, count: int, once: Any, name: Path) -> Float32:
    ladder.most = min(ladder.most or _BATCH, _BATCH)
    parts = ladder.run(count, once, lambda: False) if count else []
    result = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    if result.shape != (count,) or not np.isfinite(result).all():
        message = f"{name}: the network gave {result.shape} numbers for {count} slices, or some that are not finite."
        raise ModelError(message, "Train or export it again, or copy it again.")
    return result


def _failed(name: Path, images: Float32, error: Exception) -> ModelError:
    message = f"{name}: the network failed on slices of {images.shape[2]} x {images.shape[3]} ({first_line(error)})."
    return ModelError(message, "Check the size that quality.json states against the network.")
