"""nnU-Net v2 model folders (both dialects of plans.json) and the ONNX folders that AutoOrgan makes of them."""

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

DATASET, PLANS = "dataset.json", "plans.json"
_CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_best.pth")
_NO_READER = "This version cannot run AutoOrgan's ONNX folders yet."
_NO_READER_REMEDY = "It stays in the list for a later version; use an atlas model folder (ONNX) now."


def is_nnunet(folder: Path) -> bool:
    """Tell whether a folder looks like an nnU-Net v2 model folder, whole or not."""
    named = folder.name.count("__") == 2
    folds = any(path.is_dir() for path in folder.glob("fold_*"))
    files = (folder / DATASET).is_file() or (folder / PLANS).is_file()
    return (files and (named or folds)) or (named and folds)


def is_autoorgan(folder: Path) -> bool:
    """Tell whether a folder holds an ONNX network with nnU-Net's dataset.json or plans.json."""
    return any(folder.glob("*.onnx")) and ((folder / DATASET).is_file() or (folder / PLANS).is_file())


def describe_nnunet(folder: Path) -> ModelFacts:
    """Return what dataset.json and plans.json of an nnU-Net v2 model folder say. Raises ModelError."""
    dataset, plans = _pair(folder, "an nnU-Net v2 model folder")
    organs = organs_of(dataset)
    configuration = _configuration_name(folder, plans)
    require_architecture(resolved_configuration(plans, configuration), configuration)
    checkpoints = _checkpoints(folder)
    name = f"{plans.get('dataset_name') or dataset.get('name') or folder.parent.name} {configuration}"
    facts = ModelFacts(
        path=folder,
        kind="nnunet",
        name=name,
        title=_title(dataset, f"nnU-Net, {len(checkpoints)} fold{'s' if len(checkpoints) > 1 else ''}"),
        organs=organs,
        license=_license(folder, dataset),
        size=size_of([folder / DATASET, folder / PLANS, *checkpoints]),
        problem=NO_TORCH,
        remedy=NO_TORCH_REMEDY,
    )
    return with_weights(facts, checkpoints)


def describe_autoorgan(folder: Path) -> ModelFacts:
    """Return what an ONNX folder with dataset.json and plans.json says. Raises ModelError."""
    dataset, plans = _pair(folder, "an AutoOrgan ONNX folder")
    network = min(folder.glob("*.onnx"))
    facts = ModelFacts(
        path=folder,
        kind="autoorgan",
        name=str(plans.get("dataset_name") or dataset.get("name") or folder.name),
        title=_title(dataset, "AutoOrgan ONNX export of an nnU-Net"),
        organs=organs_of(dataset),
        license=_license(folder, dataset),
        size=size_of([folder / DATASET, folder / PLANS, network]),
        problem=_NO_READER,
        remedy=_NO_READER_REMEDY,
    )
    return with_weights(facts, [network])


def _pair(folder: Path, what: str) -> tuple[dict[str, Any], dict[str, Any]]:
    for name in (DATASET, PLANS):
        if not (folder / name).is_file():
            message = f"{what} has {DATASET} and {PLANS}; {name} is missing here (found {listing(folder)})."
            raise ModelError(message[0].upper() + message[1:], COPY_AGAIN)
    return read_object(folder / DATASET), read_object(folder / PLANS)


def organs_of(dataset: dict[str, Any]) -> tuple[str, ...]:
    """Return the structures of a dataset.json in the order of their values, without background and ignore.

    Raises:
        ModelError: It is of nnU-Net v1, wants more than one image, or its labels are not names with whole numbers.
    """
    labels = dataset.get("labels")
    if not isinstance(labels, dict) or not labels:
        message = f"{DATASET} has no labels (names with their values)."
        raise ModelError(message, COPY_AGAIN)
    if all(str(key).isdecimal() for key in labels):
        message = f"{DATASET} is of nnU-Net v1 (its labels map values to names); v2 is needed."
        raise ModelError(message, "Train or convert the model with nnU-Net v2.")
    channels = dataset.get("channel_names")
    if not isinstance(channels, dict) or len(channels) != 1:
        found = ", ".join(map(str, channels.values())) if isinstance(channels, dict) and channels else "none"
        message = f"{DATASET}: the model must want one image, the CT; its channel_names are: {found}."
        raise ModelError(message, "Choose a model that was trained on CT alone.")
    if "background" not in labels:
        message = f'{DATASET}: labels have no "background": 0.'
        raise ModelError(message, COPY_AGAIN)
    values = {name: _first_value(name, value) for name, value in labels.items()}
    organs = sorted((name for name in values if name not in {"background", "ignore"}), key=lambda name: values[name])
    if not organs:
        message = f"{DATASET}: labels name no structure beside background."
        raise ModelError(message, COPY_AGAIN)
    return tuple(organs)


