"""nnU-Net v2 model folders (both dialects of plans.json) and folders with an ONNX network, dataset.json and plans.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from AtlasSegmentLib.errors import AtlasError, ModelError
from AtlasSegmentLib.model_facts import (
    COPY_AGAIN,
    Kind,
    ModelFacts,
    Need,
    checked,
    has_sides,
    license_in,
    listing,
    read_object,
    size_of,
    with_weights,
)
from AtlasSegmentLib.names import safe_name
from AtlasSegmentLib.nnunet_folder import CHECKPOINTS, NnunetFolder, open_folder
from AtlasSegmentLib.nnunet_labels import DATASET
from AtlasSegmentLib.nnunet_plans import PLANS, Configuration
from AtlasSegmentLib.torch_checkpoint import SAFETENSORS

__all__ = [  # the names of the files too
    "DATASET",
    "NOTE",
    "NO_ORIENTATION",
    "PLANS",
    "describe_autoorgan",
    "describe_nnunet",
    "is_autoorgan",
    "is_nnunet",
    "model_name",
    "read_note",
    "resolved_configuration",
    "training_orientation",
]

NOTE = "atlas.json"
"""What nnU-Net's own files do not say, beside them: orientation of the training images, title, license and such."""

NO_ORIENTATION = (
    "It does not state the orientation of its training images; left and right follow the file's voxel order: check the sides of its "
    f'result. {{"orientation": "RAS"}} in a file {NOTE} beside {DATASET} states it.'
)
_REORIENTING_READER = "NibabelIOWithReorient"


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
    found = _open(folder, "An nnU-Net v2 model folder")
    if not found.checkpoints and any(folder.glob("*.onnx")):
        return _describe_onnx(found, "nnunet")
    weights = found.chosen() if found.checkpoints else []
    needs: tuple[Need, ...] = ("torch", "nnunet")
    if any(path.suffix == SAFETENSORS for path in weights):
        needs += ("safetensors",)
    configuration = _configuration(found)
    facts = _facts(found, configuration, "nnunet", f"nnU-Net, {len(weights)} fold{'s' if len(weights) > 1 else ''}", weights, needs)
    facts = with_weights(facts, weights) if weights else checked(facts, lambda: _refuse_without_folds(folder))
    return checked(facts, lambda: _require_previous(found, configuration)) if facts.usable else facts


def describe_autoorgan(folder: Path) -> ModelFacts:
    """Return what an ONNX folder with dataset.json and plans.json says. Raises ModelError."""
    return _describe_onnx(_open(folder, "A folder with an nnU-Net as ONNX"), "autoorgan")


def _describe_onnx(found: NnunetFolder, kind: Kind) -> ModelFacts:
    networks = sorted(found.path.glob("*.onnx"))
    configuration = _configuration(found)
    what = f"nnU-Net as ONNX{f', {len(networks)} folds' if len(networks) > 1 else ''}"
    facts = with_weights(_facts(found, configuration, kind, what, networks, ("onnx",)), networks)
    return checked(facts, lambda: _require_previous(found, configuration)) if facts.usable else facts


def _open(folder: Path, what: str) -> NnunetFolder:
    for name in (DATASET, PLANS):
        if not (folder / name).is_file():
            message = f"{what} has {DATASET} and {PLANS}; {name} is missing here (found {listing(folder)})."
            raise ModelError(message, COPY_AGAIN)
    found = open_folder(folder)
    if len(found.dataset.channel_names) != 1:
        message = f"{DATASET}: the model must want one image, the CT; its channel_names are: {', '.join(found.dataset.channel_names)}."
        raise ModelError(message, "Choose a model that was trained on CT alone.")
    return found


