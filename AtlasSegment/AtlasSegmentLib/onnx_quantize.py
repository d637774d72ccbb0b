"""ONNX models made smaller: float16 or 8-bit weights and arithmetic, with what that costs in Dice and time, measured."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from AtlasSegmentLib.engine_memory import first_line
from AtlasSegmentLib.errors import InputError, ModelError
from AtlasSegmentLib.files import copy_file, sha256_of, write_json
from AtlasSegmentLib.model_facts import read_object
from AtlasSegmentLib.model_kinds import kind_of
from AtlasSegmentLib.model_manifest import FILE
from AtlasSegmentLib.new_folder import new_folder
from AtlasSegmentLib.onnx_files import facts_in, read_onnx, require_onnx, to_float16, write_onnx
from AtlasSegmentLib.onnx_network import OnnxNetwork
from AtlasSegmentLib.parity import MaskParity, Recorder, compare_masks, networks_of, with_networks
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress

if TYPE_CHECKING:
    from AtlasSegmentLib.markups import Roi
    from AtlasSegmentLib.model import Model
    from AtlasSegmentLib.network import Float32
    from AtlasSegmentLib.prediction import Region
    from AtlasSegmentLib.volume import Volume

Mode = Literal["fp16", "int8-dynamic", "int8-static"]
MODES: tuple[Mode, ...] = ("fp16", "int8-dynamic", "int8-static")
REPORT = "quantize.json"
_CALIBRATION = 8  # patches, those with most in them
_NOT_COPIED = (".onnx", ".data")
_LARGEST_COPY = 1 << 20


@dataclass(frozen=True)
class Quantized:
    """A finished quantization.

    Attributes:
        folder: The new model folder.
        mode: What was done.
        size_ratio: Bytes of the new networks by those of the old ones.
        time_ratio: Time of the fastest pass of the new network by that of the old one, on this CPU; None without a CT.
        cts: For each CT, how the masks agree with those of the model as it was.
    """

    folder: Path
    mode: Mode
    size_ratio: float
    time_ratio: float | None
    cts: tuple[MaskParity, ...]


@dataclass(frozen=True)
class Sample:
    """A CT to calibrate with and to measure on, and the region of it for models that need one."""

    ct: Volume
    roi: Roi | Region | None = None


def mode_of(text: str) -> Mode:
    """Return the mode that a text names. Raises InputError."""
    for mode in MODES:
        if text == mode:
            return mode
    message = f"{text!r}: is no way to make a model smaller."
    raise InputError(message, f"Choose one of {', '.join(MODES)}.")


def quantize(
    source: Path,
    out: Path,
    mode: Mode,
    samples: Sequence[Sample] = (),
    *,
    threads: int = 0,
    progress: ProgressCallback = ignore_progress,
) -> Quantized:
    """Write a smaller copy of an ONNX model.

    Args:
        source: An atlas model folder (ONNX), or a folder with *.onnx, dataset.json and plans.json.
        out: The new folder; the model as it was stays as it is.
        mode: "fp16": weights and arithmetic in float16. "int8-dynamic": 8-bit weights, ranges of the values found anew for each
            patch. "int8-static": ranges fixed by calibration on the first CT.
        samples: CTs to measure the cost on; int8-static needs one.
        threads: CPU threads; 0 lets ONNX Runtime choose.
        progress: Told the finished share and the stage.

    Raises:
        InputError: `out` is there already, int8-static without a CT, or a CT lacks a region that the model needs.
        ModelError: It is no ONNX model, or cannot be quantized; nothing is left behind.
        StorageError: The folder cannot be written.
    """
    require_onnx(source)
    files = _networks(source)
    if mode == "int8-static" and not samples:
        message = f"{source}: int8-static is calibrated on a CT, and none is given."
        raise InputError(message, "Add --ct FILE: a CT like those that the model will see.")
    from AtlasSegmentLib.model import load_model

    model = load_model(source, threads, "cpu")
    for sample in samples:
        model.require_region(sample.ct, sample.roi)
    with new_folder(out) as folder:
        progress(0.0, "run the model as it is")
        recorders = [Recorder(network, _CALIBRATION) for network in networks_of(model)]
        before = [_masks(with_networks(model, recorders), samples[0])] if samples else []
        before += [_masks(model, sample) for sample in samples[1:]]
        for number, path in enumerate(files):
            progress(0.4 + 0.2 * number / len(files), f"{mode} of {path.name}")
            _write(path, folder / path.name, mode, recorders[number].patches)
        _describe(source, folder, files, mode)
        smaller = [Recorder(OnnxNetwork(folder / path.name, threads, "cpu")) for path in files]
        progress(0.6, "run the smaller model")
        cts = tuple(_compared(with_networks(model, smaller), sample, old) for sample, old in zip(samples, before, strict=True))
        faster = smaller[0].seconds / recorders[0].seconds if samples else None
        ratio = sum((folder / path.name).stat().st_size for path in files) / sum(path.stat().st_size for path in files)
        result = Quantized(out, mode, ratio, faster, cts)
        write_json(folder / REPORT, _report(source, result))
    return result


def _networks(source: Path) -> list[Path]:
    """Return the ONNX files of a model folder. Raises ModelError."""
    kind = kind_of(source)
    manifest = read_object(source / FILE) if kind == "atlas" else {}
    if kind in {"nnunet", "monai", "torchscript"} or manifest.get("engine", "onnx") != "onnx":
        message = f"{source}: is run by Torch."
        raise ModelError(message, "Make an ONNX model of it first: atlas model export-onnx.")
    files = [source / str(manifest.get("file"))] if kind == "atlas" else sorted(source.glob("*.onnx"))
    if kind == "unknown" or not files:
        message = f"{source}: is no folder with an ONNX model."
        raise ModelError(message, "Give a folder with model.json, or with *.onnx, dataset.json and plans.json.")
    return files


def _masks(model: Model, sample: Sample) -> Any:
    from AtlasSegmentLib.inference_settings import PRESETS

    return model.segment(sample.ct, sample.roi, PRESETS["balanced"]).masks(sample.ct.grid)


def _compared(model: Model, sample: Sample, before: Any) -> MaskParity:
    return compare_masks(sample.ct.grid, model.spec.table, before, _masks(model, sample), Path(sample.ct.source).name)


def _write(source: Path, target: Path, mode: Mode, patches: Sequence[Float32]) -> None:
    model = read_onnx(source)
    facts = {**facts_in({entry.key: entry.value for entry in model.metadata_props}), "quantized": mode, "quantized_from": sha256_of(source)}
    if mode == "fp16":
        write_onnx(to_float16(model), target, facts)
        return
    del model
    with tempfile.TemporaryDirectory() as name, _quiet():
        prepared, result = Path(name) / "prepared.onnx", Path(name) / "result.onnx"
        try:
            _to_int8(source, prepared, result, patches if mode == "int8-static" else None)
        except (RuntimeError, ValueError, TypeError, KeyError, AttributeError, NotImplementedError, OSError) as error:
            message = f"{source}: cannot be quantized ({first_line(error)})."
            raise ModelError(message, "Use --mode fp16, or the model as it is.") from error
        write_onnx(read_onnx(result), target, facts)


def _to_int8(source: Path, prepared: Path, result: Path, patches: Sequence[Float32] | None) -> None:
    """Quantize weights to 8 bit for each output channel, and values dynamically or, with patches, in fixed ranges."""
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    if patches is None:
        quantize_dynamic(str(prepared), str(result), weight_type=QuantType.QUInt8)
        return
    quantize_static(
        str(prepared),
        str(result),
        _Patches(prepared, patches),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
    )


class _Patches:
    """Patches as ONNX Runtime's calibration reads them."""

    def __init__(self, path: Path, patches: Sequence[Float32]) -> None:
        self._name = read_onnx(path).graph.input[0].name
        self._patches = iter(patches)

    def get_next(self) -> dict[str, Float32] | None:
        """Return the next patch, None after the last one."""
        patch = next(self._patches, None)
        return None if patch is None else {self._name: patch}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep ONNX Runtime's quantization from writing advice to its developers into everybody's log."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)


def _describe(source: Path, folder: Path, files: Sequence[Path], mode: Mode) -> None:
    for path in sorted(source.iterdir()):
        small = path.is_file() and path.stat().st_size <= _LARGEST_COPY
        if small and path.suffix not in _NOT_COPIED and path.name not in {FILE, REPORT}:
            copy_file(path, folder / path.name)
    if (source / FILE).is_file():
        manifest = read_object(source / FILE)
        manifest.pop("measured", None)  # of other weights
        name = f"{manifest.get('name')}-{mode}"
        write_json(folder / FILE, {**manifest, "name": name, "sha256": sha256_of(folder / files[0].name)})


def _report(source: Path, result: Quantized) -> dict[str, Any]:
    import onnxruntime

    return {
        "source": source.name,
        "mode": result.mode,
        "onnxruntime": onnxruntime.__version__,
        "size_ratio": result.size_ratio,
        "time_ratio": result.time_ratio,
        "cts": [asdict(ct) for ct in result.cts],
    }