def _first_value(name: str, value: Any) -> int:
    """Return a label's value; a region (a list of values) counts by its smallest."""
    values: list[Any] = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(number, int) and not isinstance(number, bool) and number >= 0 for number in values):
        message = f"{DATASET}: label {name!r} must have a whole number or a list of them, got {value!r:.40}."
        raise ModelError(message, COPY_AGAIN)
    return int(min(values))


def _configuration_name(folder: Path, plans: dict[str, Any]) -> str:
    configurations = plans.get("configurations")
    if not isinstance(configurations, dict) or not configurations:
        message = f"{PLANS} has no configurations, so it is not of nnU-Net v2 (its keys are {', '.join(sorted(plans)[:6]) or 'none'})."
        raise ModelError(message, COPY_AGAIN)
    parts = folder.name.split("__")
    wanted = parts[2] if len(parts) == 3 else None
    if wanted is None:
        wanted = "3d_fullres" if "3d_fullres" in configurations else min(configurations)
    if wanted not in configurations:
        message = f"{PLANS} has no configuration {wanted!r}, which the folder's name asks for; it has {', '.join(sorted(configurations))}."
        raise ModelError(message, "Give the folder its original name, <trainer>__<plans>__<configuration>.")
    return wanted


def resolved_configuration(plans: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a configuration of plans.json with what it inherits; the child's keys win. Raises ModelError."""
    configurations, chain = plans["configurations"], []
    entry: Any = name
    while entry is not None:
        if entry in chain or not isinstance(configurations.get(entry), dict):
            what = "inherits from itself" if entry in chain else f"inherits from {entry!r}, which is not there"
            message = f"{PLANS}: configuration {name!r} {what}."
            raise ModelError(message, COPY_AGAIN)
        chain.append(entry)
        entry = configurations[entry].get("inherits_from")
    merged: dict[str, Any] = {}
    for parent in reversed(chain):
        merged |= configurations[parent]
    return merged


def require_architecture(configuration: dict[str, Any], name: str) -> str:
    """Return the dialect in which a configuration describes its network, "new" (2.4 and later) or "old".

    Raises:
        ModelError: Neither, or spacing or patch size is missing.
    """
    for key in ("spacing", "patch_size"):
        value = configuration.get(key)
        if not isinstance(value, list) or len(value) not in {2, 3} or not all(isinstance(n, int | float) and n > 0 for n in value):
            message = f"{PLANS}: configuration {name!r} has {key} {value!r:.40}, expected two or three positive numbers."
            raise ModelError(message, COPY_AGAIN)
    architecture = configuration.get("architecture")
    if isinstance(architecture, dict) and {"network_class_name", "arch_kwargs"} <= {*architecture}:
        return "new"
    if {"UNet_class_name", "UNet_base_num_features", "n_conv_per_stage_encoder", "pool_op_kernel_sizes"} <= {*configuration}:
        return "old"
    message = f"{PLANS}: configuration {name!r} does not describe a network, neither in the form of nnU-Net 2.4 nor in the older one."
    raise ModelError(message, COPY_AGAIN)


def _checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoint of each fold that has one. Raises ModelError when none has."""
    folds = sorted(path for path in folder.glob("fold_*") if path.is_dir())
    found = [next((fold / name for name in _CHECKPOINTS if (fold / name).is_file()), None) for fold in folds]
    checkpoints = [path for path in found if path is not None]
    if checkpoints:
        return checkpoints
    if not folds:
        message = f"There is no fold_0 with {_CHECKPOINTS[0]} in it (found {listing(folder)})."
    else:
        message = f"{folds[0].name} holds no {_CHECKPOINTS[0]} (found {listing(folds[0])})."
    raise ModelError(message, COPY_AGAIN)


def _title(dataset: dict[str, Any], what: str) -> str:
    description = str(dataset.get("description", "")).strip()
    return f"{description} ({what})" if description else what


def _license(folder: Path, dataset: dict[str, Any]) -> str:
    stated = next((str(dataset[key]) for key in ("licence", "license", "License") if dataset.get(key)), "")
    return stated or license_in(folder)
