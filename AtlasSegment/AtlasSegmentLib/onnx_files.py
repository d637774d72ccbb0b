"""ONNX files as files: read, turned into float16, written whole with a note of where they come from."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from AtlasSegmentLib.errors import ModelError
from AtlasSegmentLib.files import atomic_path
from AtlasSegmentLib.onnx_norm import with_plain_norms

METADATA = "atlas"
"""Key of an ONNX file's metadata under which an export says where it comes from, as JSON: fold, configuration, trainer,
mirror_axes and the SHA-256 of the weights."""

_LARGEST = 2**31 - 1  # bytes of a protobuf message
_EXTRA = 'Run: pip install "slicer-atlas-annotator[export]".'


def require_onnx(what: str | Path) -> None:
    """Check that the packages that write ONNX files are installed. Raises ModelError."""
    try:
        import onnx
        import onnxruntime  # noqa: F401
    except ImportError as error:
        message = f"{what}: needs the package {error.name or 'onnx'}, which is not installed."
        raise ModelError(message, _EXTRA) from error
    _ = onnx


def read_onnx(path: Path) -> Any:
    """Return an ONNX file as onnx.ModelProto, with weights of a second file in the same folder. Raises ModelError."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        return onnx.load(str(path))
    except (DecodeError, OSError, ValueError, onnx.checker.ValidationError) as error:
        message = f"{path}: is not an ONNX file ({str(error).strip()[:160] or type(error).__name__})."
        raise ModelError(message, "Copy the model again from its source.") from error


def write_onnx(model: Any, path: Path, facts: Mapping[str, Any]) -> None:
    """Write an ONNX network whole, with `facts` in its metadata; see METADATA.

    Raises:
        ModelError: It is larger than an ONNX file can be.
        StorageError: It cannot be written.
    """
    import onnx

    kept = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, {**kept, METADATA: json.dumps(dict(facts))})
    if model.ByteSize() > _LARGEST:
        message = f"{path}: the network has {model.ByteSize() / 1e9:.1f} GB, more than the 2 GB that an ONNX file can hold."
        raise ModelError(message, "Export it with --precision float16, or run it with Torch.")
    with atomic_path(path) as temporary:
        temporary.write_bytes(model.SerializeToString())


def to_float16(model: Any) -> Any:
    """Return an ONNX network whose weights and arithmetic are float16; input and output stay float32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one for every weight below 6e-8, which becomes that
        converted = convert_float_to_float16(with_plain_norms(model), keep_io_types=True)
    _sort_nodes(converted.graph)
    return converted


def _sort_nodes(graph: Any) -> None:
    """Put every node behind those that it needs, as ONNX wants it; the converter appends its casts at the end."""
    made = {name for node in graph.node for name in node.output if name}
    waiting, done, ordered = list(graph.node), set(), []
    while waiting:
        ready = [node for node in waiting if all(name in done or name not in made for name in node.input)]
        if not ready:  # a circle, which no exporter writes: the reader will say so
            return
        ordered += ready
        done |= {name for node in ready for name in node.output}
        waiting = [node for node in waiting if not set(node.output) <= done]
    nodes = [type(node).FromString(node.SerializeToString()) for node in ordered]
    del graph.node[:]
    graph.node.extend(nodes)


def facts_in(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return what an export says about itself in a network's metadata; {} for files of other programs."""
    try:
        facts = json.loads(metadata.get(METADATA, "{}"))
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}
