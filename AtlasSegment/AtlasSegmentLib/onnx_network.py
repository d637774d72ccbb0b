"""Networks as ONNX files, run by ONNX Runtime where people chose, and said where it really runs."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from AtlasSegmentLib.devices import Device
from AtlasSegmentLib.engine_memory import MemoryLadder, first_line
from AtlasSegmentLib.errors import ModelError
from AtlasSegmentLib.network import Float32, all_finite, not_finite, require_shape
from AtlasSegmentLib.onnx_files import facts_in

_log = logging.getLogger(__name__)
_ACCELERATORS = ("CUDAExecutionProvider", "CoreMLExecutionProvider", "DmlExecutionProvider")
_CPU = "CPUExecutionProvider"
_QUIET = 3  # ONNX Runtime's log level "errors only"


class OnnxNetwork:
    """A network in an ONNX file; see `Network`.

    Args:
        path: The file; weights that it keeps in a second file are read from the same folder.
        threads: CPU threads; 0 lets ONNX Runtime choose.
        device: Where it shall run.

    Raises:
        ModelError: ONNX Runtime is not installed or cannot load it, it is no network of one image, or the GPU is insisted on and
            cannot be used.
    """

    def __init__(self, path: Path, threads: int = 0, device: Device = "auto") -> None:
        self._path, self._threads = path, threads
        self._session, self._engine = open_session(path, threads, device)
        given = self._session.get_inputs()[0]
        self._input, self._shape, self._type = given.name, tuple(given.shape), _number_type(path, given.type)
        self._ladder = MemoryLadder(str(path), engine_failures(), (self._to_cpu,) if device == "auto" else ())

    @property
    def engine(self) -> str:
        """ONNX Runtime's version and the provider in use."""
        return self._engine

    @property
    def device(self) -> Literal["gpu", "cpu"]:
        """Where it really runs."""
        return "gpu" if self._session.get_providers()[0] in _ACCELERATORS else "cpu"

    @property
    def input_shape(self) -> tuple[object, ...]:
        """Shape of its input as the file states it, (N, channels, *patch); a text stands for any number."""
        return self._shape

    @property
    def facts(self) -> dict[str, Any]:
        """What the file says about where it comes from, when it is an export of this program; see `onnx_files.METADATA`."""
        return facts_in(self._session.get_modelmeta().custom_metadata_map)

    def run(self, batch: Float32) -> Float32:
        """Run the network once; see `Network.run`. A network made for one patch at a time is given one after the other."""
        self._require_input(batch.shape)
        try:
            parts = self._ladder.run(len(batch), lambda part: self._once(batch[part]), lambda: self.device == "gpu")
        except engine_failures() as error:
            message = f"{self._path}: the network failed on an input of shape {batch.shape} ({first_line(error)})."
            raise ModelError(message, "Check the patch size that the model's files state against the network.") from error
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _once(self, batch: Float32) -> Float32:
        fixed = self._shape[0] if self._shape and isinstance(self._shape[0], int) else len(batch)
        results = []
        for first in range(0, len(batch), fixed):
            part = batch[first : first + fixed]
            missing = fixed - len(part)  # a network made for two patches at a time is given the last one twice
            given = np.concatenate([part, np.repeat(part[-1:], missing, axis=0)]) if missing else part
            (result,) = self._session.run(None, {self._input: np.ascontiguousarray(given, self._type)})
            require_shape(str(self._path), given.shape, np.shape(result))
            results.append(result[: len(part)].astype(np.float32, copy=False))
            if not all_finite(results[-1]):
                raise not_finite(str(self._path))
        return results[0] if len(results) == 1 else np.concatenate(results)

    def _require_input(self, shape: tuple[int, ...]) -> None:
        """Check channels and patch against what the network says that it wants; a name in its shape stands for any number."""
        wanted = self._shape
        fits = len(wanted) == len(shape) and all(not isinstance(n, int) or n == m for n, m in zip(wanted[1:], shape[1:], strict=True))
        if wanted and not fits:
            said = " x ".join("any" if not isinstance(n, int) else str(n) for n in wanted)
            message = f"{self._path}: the network wants an input of shape {said}, and is given {' x '.join(map(str, shape))}."
            raise ModelError(message, "Check channels and patch size that the model's files state against the network.")

    def _to_cpu(self) -> str:
        """Open the network on the CPU in place of the GPU; the GPU's memory goes with the old session."""
        if self.device == "cpu":
            return ""
        gone = self._session.get_providers()[0]
        del self._session
        self._session, self._engine = open_session(self._path, self._threads, "cpu")
        return f"{_CPU} is used instead of {gone}, which takes much longer"


