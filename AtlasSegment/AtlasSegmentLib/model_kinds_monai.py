"""MONAI bundles: configs/metadata.json, configs/inference.json and models/model.pt (or model.ts)."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from AtlasSegmentLib.errors import AtlasError, ModelError
from AtlasSegmentLib.model_facts import (
    COPY_AGAIN,
    ModelFacts,
    Need,
    checked,
    license_in,
    listing,
    read_object,
    size_of,
    with_weights,
)
from AtlasSegmentLib.names import safe_name

METADATA = Path("configs") / "metadata.json"
_INFERENCE = ("inference.json", "inference.yaml", "inference.yml")
_WEIGHTS = ("model.pt", "model.ts")
_CHANNELS = ("channel_def", "label_def")
_NO_STRUCTURES = "names no structures (network_data_format, outputs, pred, channel_def), so this is no bundle that segments."


def config_path(folder: Path) -> Path | None:
    """Return the inference config of a bundle, or None when it has none."""
    return next((path for name in _INFERENCE if (path := folder / "configs" / name).is_file()), None)


def bundle_name(metadata: dict[str, Any], folder: Path) -> str:
    """Return the name of a bundle: its metadata's, where that can be a folder's name, else its folder's."""
    named = metadata.get("name")
    try:
        return safe_name(named, "name") if isinstance(named, str) else folder.resolve().name
    except AtlasError:
        return folder.resolve().name


def label_names(folder: Path, metadata: dict[str, Any], *, softmax: bool) -> tuple[dict[int, str], bool]:
    """Return (label value to name, whether channel 0 is background) of a bundle's output.

    Args:
        folder: The bundle.
        metadata: Its metadata.json.
        softmax: Whether its channels exclude each other; then channel 0 is background whatever it is called.

    Raises:
        ModelError: It names no structures.
    """
    channels = _channels(metadata)
    if channels is None:
        message = f"{folder / METADATA}: {_NO_STRUCTURES}"
        raise ModelError(message, "Choose a bundle for segmentation.")
    background = softmax or channels.get(0, "").casefold() == "background"
    return {number if background else number + 1: name for number, name in channels.items() if not (background and number == 0)}, background


def is_monai(folder: Path) -> bool:
    """Tell whether a folder looks like a MONAI bundle, whole or not."""
    configs = folder / "configs"
    return (folder / METADATA).is_file() or any((configs / name).is_file() for name in _INFERENCE)


def describe_monai(folder: Path) -> ModelFacts:
    """Return what a bundle's metadata says. Raises ModelError."""
    configs = folder / "configs"
    if not (folder / METADATA).is_file():
        message = f"A MONAI bundle has {METADATA.as_posix()}; it is missing here (configs holds {listing(configs)})."
        raise ModelError(message, COPY_AGAIN)
    metadata = read_object(folder / METADATA)
    if not any((configs / name).is_file() for name in _INFERENCE):
        message = f"A MONAI bundle has configs/{_INFERENCE[0]} or .yaml; it is missing here (configs holds {listing(configs)})."
        raise ModelError(message, "Copy the bundle again; one made for training alone cannot be run.")
    organs = _organs(metadata)
    weights = next((folder / "models" / name for name in _WEIGHTS if (folder / "models" / name).is_file()), None)
    if weights is None:
        message = f"A MONAI bundle has models/model.pt or models/model.ts; there is none here (models holds {listing(folder / 'models')})."
        raise ModelError(message, "Download the bundle's weights (its large_files.yml says where they are), or copy the bundle again.")
    facts = ModelFacts(
        path=folder,
        kind="monai",
        name=bundle_name(metadata, folder),
        title=str(metadata.get("description") or metadata.get("task") or ""),
        organs=organs,
        license=str(metadata.get("license") or "") or license_in(folder),
        size=size_of([*configs.glob("*"), weights]),
        needs=_needs(folder, weights),
    )
    facts = with_weights(facts, [weights], script=weights.suffix == ".ts")
    return checked(facts, lambda: _check(folder)) if facts.usable else facts


def _needs(folder: Path, weights: Path) -> tuple[Need, ...]:
    """Return what must be installed: MONAI itself for a checkpoint, whose network is built with it."""
    needs: tuple[Need, ...] = ("manifest", "torch") if weights.suffix == ".ts" else ("manifest", "torch", "monai")
    config = config_path(folder)
    return needs if config is None or config.suffix == ".json" else (*needs, "yaml")


def _check(folder: Path) -> None:
    """Check what the config asks for, where the packages that this needs are there. Raises ModelError."""
    wanted = ("pydantic",) if (folder / "configs" / _INFERENCE[0]).is_file() else ("pydantic", "yaml")
    if all(importlib.util.find_spec(name) is not None for name in wanted):
        from AtlasSegmentLib.monai_bundle import check_bundle

        check_bundle(folder)


def _organs(metadata: dict[str, Any]) -> tuple[str, ...]:
    channels = _channels(metadata) or {}
    found = tuple(name for _, name in sorted(channels.items()) if name.casefold() != "background")
    if not found:
        message = f"metadata.json {_NO_STRUCTURES}"
        raise ModelError(message, "Choose a bundle for segmentation.")
    return found


def _channels(metadata: dict[str, Any]) -> dict[int, str] | None:
    """Return channel number to name, or None when the metadata does not say it."""
    data: Any = metadata
    for key in ("network_data_format", "outputs", "pred"):
        data = data.get(key) if isinstance(data, dict) else None
    named = next((data[key] for key in _CHANNELS if isinstance(data.get(key), dict)), None) if isinstance(data, dict) else None
    if not named or not all(str(key).isdecimal() and isinstance(name, str) for key, name in named.items()):
        return None
    channels = {int(key): name for key, name in named.items()}
    return channels if any(name.casefold() != "background" for name in channels.values()) else None
