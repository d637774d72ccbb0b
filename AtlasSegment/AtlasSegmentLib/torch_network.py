"""Networks as Torch modules, run on the GPU where it works and fits, and said where they really run."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from AtlasSegmentLib.devices import Device
from AtlasSegmentLib.engine_memory import MemoryLadder, first_line
from AtlasSegmentLib.errors import ModelError
from AtlasSegmentLib.inference_settings import Precision
from AtlasSegmentLib.network import Float32, not_finite, require_shape
from AtlasSegmentLib.torch_device import is_gpu, open_device, require_torch
from AtlasSegmentLib.torchscript_check import require_harmless

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

_log = logging.getLogger(__name__)
_FAILURES = (RuntimeError, ValueError, TypeError, IndexError, AssertionError)
"""What a network raises for an input that it is not made for."""


class TorchNetwork:
    """A network as a Torch module; see `Network`.

    Args:
        module: Takes (N, channels in, *patch) and gives (N, channels out, *patch), float32. It is moved and set to evaluation.
        device: Where it shall run.
        threads: CPU threads, for the whole process as Torch knows it; 0 keeps them as they are.
        precision: On a GPU; a CPU always computes in float32.
        name: The network, for messages: its file where it has one.

    Raises:
        ModelError: Torch is not installed, or the GPU is insisted on and cannot be used.

    Attributes:
        module: The module, on `torch_device`.
        torch_device: Where it is; changes to the CPU when the GPU's memory is full and the device may be chosen.
        precision: In use; changes to float16 when the GPU's memory is full, to float32 when float16 overflows.
    """

    def __init__(
        self,
        module: nn.Module,
        device: Device = "auto",
        threads: int = 0,
        precision: Precision = "float16",
        *,
        name: str | Path = "network",
    ) -> None:
        require_torch(name)
        import torch

        if threads and torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        self._name = str(name)
        self.torch_device: torch.device = open_device(name, device)
        self.precision: Precision = precision if is_gpu(self.torch_device) else "float32"
        self.module: nn.Module = module.eval()
        self._ladder = MemoryLadder(self._name, _FAILURES, (self._to_half, self._to_cpu) if device == "auto" else (self._to_half,))
        self._ladder.run(1, lambda _: self.module.to(self.torch_device), lambda: self.device == "gpu")
        _log.info("%s runs on %s.", Path(self._name).name, self.engine)

    @property
    def engine(self) -> str:
        """Torch's version, the device in use and, on a GPU, the precision."""
        import torch

        if self.device == "cpu":
            return f"torch {torch.__version__} cpu"
        gpu = f" {torch.cuda.get_device_name(self.torch_device)}" if self.torch_device.type == "cuda" else ""
        return f"torch {torch.__version__} {self.torch_device}{gpu} {self.precision}"

    @property
    def device(self) -> Literal["gpu", "cpu"]:
        """Where it really runs."""
        return "gpu" if is_gpu(self.torch_device) else "cpu"

    def run(self, batch: Float32) -> Float32:
        """Run the network once; see `Network.run`."""
        import torch

        parts = self._parts(torch.from_numpy(np.require(batch, np.float32, ["C", "W"])), to_host=True)
        result: Float32 = (parts[0] if len(parts) == 1 else torch.cat(parts)).numpy()
        return result

    def run_tensor(self, batch: Tensor) -> Tensor:
        """Run the network once on a tensor; see `Network.run`.

        Args:
            batch: (N, channels in, *patch) on any device.

        Returns:
            (N, channels out, *patch) on `torch_device`, float16 where the network computes so, else float32; made in Torch's
            inference mode, so that it may be changed in place only there.
        """
        import torch

        parts = self._parts(batch, to_host=False)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _parts(self, batch: Tensor, *, to_host: bool) -> list[Tensor]:
        """Run a batch in as many parts as memory asks for."""
        import torch

        def once(part: slice) -> Tensor:
            result = self._once(batch[part])
            return result.cpu().float().contiguous() if to_host else result

        with torch.inference_mode():
            try:
                return self._ladder.run(len(batch), once, lambda: self.device == "gpu")
            except _FAILURES as error:
                message = f"{self._name}: the network failed on an input of shape {tuple(batch.shape)} ({first_line(error)})."
                raise ModelError(message, "Check channels and patch size that the model's files state against the network.") from error

    def _once(self, part: Tensor) -> Tensor:
        import torch

        placed = part.to(self.torch_device, torch.float32)
        while True:
            with self._arithmetic():
                result = self.module(placed)
            if isinstance(result, list | tuple) and len(result) == 1:
                result = result[0]
            if not isinstance(result, torch.Tensor):
                message = f"{self._name}: the network gives {_described(result)}, one tensor is expected."
                raise ModelError(message, "Switch deep supervision and further outputs off when the network is exported.")
            require_shape(self._name, tuple(part.shape), tuple(result.shape))
            if _all_finite(result):
                return result
            if self.precision == "float32":
                raise not_finite(self._name)
            self.precision = "float32"
            _log.warning("%s: values overflow in float16; float32 is used from here on.", self._name)

    @contextlib.contextmanager
    def _arithmetic(self) -> Iterator[None]:
        """Compute in the chosen precision, the same bits each time."""
        import torch

        kind = self.torch_device.type
        exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
        with exact, torch.autocast(kind, torch.float16, enabled=self.device == "gpu" and self.precision == "float16"):
            yield

    def _to_half(self) -> str:
        if self.device == "cpu" or self.precision == "float16":
            return ""
        self.precision = "float16"
        return "float16 is used instead of float32"

    def _to_cpu(self) -> str:
        import torch

        if self.device == "cpu":
            return ""
        gone = self.torch_device
        self.torch_device, self.precision = torch.device("cpu"), "float32"
        self.module.to(self.torch_device)
        if gone.type == "cuda":
            torch.cuda.empty_cache()
        return f"the CPU is used instead of {gone}, which takes much longer"


