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
from AtlasSegmentLib.errors import ModelError
from AtlasSegmentLib.model import Float32
from AtlasSegmentLib.model_manifest import ModelManifest

_log = logging.getLogger(__name__)
_ACCELERATORS = ("CUDAExecutionProvider", "CoreMLExecutionProvider", "DmlExecutionProvider")
_CPU = "CPUExecutionProvider"
_QUIET = 3  # ONNX Runtime's log level "errors only"


class OnnxModel:
    """A network in an ONNX file with one input (1, 1, X, Y, Z) and one output (1, C, X, Y, Z)."""

    def __init__(self, spec: ModelManifest, path: Path, threads: int = 0, device: Device = "auto") -> None:
        self._spec = spec
        self._path = path
        self._session, self._engine = _open_session(path, threads, device)
        self._input = self._session.get_inputs()[0].name

    @property
    def spec(self) -> ModelManifest:
        """What the model wants and gives."""
        return self._spec

    @property
    def engine(self) -> str:
        """ONNX Runtime's version and the provider in use."""
        return self._engine

    @property
    def device(self) -> Literal["gpu", "cpu"]:
        """Where it really runs."""
        return "gpu" if self._session.get_providers()[0] in _ACCELERATORS else "cpu"

    def predict(self, patch: Float32) -> Float32:
        """Run the network once; see `Model.predict`."""
        from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

        try:
            logits = self._session.run(None, {self._input: np.ascontiguousarray(patch[None, None])})[0]
        except (Fail, InvalidArgument, RuntimeException) as error:
            message = f"{self._path}: the network failed on an input of shape {patch.shape} ({_first_line(error)})."
            raise ModelError(message, "Check fit_shape or patch in model.json against the network.") from error
        expected = (1, self._spec.channels, *patch.shape)
        if logits.shape != expected:
            message = f"{self._path}: the network gives {logits.shape}, model.json promises {expected}."
            raise ModelError(message, "Mend labels or activation in model.json.")
        if not np.isfinite(logits).all():
            message = f"{self._path}: the network gives values that are not finite; its weights are damaged."
            raise ModelError(message, "Copy the model again from its source.")
        result: Float32 = logits[0].astype(np.float32, copy=False)
        return result


def _open_session(path: Path, threads: int, device: Device) -> tuple[Any, str]:
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
        message = f"{path}: is not a network ONNX Runtime can load ({_first_line(error)})."
        raise ModelError(message, "Copy the model again, or export it for a current ONNX Runtime.") from error
    if len(session.get_inputs()) != 1 or len(session.get_outputs()) != 1:
        names = [part.name for part in (*session.get_inputs(), *session.get_outputs())]
        message = f"{path}: a network with one input and one output is expected, this one has {', '.join(names)}."
        raise ModelError(message, "Export the network again with the CT as its only input and logits as its only output.")
    used = session.get_providers()[0]  # what was asked for is not always what runs
    _report_device(path, device, wanted[0], used)
    return session, f"onnxruntime {onnxruntime.__version__} {used}"


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


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
