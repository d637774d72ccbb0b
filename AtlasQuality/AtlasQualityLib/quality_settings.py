"""Whether quality.json still says what its weights were trained for: a size, rule or network that was edited by hand is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from AtlasQualityLib.quality_manifest import FILE, SAFETENSORS, QualityManifest
from AtlasQualityLib.quality_network import network_shape
from AtlasSegmentLib.errors import ModelError

SETTINGS = "settings"
"""Name, beside those of files, under which quality.json keeps the sum over what cannot be changed without training again."""
_MOST_HEADER = 50_000_000
_AGAIN = "Copy the model again, whole, or train one with these settings."


def settings_sha256(manifest: QualityManifest) -> str:
    """Return the sum over network and slices: what the weights were trained for."""
    slices = {"kind": manifest.slices.kind, "size": manifest.slices.size}
    kept = {"backbone": manifest.backbone, "width": manifest.width, "outline": manifest.outline, "slices": slices}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def require_settings(folder: Path, manifest: QualityManifest) -> None:
    """Check quality.json against the sum that it was written with, where it has one. Raises ModelError when it was edited."""
    if manifest.sha256.get(SETTINGS, settings_sha256(manifest)) != settings_sha256(manifest):
        message = (
            f"{folder / FILE}: {manifest.backbone}, width {manifest.width}, {manifest.slices.kind} slices of {manifest.slices.size} is not "
            "what the weights were trained for: the file was edited."
        )
        raise ModelError(message, _AGAIN)


def require_shapes(folder: Path, manifest: QualityManifest) -> None:
    """Check quality.json against the shapes in model.safetensors, where that lies beside the ONNX file that runs.

    Raises:
        ModelError: They differ, or the file is damaged.
    """
    shapes = _shapes(folder / SAFETENSORS)
    if not shapes:
        return
    weights: Any = {name: SimpleNamespace(shape=shape) for name, shape in shapes.items()}
    backbone, width = network_shape(weights)
    outline = any(name.startswith("outline.") for name in shapes)
    if (backbone, width, outline) != (manifest.backbone, manifest.width, manifest.outline):
        stated, found = _network(manifest.backbone, manifest.width, manifest.outline), _network(backbone, width, outline)
        message = f"{folder / FILE}: {stated} is not the network of {SAFETENSORS}, which is {found}."
        raise ModelError(message, _AGAIN)


def require_size(path: Path, shape: Sequence[object], manifest: QualityManifest) -> None:
    """Check the size of slices against the shape (N, 2, rows, columns) that an ONNX file takes. Raises ModelError."""
    size = manifest.slices.size
    stated = [side for side in shape[2:] if isinstance(side, int)]
    if any(side != size for side in stated):
        message = f"{path.parent / FILE}: states slices of {size} x {size}, {path.name} takes {' x '.join(map(str, stated))}."
        raise ModelError(message, _AGAIN)


def _network(backbone: str, width: int, outline: bool) -> str:
    return f"{backbone}, width {width}, {'with' if outline else 'without'} drawing"


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return name to shape of the tensors of a safetensors file; {} when it is not there. Raises ModelError when it is none."""
    if not path.is_file():
        return {}
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, _MOST_HEADER)))
        return {str(name): tuple(map(int, entry["shape"])) for name, entry in header.items() if name != "__metadata__"}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"{path}: is no safetensors file ({type(error).__name__})."
        raise ModelError(message, "Copy the model again, whole.") from error
