"""MONAI bundles: configs/metadata.json, configs/inference.json and models/model.pt (or model.ts)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from AtlasSegmentLib.errors import ModelError
from AtlasSegmentLib.model_facts import (
    COPY_AGAIN,
    NO_TORCH,
    NO_TORCH_REMEDY,
    ModelFacts,
    license_in,
    listing,
    read_object,
    size_of,
    with_weights,
)

METADATA = Path("configs") / "metadata.json"
_INFERENCE = ("inference.json", "inference.yaml", "inference.yml")
_WEIGHTS = ("model.ts", "model.pt")


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
        name=str(metadata.get("name") or folder.name),
        title=str(metadata.get("description") or metadata.get("task") or ""),
        organs=organs,
        license=str(metadata.get("license") or "") or license_in(folder),
        size=size_of([*configs.glob("*"), weights]),
        problem=NO_TORCH,
        remedy=NO_TORCH_REMEDY,
    )
    return with_weights(facts, [weights], script=weights.suffix == ".ts")


def _organs(metadata: dict[str, Any]) -> tuple[str, ...]:
    data: Any = metadata
    for key in ("network_data_format", "outputs", "pred", "channel_def"):
        data = data.get(key) if isinstance(data, dict) else None
    named = isinstance(data, dict) and bool(data) and all(str(key).isdecimal() for key in data)
    organs = (str(name) for _, name in sorted(data.items(), key=lambda item: int(item[0]))) if named else ()
    found = tuple(name for name in organs if name.casefold() != "background")
    if not found:
        message = "metadata.json names no structures (network_data_format, outputs, pred, channel_def), so this is no bundle that segments."
        raise ModelError(message, "Choose a bundle for segmentation.")
    return found
