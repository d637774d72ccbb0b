"""ONNX Runtime as it really runs; every network that cannot be what model.json says is refused with its file."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from atlas_phantoms import make_model, network, softmax_network
from AtlasSegmentLib.devices import Device
from AtlasSegmentLib.errors import ModelError
from AtlasSegmentLib.model import load_model
from AtlasSegmentLib.onnx_network import OnnxNetwork, _wanted_providers
from engine_networks import images, onnx_convolution

PATCH = np.zeros((7, 6, 5), np.float32)
GOOD = softmax_network()


def one_node(operator: str, out: tuple[int | str, ...] = (1, 4, "x", "y", "z"), kind: int = TensorProto.FLOAT, **attributes: int) -> bytes:
    """Return a network of one operator."""
    graph = helper.make_graph(
        [helper.make_node(operator, ["image"], ["logits"], **attributes)],
        "one",
        [helper.make_tensor_value_info("image", kind, (1, 1, "x", "y", "z"))],
        [helper.make_tensor_value_info("logits", kind, out)],
    )
    return bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString())


def test_a_network_gives_one_logit_for_each_class_and_voxel(tmp_path: Path) -> None:
    logits = load_model(make_model(tmp_path, "m", network([1, 2, 3, 4], [0, 0, 0, 5], blur=False))).predict(PATCH + 10)
    assert logits.dtype == np.float32
    assert logits.shape == (4, 7, 6, 5)
    np.testing.assert_allclose(logits[:, 3, 3, 3], [10, 20, 30, 45])


def test_axes_reach_the_network_in_their_order(tmp_path: Path) -> None:
    patch = np.random.default_rng(0).normal(0, 1, (7, 6, 5)).astype(np.float32)
    model = load_model(make_model(tmp_path, "m", network([1, 1, 1, 1], [0, 0, 0, 0], blur=False)))
    np.testing.assert_array_equal(model.predict(patch)[0], patch)
    np.testing.assert_array_equal(model.predict(np.asfortranarray(patch)[::-1])[0], patch[::-1])


def test_the_engine_is_what_the_session_says(tmp_path: Path) -> None:
    network = OnnxNetwork(make_model(tmp_path, "m") / "model.onnx")
    assert network.engine == f"onnxruntime {onnxruntime.__version__} {network._session.get_providers()[0]}"
    assert load_model(tmp_path).engine == network.engine


@pytest.mark.parametrize("threads", [0, 1, 2])
def test_the_number_of_threads_does_not_change_the_result(tmp_path: Path, threads: int) -> None:
    patch = np.random.default_rng(0).normal(0, 300, (7, 6, 5)).astype(np.float32)
    folder = make_model(tmp_path, "m")
    np.testing.assert_allclose(load_model(folder, threads).predict(patch), load_model(folder, 1).predict(patch), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("batch", ["n", 1, 2, 3, 7])
def test_a_network_made_for_another_number_of_patches_gives_the_same(tmp_path: Path, batch: int | str) -> None:
    batches = OnnxNetwork(onnx_convolution(tmp_path / "m.onnx", [1, -2], (batch, 1, "x", "y", "z")), device="cpu")
    given = images(5, size=4)
    np.testing.assert_array_equal(batches.run(given), np.concatenate([given, -2 * given], axis=1))


def test_a_network_in_float16_is_given_float16_and_gives_float32(tmp_path: Path) -> None:
    given = images(2, size=4)
    result = OnnxNetwork(onnx_convolution(tmp_path / "m.onnx", [2], half=True), device="cpu").run(given)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, 2 * given.astype(np.float16).astype(np.float32))


def test_flipped_arrays_are_taken(tmp_path: Path) -> None:
    given = images(2, size=4)[:, :, ::-1]
    np.testing.assert_array_equal(OnnxNetwork(onnx_convolution(tmp_path / "m.onnx", [3]), device="cpu").run(given), 3 * given)


@pytest.mark.parametrize(
    ("shape", "said", "given"),
    [
        (("n", 3, "x", "y", "z"), "any x 3 x any x any x any", "2 x 1 x 4 x 4 x 4"),
        ((1, 1, 8, 6, 4), "1 x 1 x 8 x 6 x 4", "2 x 1 x 4 x 4 x 4"),
        (("n", 1, "x", "y"), "any x 1 x any x any", "2 x 1 x 4 x 4 x 4"),
    ],
)
def test_wrong_channels_and_patches_are_named(tmp_path: Path, shape: tuple[int | str, ...], said: str, given: str) -> None:
    batches = OnnxNetwork(onnx_convolution(tmp_path / "m.onnx", [1], shape), device="cpu")
    with pytest.raises(ModelError, match=rf"m\.onnx: the network wants an input of shape {said}, and is given {given}\."):
        batches.run(images(2, size=4))


def external(path: Path, location: str) -> Path:
    """Write an ONNX network whose weights are said to lie in another file, and that file beside it as w.data."""
    import onnx

    model = onnx.load(onnx_convolution(path, [2]))
    onnx.save_model(model, path, save_as_external_data=True, location="w.data", size_threshold=0)
    model = onnx.load(path, load_external_data=False)
    entry = next(entry for entry in model.graph.initializer[0].external_data if entry.key == "location")
    entry.value = location
    path.write_bytes(model.SerializeToString())
    return path


def test_weights_in_a_second_file_are_read_from_the_same_folder(tmp_path: Path) -> None:
    given = images(1, size=4)
    np.testing.assert_array_equal(OnnxNetwork(external(tmp_path / "m.onnx", "w.data"), device="cpu").run(given), 2 * given)


@pytest.mark.parametrize("place", ["gone", "outside", "absolute", "cut short"])
def test_weights_that_are_not_whole_and_in_the_same_folder_are_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "outside.data").write_bytes(np.float32([2]).tobytes())
    location = {"gone": "x.data", "outside": "../outside.data", "absolute": str(tmp_path / "outside.data"), "cut short": "w.data"}[place]
    (tmp_path / "m").mkdir()
    path = external(tmp_path / "m" / "m.onnx", location)
    if place == "cut short":
        (path.parent / "w.data").write_bytes(b"\0\0")
    with pytest.raises(ModelError, match=r"m\.onnx: is not a network ONNX Runtime can load \(.*xternal") as caught:
        OnnxNetwork(path, device="cpu")
    assert "into the same folder" in caught.value.remedy


@pytest.mark.parametrize(
    "content",
    [
        b"",
        GOOD[:1],
        GOOD[:50],
        GOOD[: len(GOOD) // 2],
        GOOD[:-1],
        b"not a network" * 30,
        one_node("NoSuchOperator"),
        softmax_network(inputs=2),
    ],
    ids=["empty", "1 byte", "50 bytes", "half", "all but one byte", "rubbish", "unknown operator", "two inputs"],
)
def test_what_cannot_be_loaded_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ModelError, match=r"model\.onnx: ") as caught:
        load_model(make_model(tmp_path, "m", content))
    assert "\n" not in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize(
    "content",
    [
        softmax_network((20.0, 150.0)),
        softmax_network((20.0, 150.0, 300.0, 450.0, 600.0)),
        softmax_network(size=(8, 8, 8)),
        network([np.nan] * 4, [0] * 4),
        network([0] * 4, [np.inf, 0, 0, 0]),
        one_node("ReduceSum", (), keepdims=0),
        one_node("Identity", kind=TensorProto.DOUBLE),
        one_node("Identity", kind=TensorProto.FLOAT16),
    ],
    ids=["too few channels", "too many channels", "another size", "NaN weights", "infinite bias", "scalar output", "double", "half"],
)
def test_what_does_not_give_the_promised_logits_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ModelError, match=r"model\.onnx: the network ") as caught:
        load_model(make_model(tmp_path, "m", content)).predict(PATCH)
    assert "\n" not in str(caught.value)
    assert caught.value.remedy


def test_a_machine_without_onnx_runtime_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_model(tmp_path, "m")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelError, match=r"ONNX Runtime is not installed.*pip install"):
        load_model(folder)


def pretend(monkeypatch: pytest.MonkeyPatch, *providers: str) -> None:
    """Let ONNX Runtime say that these providers were compiled in; which ones really work stays as it is."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [*providers, "CPUExecutionProvider"])


