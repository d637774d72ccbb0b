"""Atlas model folders: model.json and the network beside it, ONNX, TorchScript or a checkpoint of the universal model.

Read without pydantic, which Slicer lacks at first.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from AtlasSegmentLib.errors import AtlasError, ModelError
from AtlasSegmentLib.model_facts import Kind, ModelFacts, Need, license_in, read_object, size_of, with_weights
from AtlasSegmentLib.names import safe_name
from AtlasSegmentLib.universal_network import ARCHITECTURES

FILE = "model.json"
_FORMAT = "atlas-model/1"
_MEND = "Mend model.json as the README's model section describes."
_ENGINES: dict[str, tuple[Kind, tuple[Need, ...]]] = {
    "onnx": ("atlas", ("manifest", "onnx")),
    "torchscript": ("torchscript", ("manifest", "torch")),
    "torch": ("universal", ("manifest", "torch")),
}


def is_atlas(folder: Path) -> bool:
    """Tell whether a folder holds a model.json."""
    return (folder / FILE).is_file()


def describe_atlas(folder: Path, *, thorough: bool = False) -> ModelFacts:
    """Return what model.json says.

    Args:
        folder: A folder with model.json.
        thorough: Let the full reader check it too, where pydantic is installed.

    Raises:
        ModelError: model.json does not describe a model, or the network is missing or damaged.
    """
    content = read_object(folder / FILE)
    _require_format(content)
    kind, needs = _engine(content)
    files = [folder / _text(content, "file")]
    if kind == "universal":
        needs += _universal_needs(content, files[0])
        files += [folder / _text(content, "text_encoding")] if content.get("text_encoding") else []
    facts = ModelFacts(
        path=folder,
        kind=kind,
        name=_text(content, "name"),
        title=str(content.get("title", "")),
        organs=_organs(content),
        license=str(content.get("license", "")) or license_in(folder),
        size=size_of([folder / FILE, *files, *folder.glob(f"{files[0].name}*data")]),
        needs_roi=_needs_roi(content),
        needs=needs,
        caution=_use(content),
    )
    facts = with_weights(facts, files, script=kind == "torchscript")
    if facts.usable and thorough and importlib.util.find_spec("pydantic") is not None:
        from AtlasSegmentLib.model_manifest import read_manifest

        read_manifest(folder)
    return facts


def _use(content: dict[str, Any]) -> str:
    """Return what the card of a model of `atlas train` says that it may be used for."""
    card = content.get("card")
    use = card.get("use") if isinstance(card, dict) else None
    return use if isinstance(use, str) else ""


def _require_format(content: dict[str, Any]) -> None:
    if content.get("format") == _FORMAT:
        return
    found = (
        f"format {content['format']!r}" if "format" in content else f"no format, but the keys {', '.join(sorted(content)[:6]) or 'none'}"
    )
    message = f'{FILE} has {found}; expected format "{_FORMAT}".'
    remedy = "Update Atlas Annotator." if str(content.get("format", "")).startswith("atlas-model/") else _MEND
    raise ModelError(message, remedy)


def _engine(content: dict[str, Any]) -> tuple[Kind, tuple[Need, ...]]:
    engine = content.get("engine")
    if isinstance(engine, str) and engine in _ENGINES:
        return _ENGINES[engine]
    message = f"{FILE}: engine {engine!r:.60} is not known; {', '.join(_ENGINES)} are."
    raise ModelError(message, _MEND)


def _universal_needs(content: dict[str, Any], weights: Path) -> tuple[Need, ...]:
    architecture = content.get("architecture")
    if architecture not in ARCHITECTURES:
        message = f"{FILE}: architecture {architecture!r:.60} is not known; {' and '.join(ARCHITECTURES)} are."
        raise ModelError(message, _MEND)
    transformer: tuple[Need, ...] = ("monai",) if "swin" in str(architecture) else ()
    return (*transformer, "safetensors") if weights.suffix == ".safetensors" else transformer


def _text(content: dict[str, Any], key: str) -> str:
    value = content.get(key)
    if not isinstance(value, str) or not value:
        message = f"{FILE}: {key} must be text, got {value!r:.60}."
        raise ModelError(message, _MEND)
    try:
        return safe_name(value, f"{FILE}: {key}")
    except AtlasError as error:
        raise ModelError(error.message, _MEND) from error


def _organs(content: dict[str, Any]) -> tuple[str, ...]:
    labels = content.get("labels")
    if not isinstance(labels, dict) or not all(str(value).isdecimal() and isinstance(name, str) for value, name in labels.items()):
        message = f'{FILE}: labels must map numbers to names, such as {{"0": "background", "1": "liver"}}, got {labels!r:.60}.'
        raise ModelError(message, _MEND)
    organs = tuple(name for value, name in sorted(labels.items(), key=lambda item: int(item[0])) if int(value))
    if not organs:
        message = f"{FILE}: labels name no structure beside background (0)."
        raise ModelError(message, _MEND)
    return organs


def _needs_roi(content: dict[str, Any]) -> bool:
    """Say what `ModelManifest.needs_roi` says."""
    seen = content.get("input")
    if not isinstance(seen, dict) or not (("fit_shape" in seen) ^ ("spacing" in seen and "patch" in seen)):
        message = f"{FILE}: input needs either fit_shape, or spacing together with patch."
        raise ModelError(message, _MEND)
    asked = seen.get("requires_roi")
    return asked if isinstance(asked, bool) else "fit_shape" in seen
