"""What a network gives up when memory is full: first the size of its batches, then what its engine offers, such as the GPU."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Literal, TypeVar

from AtlasSegmentLib.errors import ModelError

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")

Memory = Literal["gpu", "host"]
_GPU_FULL = ("cuda out of memory", "out of memory", "alloc_failed", "cuda failure 2:", "cudaerrormemoryallocation")
_HOST_FULL = ("defaultcpuallocator", "bad_alloc", "bad allocation", "cannot allocate memory", "can't allocate memory", "unable to allocate")
_EITHER_FULL = ("failed to allocate memory", "smaller than requested bytes")  # ONNX Runtime says so of every device


def memory_full(error: BaseException, *, on_gpu: bool) -> Memory | None:
    """Tell which memory an error of Torch, ONNX Runtime or NumPy says is full; None for any other error.

    Args:
        error: What was raised.
        on_gpu: Whether the network runs on a GPU, for messages that do not tell.
    """
    text = f"{type(error).__name__} {error}".lower()
    if isinstance(error, MemoryError) or any(sign in text for sign in _HOST_FULL):
        return "host"
    if any(sign in text for sign in _GPU_FULL) or type(error).__name__ == "OutOfMemoryError":
        return "gpu"
    if any(sign in text for sign in _EITHER_FULL):
        return "gpu" if on_gpu else "host"
    return None


class MemoryLadder:
    """Runs a network within the memory there is, and says each thing that it gives up for that.

    What was given up once stays so: the next batches would not fit either.

    Args:
        name: The network, for messages.
        failures: What its engine raises.
        steps: What else can be given up on a GPU, in this order; each does it and returns it as "X is used instead of Y", or
            returns "" when there is nothing to give up.
    """

    def __init__(self, name: str, failures: tuple[type[Exception], ...], steps: Iterable[Callable[[], str]] = ()) -> None:
        self._name = name
        self._failures: tuple[type[Exception], ...] = (MemoryError, *failures)
        self._steps = iter(tuple(steps))
        self.most: int | None = None
        """Patches that are run together at most; None is as many as are given."""

    def run(self, count: int, once: Callable[[slice], _Result], on_gpu: Callable[[], bool]) -> list[_Result]:
        """Run a batch, in parts where it does not fit, and return the results of the parts.

        Args:
            count: Patches in the batch.
            once: Runs those in a slice.
            on_gpu: Whether the network is on a GPU just now.

        Raises:
            ModelError: Nothing is left to give up.
            Exception: What `once` raises for other reasons.
        """
        while True:
            size = min(self.most or count, count)
            try:
                return [once(slice(first, min(first + size, count))) for first in range(0, count, size)]
            except self._failures as error:
                full = memory_full(error, on_gpu=on_gpu())
                if full is None:
                    raise
                cause = first_line(error)
            # Only here, after the block, is the error gone, and with it the tensors that its traceback holds.
            self._give_up(size, full, cause)

    def _give_up(self, size: int, full: Memory, cause: str) -> None:
        where = "GPU memory" if full == "gpu" else "memory"
        if size > 1:
            self.most = size // 2
            _log.warning("%s: %s is full with batches of %d; batches of %d are run from here on.", self._name, where, size, self.most)
            return
        if full == "gpu":
            for step in self._steps:
                if done := step():
                    _log.warning("%s: GPU memory is full; %s.", self._name, done)
                    return
        message = f"{self._name}: {where} is full with a single patch ({cause})."
        if full == "gpu":
            raise ModelError(message, "Close other programs on this GPU, choose a model with a smaller patch, or choose the CPU or auto.")
        raise ModelError(message, "Close other programs, run fewer jobs at a time, or choose a model with a smaller patch.")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, at most 200 characters, or its type when it has none."""
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__