def _configuration(found: NnunetFolder) -> Configuration:
    """Return the configuration that the folder's name or the note states, else the usual one that is there. Raises ModelError."""
    names = found.plans.configurations
    wanted = found.configuration or str(read_note(found.path).get("configuration") or "")
    wanted = wanted or ("3d_fullres" if "3d_fullres" in names else min(names))
    if wanted not in names:
        message = f"{PLANS} has no configuration {wanted!r}, which the folder's name asks for; it has {', '.join(sorted(names))}."
        raise ModelError(message, "Give the folder its original name, <trainer>__<plans>__<configuration>.")
    return found.plans.configuration(wanted)


def _facts(
    found: NnunetFolder, configuration: Configuration, kind: Kind, what: str, weights: list[Path], needs: tuple[Need, ...]
) -> ModelFacts:
    folder, note = found.path, read_note(found.path)
    said = read_object(folder / DATASET)
    organs = tuple(found.dataset.table.names())
    stated = next((str(said[key]) for key in ("licence", "license", "License") if said.get(key)), "")
    return ModelFacts(
        path=folder,
        kind=kind,
        name=model_name(found, configuration.name),
        title=str(note.get("title") or "") or _title(said, what),
        organs=organs,
        license=str(note.get("license") or "") or stated or license_in(folder),
        size=size_of([folder / DATASET, folder / PLANS, *weights]),
        needs=needs,
        caution=NO_ORIENTATION if training_orientation(found) is None and has_sides(organs) else "",
    )


_TRAINERS, _PLANS = ("nnUNetTrainer", "nnUNetTrainerNoMirroring"), ("nnUNetPlans",)


def read_note(folder: Path) -> dict[str, Any]:
    """Return what NOTE says; {} when there is none. Raises ModelError when it is damaged."""
    path = folder / NOTE
    return read_object(path) if path.is_file() else {}


def training_orientation(found: NnunetFolder) -> str | None:
    """Return the axis codes of the training images, such as "RAS", or None when nothing states them."""
    stated = read_note(found.path).get("orientation") or ("RAS" if found.plans.reader == _REORIENTING_READER else None)
    return str(stated) if stated else None


def model_name(found: NnunetFolder, configuration: str) -> str:
    """Return the name of a model in a case folder; trainer and plans are in it where they are not the usual ones."""
    dataset = found.plans.dataset_name or found.dataset.name or found.path.absolute().parent.name
    trainer, plans, *_ = [*found.path.absolute().name.split("__"), ""] if "__" in found.path.name else ["", ""]
    unusual = [part for part, usual in ((trainer, _TRAINERS), (plans, _PLANS)) if part and part not in usual]
    try:
        return safe_name("-".join([dataset, configuration, *unusual]), "name")
    except AtlasError:
        return safe_name(f"nnunet-{configuration}", "name")


def _require_previous(found: NnunetFolder, configuration: Configuration) -> None:
    """Check that the first stage of a cascade lies beside its second. Raises ModelError."""
    if configuration.previous_stage is None:
        return
    parts = found.path.absolute().name.split("__")
    folder = found.path.absolute().parent / "__".join([*parts[:-1], configuration.previous_stage])
    if len(parts) != 3 or not folder.is_dir():
        message = f"It is the second stage of a cascade, and its first stage {folder.name} is not beside it."
        raise ModelError(message, f"Put the model folder of {configuration.previous_stage} beside it, with nnU-Net's own name.")
    first = describe_nnunet(folder)
    if first.problem:
        message = f"It is the second stage of a cascade, and its first stage {folder.name} cannot be used: {first.problem}"
        raise ModelError(message, first.remedy)


def _refuse_without_folds(folder: Path) -> None:
    folds = sorted(path for path in folder.glob("fold_*") if path.is_dir())
    if folds:
        message = f"{folds[0].name} holds no {CHECKPOINTS[0]} (found {listing(folds[0])})."
    else:
        message = f"There is no fold_0 with {CHECKPOINTS[0]} in it (found {listing(folder)})."
    raise ModelError(message, COPY_AGAIN)


def _title(dataset: dict[str, Any], what: str) -> str:
    description = str(dataset.get("description", "")).strip()
    return f"{description} ({what})" if description else what


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
