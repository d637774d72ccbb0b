"""Which device Torch can really use: asked by computing on it, not by what was compiled in."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from AtlasSegmentLib.devices import Device
from AtlasSegmentLib.engine_memory import first_line
from AtlasSegmentLib.errors import ModelError

if TYPE_CHECKING:
    import torch

_log = logging.getLogger(__name__)


def require_torch(name: str | Path) -> None:
    """Check that Torch is installed. Raises ModelError, which says how to install it."""
    try:
        import torch  # noqa: F401
    except ImportError as error:
        message = f"{name}: Torch is not installed."
        raise ModelError(message, 'Run: pip install "slicer-atlas-annotator[torch]".') from error


def open_device(name: str | Path, device: Device) -> torch.device:
    """Return the device to use: the first GPU that computes, or the CPU.

    Args:
        name: The network, for messages.
        device: What people chose.

    Raises:
        ModelError: The GPU is insisted on and there is none that works.
    """
    import torch

    if device == "cpu":
        return torch.device("cpu")
    found = _accelerator()
    problem = "this Torch finds none" if found is None else _problem(found)
    if found is not None and not problem:
        return found
    if device == "gpu":
        message = f"{name}: a GPU was asked for, but {problem} (torch {torch.__version__})."
        raise ModelError(message, "Choose the CPU or auto, or install a Torch made for this GPU and its driver (https://pytorch.org).")
    if found is not None:
        _log.warning("%s: the GPU %s cannot be used (%s); the CPU is in use.", name, found, problem)
    return torch.device("cpu")


def is_gpu(device: torch.device) -> bool:
    """Tell whether a device is anything but the CPU."""
    return device.type != "cpu"


def _accelerator() -> torch.device | None:
    """Return the GPU that Torch sees, whether it works or not."""
    import torch

    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return None


def _problem(device: torch.device) -> str:
    """Return why a device cannot compute what networks need, or ""."""
    import torch
    from torch.nn.functional import conv3d, conv_transpose3d

    image = torch.arange(8.0).reshape(1, 1, 2, 2, 2)
    try:
        result = conv_transpose3d(conv3d(image.to(device), image.to(device)), image.to(device)).cpu()
    except (RuntimeError, AssertionError) as error:  # a driver too old, a GPU or a kernel that this build has no code for
        return first_line(error)
    expected = conv_transpose3d(conv3d(image, image), image)
    return "" if torch.allclose(result, expected, rtol=1e-2) else "it computes wrong values"