no_gpu_here = pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="needs the CPU build")
unknown_provider = pytest.mark.filterwarnings("ignore:Specified provider")


@no_gpu_here
@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_the_cpu_is_used_and_said_where_there_is_no_gpu(tmp_path: Path, device: Device, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        model = load_model(make_model(tmp_path, "m"), device=device)
    assert model.device == "cpu"
    assert "CPUExecutionProvider" in model.engine
    assert "model.onnx runs on CPUExecutionProvider" in caplog.text


def test_a_build_without_gpu_is_refused_when_the_gpu_is_insisted_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "AzureExecutionProvider")
    with pytest.raises(ModelError, match=r"model\.onnx: a GPU was asked for, but the installed ONNX Runtime .* \(Azure, CPU\)") as caught:
        load_model(make_model(tmp_path, "m"), device="gpu")
    assert "onnxruntime-gpu" in caught.value.remedy


@no_gpu_here
@unknown_provider
def test_a_gpu_that_does_not_work_is_refused_when_it_is_insisted_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "CUDAExecutionProvider")
    with pytest.raises(ModelError, match="a GPU was asked for, but CUDAExecutionProvider cannot be used") as caught:
        load_model(make_model(tmp_path, "m"), device="gpu")
    assert "driver" in caught.value.remedy


@no_gpu_here
@unknown_provider
def test_a_gpu_that_does_not_work_is_said_and_the_cpu_used_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pretend(monkeypatch, "CUDAExecutionProvider")
    assert load_model(make_model(tmp_path, "m"), device="auto").device == "cpu"
    assert "CUDAExecutionProvider was asked for, CPUExecutionProvider is in use" in caplog.text


def test_the_libraries_of_the_gpu_are_loaded_only_when_a_gpu_may_be_used_and_print_nothing_on_stdout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_model(tmp_path, "m")
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: print("Failed to load libcudart.so"), raising=False)
    load_model(folder, device="auto")
    pretend(monkeypatch, "CUDAExecutionProvider")
    load_model(folder, device="cpu")
    assert capsys.readouterr() == ("", "")
    assert _wanted_providers(folder, "auto") == ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert capsys.readouterr() == ("", "Failed to load libcudart.so\n")