def load_torchscript(path: Path, threads: int = 0, device: Device = "auto", precision: Precision = "float16") -> TorchNetwork:
    """Load a TorchScript file.

    Raises:
        ModelError: It is missing, cut short, no TorchScript, refused for what it calls, or made for another Torch; or see
            `TorchNetwork`.
    """
    require_torch(path)
    import torch

    if not path.is_file():
        message = f"{path}: is missing."
        raise ModelError(message, "Copy the whole model folder again.")
    require_harmless(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # TorchScript is what MONAI's bundles are published as
            module = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError, OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error
    return TorchNetwork(module, device, threads, precision, name=path)


def _unreadable(path: Path, error: Exception) -> ModelError:
    import torch

    text = str(error)
    if "constants.pkl" in text:
        message = f"{path}: holds weights only, it is no TorchScript network."
        return ModelError(message, "Give the model folder that it belongs to, or save the network itself as TorchScript.")
    if "maximum supported version" in text or "Unknown builtin op" in text or "Unknown type name" in text:
        message = f"{path}: is made for another version of Torch than {torch.__version__} ({first_line(error)})."
        return ModelError(message, "Install a newer Torch (pip install -U torch), or save the network again with this version.")
    message = f"{path}: is not a network that Torch can load ({first_line(error)})."
    return ModelError(message, "Copy the model again; it must be a TorchScript file.")


def _all_finite(values: Tensor) -> bool:
    """Tell whether no value is infinite or not a number, without a second tensor as long as that is so."""
    import torch

    total = values.sum(dtype=torch.float32)
    return bool(torch.isfinite(total)) or bool(torch.isfinite(values).all())  # a sum may overflow where no value does


def _described(result: object) -> str:
    if isinstance(result, list | tuple | dict):
        return f"{len(result)} outputs"
    return type(result).__name__
