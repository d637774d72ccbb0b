"""The bare network below every kind of model: a batch in, a batch out, and where it really runs."""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from AtlasSegmentLib.errors import ModelError

Float32 = npt.NDArray[np.float32]


class Network(Protocol):
    """A network with one input and one output, run by ONNX Runtime or Torch."""

    @property
    def engine(self) -> str:
        """The engine and device really in use, such as "onnxruntime 1.22 CPUExecutionProvider" or "torch 2.13.0 cuda:0 NVIDIA H200"."""

    @property
    def device(self) -> Literal["gpu", "cpu"]:
        """Where it really runs."""

    def run(self, batch: Float32) -> Float32:
        """Run the network once.

        Args:
            batch: (N, channels in, *patch), two or three spatial axes; C order.

        Returns:
            (N, channels out, *patch), float32: what the network gives, without activation.

        Raises:
            ModelError: The network fails, memory is full, or it gives another spatial shape or values that are not finite.
        """


def all_finite(values: Float32) -> bool:
    """Tell whether no value is infinite or not a number, without a second array as long as that is so."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(values.sum())) or bool(np.isfinite(values).all())  # a sum may overflow where no value does


def require_shape(name: str, given: tuple[int, ...], result: tuple[int, ...]) -> None:
    """Check that a network gives one value for each patch, channel and voxel. Raises ModelError."""
    if len(result) != len(given) or result[0] != given[0] or result[2:] != given[2:]:
        message = f"{name}: the network gives {result} for an input of shape {given}."
        raise ModelError(message, "Export the network again so that its output has the spatial shape of its input.")


def not_finite(name: str) -> ModelError:
    """Return the error for a network that gives values that are not finite."""
    message = f"{name}: the network gives values that are not finite; its weights are damaged."
    return ModelError(message, "Copy the model again from its source.")


def use_precision(network: Network, precision: str) -> None:
    """Let a network on a GPU compute in "float16" or "float32"; one in an ONNX file, or on a CPU, keeps its own."""
    if network.device == "gpu" and hasattr(network, "precision"):
        network.precision = precision
