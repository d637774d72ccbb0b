"""Memory that runs out below a network: what is given up is said, and what cannot be run is refused with what to do."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from AtlasSegmentLib import onnx_network, torch_network
from AtlasSegmentLib.devices import Device
from AtlasSegmentLib.engine_memory import memory_full
from AtlasSegmentLib.errors import ModelError
from AtlasSegmentLib.inference_settings import Precision
from AtlasSegmentLib.onnx_network import OnnxNetwork
from AtlasSegmentLib.torch_network import TorchNetwork
from engine_networks import images, onnx_convolution

FULL = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8.00 GiB"
IMAGES = images(5, size=4)
SIMULATED = torch.device("cpu", 0)


class Crowded(nn.Module):
    """Doubles an image on a simulated GPU that holds only so many patches, and none in float32 if that is too large."""

    def __init__(self, patches: int, *, halves: bool = False) -> None:
        super().__init__()
        self.patches, self.halves, self.place, self.seen = patches, halves, SIMULATED, []
        self.weight = nn.Parameter(torch.tensor(2.0))

    def to(self, *args: Any, **kwargs: Any) -> Crowded:
        self.place = args[0]
        if self.place == SIMULATED and self.patches < 0:
            raise torch.OutOfMemoryError(FULL)
        return super().to(*args, **kwargs)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(image))
        needed = len(image) if torch.is_autocast_enabled("cpu") or not self.halves else 2 * len(image)
        if self.place == SIMULATED and needed > self.patches:
            raise torch.OutOfMemoryError(FULL)
        return image * self.weight


@pytest.fixture
def simulated_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A simulation: the network takes the first CPU for a GPU."""
    monkeypatch.setattr(torch_network, "open_device", lambda _, device: torch.device("cpu") if device == "cpu" else SIMULATED)
    monkeypatch.setattr(torch_network, "is_gpu", lambda device: device == SIMULATED)


def crowded(module: Crowded, precision: Precision = "float16", device: Device = "auto") -> TorchNetwork:
    return TorchNetwork(module, device, precision=precision, name="net")


@pytest.mark.usefixtures("simulated_gpu")
def test_a_batch_that_does_not_fit_on_the_gpu_is_halved_once_and_that_is_said(caplog: pytest.LogCaptureFixture) -> None:
    module = Crowded(2)
    network = crowded(module)
    np.testing.assert_array_equal(network.run(IMAGES), 2 * IMAGES)
    np.testing.assert_array_equal(network.run(IMAGES), 2 * IMAGES)
    assert module.seen == [5, 2, 2, 1, 2, 2, 1]
    assert caplog.messages == ["net: GPU memory is full with batches of 5; batches of 2 are run from here on."]
    assert network.device == "gpu"


@pytest.mark.usefixtures("simulated_gpu")
def test_float16_is_tried_before_the_gpu_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    network = crowded(Crowded(1, halves=True), "float32")
    assert network.engine.endswith("float32")
    np.testing.assert_array_equal(network.run(IMAGES[:1]), 2 * IMAGES[:1])
    assert network.engine.endswith("float16")
    assert caplog.messages == ["net: GPU memory is full; float16 is used instead of float32."]


@pytest.mark.usefixtures("simulated_gpu")
@pytest.mark.parametrize("precision", ["float16", "float32"])
def test_the_cpu_takes_over_where_not_even_one_patch_fits(precision: Precision, caplog: pytest.LogCaptureFixture) -> None:
    network = crowded(Crowded(0), precision)
    np.testing.assert_array_equal(network.run(IMAGES), 2 * IMAGES)
    assert caplog.messages[-1] == "net: GPU memory is full; the CPU is used instead of cpu:0, which takes much longer."
    assert (network.device, network.precision, network.torch_device) == ("cpu", "float32", torch.device("cpu"))
    assert network.engine == f"torch {torch.__version__} cpu"


@pytest.mark.usefixtures("simulated_gpu")
def test_the_cpu_takes_over_where_the_weights_do_not_fit(caplog: pytest.LogCaptureFixture) -> None:
    network = crowded(Crowded(-1))
    assert (network.device, network.precision) == ("cpu", "float32")
    assert caplog.messages == ["net: GPU memory is full; the CPU is used instead of cpu:0, which takes much longer."]
    np.testing.assert_array_equal(network.run(IMAGES), 2 * IMAGES)


@pytest.mark.usefixtures("simulated_gpu")
def test_a_gpu_that_is_insisted_on_is_not_given_up() -> None:
    with pytest.raises(ModelError, match=r"net: GPU memory is full with a single patch \(CUDA out of memory") as caught:
        crowded(Crowded(0), device="gpu").run(IMAGES)
    assert "CPU or auto" in caught.value.remedy