def engine_failures() -> tuple[type[Exception], ...]:
    """Return what a session raises when it runs."""
    from onnxruntime.capi.onnxruntime_pybind11_state import EPFail, Fail, InvalidArgument, RuntimeException

    return (Fail, InvalidArgument, RuntimeException, EPFail)


def _number_type(path: Path, said: str) -> type[np.floating[Any]]:
    types: dict[str, type[np.floating[Any]]] = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
    if said not in types:
        message = f"{path}: the network wants an input of type {said}; {' or '.join(types)} is expected."
        raise ModelError(message, "Export the network again with an input in float32.")
    return types[said]


def open_session(path: Path, threads: int, device: Device, inputs: Sequence[str] = ("the CT",)) -> tuple[Any, str]:
    """Load an ONNX file.

    Args:
        path: The file.
        threads: CPU threads; 0 lets ONNX Runtime choose.
        device: Where it shall run.
        inputs: What the network is shown, for its number and for messages.

    Returns:
        (session, engine: ONNX Runtime's version and the provider in use).

    Raises:
        ModelError: As `OnnxNetwork`.
    """
    try:
        import onnxruntime
    except ImportError as error:
        message = f"{path}: ONNX Runtime is not installed."
        raise ModelError(message, 'Run: pip install "slicer-atlas-annotator[onnx]" (or onnxruntime-gpu for an NVIDIA GPU).') from error
    from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, InvalidGraph, InvalidProtobuf
    from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as OperatorMissing

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _QUIET
    options.enable_cpu_mem_arena = False  # as fast here, and gives the memory of one prediction back before the next step
    wanted = _wanted_providers(path, device)
    try:
        session = onnxruntime.InferenceSession(path, options, providers=wanted)
    except (Fail, InvalidArgument, InvalidGraph, InvalidProtobuf, OperatorMissing, RuntimeError) as error:
        raise _unreadable(path, error) from error
    if len(session.get_inputs()) != len(inputs) or len(session.get_outputs()) != 1:
        names = [part.name for part in (*session.get_inputs(), *session.get_outputs())]
        count = "one input" if len(inputs) == 1 else f"{len(inputs)} inputs"
        message = f"{path}: a network with {count} and one output is expected, this one has {', '.join(names)}."
        raise ModelError(message, f"Export the network again with {' and '.join(inputs)} as its only input and one output.")
    used = session.get_providers()[0]  # what was asked for is not always what runs
    _report_device(path, device, wanted[0], used)
    return session, f"onnxruntime {onnxruntime.__version__} {used}"


def _unreadable(path: Path, error: Exception) -> ModelError:
    external = str(error).find("External ")
    if external >= 0:  # ONNX Runtime says where in its own source it noticed before it says what
        message = f"{path}: is not a network ONNX Runtime can load ({str(error)[external : external + 200].splitlines()[0]})."
        return ModelError(message, "Copy the file with its weights (such as model.onnx.data) into the same folder, whole.")
    message = f"{path}: is not a network ONNX Runtime can load ({first_line(error)})."
    return ModelError(message, "Copy the model again, or export it for a current ONNX Runtime.")


def _wanted_providers(path: Path, device: Device) -> list[str]:
    """Return the providers to ask for, best first. Raises ModelError when a GPU is a must and this build has none."""
    import onnxruntime

    available = onnxruntime.get_available_providers()  # what was compiled in, which need not work here
    accelerators = [] if device == "cpu" else [name for name in _ACCELERATORS if name in available]
    if device == "gpu" and not accelerators:
        message = f"{path}: a GPU was asked for, but the installed ONNX Runtime {onnxruntime.__version__} has none ({_listed(available)})."
        raise ModelError(message, "Choose the CPU or auto, or install onnxruntime-gpu in place of onnxruntime.")
    if "CUDAExecutionProvider" in accelerators and hasattr(onnxruntime, "preload_dlls"):
        with contextlib.redirect_stdout(sys.stderr):  # it prints what it does not find
            onnxruntime.preload_dlls()
    return [*accelerators, _CPU]


def _report_device(path: Path, device: Device, wanted: str, used: str) -> None:
    """Say where the network runs. Raises ModelError when that is not the GPU that people insist on."""
    if device == "gpu" and used not in _ACCELERATORS:
        message = f"{path}: a GPU was asked for, but {wanted} cannot be used on this computer: {used} would run."
        raise ModelError(message, "Check the GPU's driver, CUDA and cuDNN (the log says what is missing), or choose the CPU or auto.")
    if used != wanted:
        _log.warning("%s: %s was asked for, %s is in use.", path.name, wanted, used)
    else:
        _log.info("%s runs on %s.", path.name, used)


def _listed(providers: Sequence[str]) -> str:
    return ", ".join(name.removesuffix("ExecutionProvider") for name in providers)
