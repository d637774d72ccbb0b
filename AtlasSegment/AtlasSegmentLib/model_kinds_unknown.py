"""What to say about a folder or file that is no model: what it holds, what it comes nearest to, and the next step."""

from __future__ import annotations

from pathlib import Path

from AtlasSegmentLib.errors import ModelError
from AtlasSegmentLib.model_facts import listing
from AtlasSegmentLib.model_kinds_atlas import FILE
from AtlasSegmentLib.model_kinds_nnunet import DATASET, PLANS

NETWORKS = frozenset({".onnx", ".pt", ".pth", ".ts"})
KINDS_HELP = (
    f"A model is a folder with {FILE} and a network, an nnU-Net v2 model folder ({DATASET}, {PLANS}, fold_0/checkpoint_final.pth), a MONAI "
    f"bundle (configs/metadata.json, models/model.pt), or a folder with an .onnx file, {DATASET} and {PLANS}."
)
_IMAGES = (".nii", ".nii.gz", ".nrrd", ".mha", ".dcm")
_ARCHIVES = frozenset({".zip", ".tar", ".gz", ".tgz", ".7z"})
_PARTS = {DATASET: "an nnU-Net v2 model", PLANS: "an nnU-Net v2 model", "metadata.json": "a MONAI bundle"}


def unrecognized_file(path: Path) -> ModelError:
    """Return the error for a chosen file."""
    if path.suffix in NETWORKS:
        return _lone_network(path)
    if path.name.lower().endswith(_IMAGES):
        return ModelError(f"{path.name} is an image, not a model.", "Load it with Slicer's Add data, and choose a model folder here.")
    if path.suffix.lower() in _ARCHIVES:
        return ModelError(f"{path.name} is an archive.", "Unpack it, then add the folder.")
    return ModelError(f"{path.name} is no file of a model.", KINDS_HELP)


def unrecognized(folder: Path) -> ModelError:
    """Return the error for a chosen folder."""
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except NotADirectoryError:
        return unrecognized_file(folder)
    except OSError as error:
        return ModelError(f"{folder} cannot be opened ({error.strerror or error}).", "Check its permissions.")
    if not names:
        return ModelError(f"{folder} is empty.", KINDS_HELP)
    network = next((name for name in names if Path(name).suffix in NETWORKS), None)
    return _lone_network(folder / network) if network is not None else _nearest(folder, names)


def _nearest(folder: Path, names: list[str]) -> ModelError:
    found = f"{folder.name} holds {listing(folder)}"
    if "plans.pkl" in names or any(name.endswith((".model", ".model.pkl")) for name in names):
        return ModelError(f"{found}: this is a model of nnU-Net v1, and v2 is needed.", "Train or convert it with nnU-Net v2.")
    part = next((name for name in _PARTS if name in names), None)
    if part is not None:
        return ModelError(f"{found}: {part} is a part of {_PARTS[part]}, but its weights are missing.", KINDS_HELP)
    if any(name.lower().endswith(_IMAGES) for name in names):
        return ModelError(f"{found}: these are images, not a model.", KINDS_HELP)
    return ModelError(f"{found}: nothing in it belongs to a model.", KINDS_HELP)


def _lone_network(path: Path) -> ModelError:
    message = f"{path.name} stands alone: nothing says its labels and how it wants the CT."
    if path.suffix == ".onnx":
        remedy = f"Put {FILE} beside it (an atlas model folder), or {DATASET} and {PLANS} (an AutoOrgan folder), and add the folder."
    else:
        remedy = f'Put {FILE} with engine "torchscript" beside it, or add the nnU-Net or MONAI folder that it came with.'
    return ModelError(message, remedy)