class Overflowing(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.half() * 70000 if torch.is_autocast_enabled("cpu") else image * 70000


@pytest.mark.usefixtures("simulated_gpu")
def test_values_too_large_for_float16_are_computed_again_in_float32(caplog: pytest.LogCaptureFixture) -> None:
    network = TorchNetwork(Overflowing(), name="net")
    np.testing.assert_array_equal(network.run(IMAGES), IMAGES * np.float32(70000))
    assert caplog.messages == ["net: values overflow in float16; float32 is used from here on."]
    assert network.engine.endswith("float32")


class FullSession:
    """A simulated GPU session of ONNX Runtime whose memory holds only so many patches."""

    def __init__(self, session: Any, patches: int) -> None:
        self._session, self._patches = session, patches
        self.get_inputs = session.get_inputs

    def get_providers(self) -> list[str]:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def run(self, names: None, given: dict[str, np.ndarray]) -> Any:
        from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException

        if len(next(iter(given.values()))) > self._patches:
            message = "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Failed to allocate memory for requested buffer of size 2147483648"
            raise RuntimeException(message)
        return self._session.run(names, given)


def onnx_on_a_simulated_gpu(path: Path, monkeypatch: pytest.MonkeyPatch, patches: int, device: Device = "auto") -> OnnxNetwork:
    onnx_convolution(path, [1, 2])
    real = onnx_network.open_session

    def opened(path: Path, threads: int, device: Device) -> tuple[Any, str]:
        session, engine = real(path, threads, "cpu")
        return (session, engine) if device == "cpu" else (FullSession(session, patches), "onnxruntime CUDAExecutionProvider")

    monkeypatch.setattr(onnx_network, "open_session", opened)
    return OnnxNetwork(path, device=device)


def test_onnx_runtime_halves_the_batch_and_then_takes_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for patches, place in ((2, "gpu"), (0, "cpu")):
        caplog.clear()
        network = onnx_on_a_simulated_gpu(tmp_path / "m.onnx", monkeypatch, patches)
        np.testing.assert_array_equal(network.run(IMAGES), IMAGES * np.array([1, 2], np.float32).reshape(1, 2, 1, 1, 1))
        assert network.device == place
        assert caplog.messages[0].endswith("m.onnx: GPU memory is full with batches of 5; batches of 2 are run from here on.")
    assert caplog.messages[-1].endswith("CPUExecutionProvider is used instead of CUDAExecutionProvider, which takes much longer.")
    assert "CPUExecutionProvider" in network.engine


def test_onnx_runtime_does_not_leave_a_gpu_that_is_insisted_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = onnx_on_a_simulated_gpu(tmp_path / "m.onnx", monkeypatch, 0, "gpu")
    with pytest.raises(ModelError, match=r"m\.onnx: GPU memory is full with a single patch"):
        network.run(IMAGES)


@pytest.mark.parametrize(
    ("error", "on_gpu", "expected"),
    [
        (torch.OutOfMemoryError(FULL), True, "gpu"),
        (RuntimeError("CUDA error: out of memory"), True, "gpu"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True, "gpu"),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), True, "gpu"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried"), False, "host"),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes"), True, "host"),
        (MemoryError("Unable to allocate 4 GiB for an array"), True, "host"),
        (RuntimeError("Failed to allocate memory for requested buffer of size 9"), True, "gpu"),
        (RuntimeError("Failed to allocate memory for requested buffer of size 9"), False, "host"),
        (RuntimeError("expected input to have 1 channels"), True, None),
    ],
)
def test_full_memory_is_told_from_other_failures(error: Exception, on_gpu: bool, expected: str | None) -> None:
    assert memory_full(error, on_gpu=on_gpu) == expected


LIMITED = """
    import logging, resource, sys
    import numpy as np, torch
    from AtlasSegmentLib.errors import ModelError
    from AtlasSegmentLib.onnx_network import OnnxNetwork
    from AtlasSegmentLib.torch_network import TorchNetwork
    from pathlib import Path

    logging.basicConfig(format="%(message)s", stream=sys.stdout)
    torch.manual_seed(0)
    networks = [
        TorchNetwork(torch.nn.Conv3d(1, 64, 3, padding=1), "cpu", 1, name="torch"),
        OnnxNetwork(Path(sys.argv[1]), 1, "cpu"),
    ]
    patches = np.zeros((2, 1, 96, 96, 96), np.float32)  # 64 channels of one: 226 MB
    for network in networks:
        network.run(patches[:, :, :8, :8, :8])
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    for network, megabytes in ((networks[0], 150), (networks[1], 150), (networks[0], 1000)):
        resource.setrlimit(resource.RLIMIT_AS, (used + megabytes * 2**20, hard))
        try:
            print(network.run(patches).shape)
        except ModelError as error:
            print(error)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs a limit on memory as Linux has it")
def test_full_host_memory_is_said_with_what_to_do(tmp_path: Path) -> None:
    path = onnx_convolution(tmp_path / "m.onnx", np.ones(64).tolist())
    folders = [str(Path(onnx_network.__file__).parents[1])]
    code = f"import sys; sys.path[:0] = {folders!r}\n{textwrap.dedent(LIMITED)}"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 5, done.stdout
    for name, (halved, refused) in {"torch": lines[:2], str(path): lines[2:4]}.items():
        assert halved == f"{name}: memory is full with batches of 2; batches of 1 are run from here on."
        assert refused.startswith(f"{name}: memory is full with a single patch (")
        assert refused.endswith("run fewer jobs at a time, or choose a model with a smaller patch.")
    assert lines[4] == "(2, 64, 96, 96, 96)"  # with room again, the same network works
