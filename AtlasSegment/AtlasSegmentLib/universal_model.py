"""AbdomenAtlas' universal model: 32 structures from one checkpoint and the text embeddings of their names.

A model folder holds model.json (engine "torch", architecture "universal-unet" or "universal-swinunetr"), the checkpoint (.pth of
torch.save with the key "net", or .safetensors) and, where the checkpoint does not hold them, the text embeddings
(`text_encoding`: .pth or .npz, one row of 512 numbers for each class).

Weights are put in by name. "module." is stripped; the encoder and decoder of SwinUNETR are found with and without "backbone.";
output layers of the backbone, which the model does not use, are passed over.
"""

from __future__ import annotations

import logging
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from AtlasSegmentLib.devices import Device
from AtlasSegmentLib.errors import ModelError
from AtlasSegmentLib.model_facts import COPY_AGAIN
from AtlasSegmentLib.model_manifest import FILE, ModelManifest
from AtlasSegmentLib.network import Float32
from AtlasSegmentLib.torch_network import TorchNetwork
from AtlasSegmentLib.universal_network import ARCHITECTURES, TEXT_FEATURES, universal_network

if TYPE_CHECKING:
    from torch import Tensor

_log = logging.getLogger(__name__)
_EMBEDDING = "organ_embedding"
_UNUSED = re.compile(r"(backbone\.)?(out|out_tr)\.")
_SWIN_PARTS = re.compile(r"(swinViT|encoder\d+|decoder\d+)\.")
_SAME = 1e-3
_EXTRA = 'Run: pip install "slicer-atlas-annotator[monai]".'


def load_universal(folder: Path, spec: ModelManifest, threads: int = 0, device: Device = "auto") -> TorchNetwork:
    """Load the network of a universal model.

    Args:
        folder: The model folder.
        spec: Its model.json.
        threads: See `TorchNetwork`.
        device: See `TorchNetwork`.

    Raises:
        ModelError: The architecture is not known, or weights or embeddings are missing, damaged or do not fit.
    """
    path = folder / spec.file
    architecture = next((known for known in ARCHITECTURES if known == spec.architecture), None)
    if architecture is None:
        message = f"{folder / FILE}: architecture {spec.architecture!r:.60} is not known; {' and '.join(ARCHITECTURES)} are."
        raise ModelError(message, "Mend model.json as the README's model section describes.")
    try:
        network = universal_network(architecture, spec.channels)
    except ImportError as error:
        message = f"{path}: needs the package {error.name or 'torch'}, which is not installed."
        raise ModelError(message, _EXTRA) from error
    from AtlasSegmentLib.monai_networks import load_by_name
    from AtlasSegmentLib.torch_checkpoint import load_checkpoint

    weights = plain_names(load_checkpoint(path).weights)
    weights[_EMBEDDING] = _embeddings(folder, spec, weights.get(_EMBEDDING))
    return TorchNetwork(load_by_name(network, weights, path), device, threads, name=path)


def plain_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights under the names that the network has; see the module's text."""
    kept = {name: tensor for name, tensor in weights.items() if not _UNUSED.match(name)}
    return {f"backbone.{name}" if _SWIN_PARTS.match(name) else name: tensor for name, tensor in kept.items()}


def _embeddings(folder: Path, spec: ModelManifest, held: Tensor | None) -> Tensor:
    """Return the text embeddings, (classes, 512): those of the checkpoint where it has them, else of the file."""
    import torch

    given = None if not spec.text_encoding else torch.from_numpy(read_embeddings(folder / spec.text_encoding))
    found = given if held is None else held.float()
    if found is None:
        message = f"{folder / spec.file}: holds no text embeddings ({_EMBEDDING}), and {FILE} names no file of them."
        raise ModelError(message, "Put txt_encoding.pth beside it and name it in model.json as text_encoding.")
    for what, tensor in ((spec.file, found), (spec.text_encoding, given)):
        if tensor is not None and tuple(tensor.shape) != (spec.channels, TEXT_FEATURES):
            message = (
                f"{folder / what}: the text embeddings have the shape {tuple(tensor.shape)}, expected {(spec.channels, TEXT_FEATURES)}."
            )
            raise ModelError(message, "Give the embeddings that the model was trained with, one row for each structure of model.json.")
    if given is not None and float((given - found).abs().max()) > _SAME:
        _log.warning("%s differs from the embeddings in %s, which are used.", folder / spec.text_encoding, spec.file)
    return found


def read_embeddings(path: Path) -> Float32:
    """Read text embeddings, one row a class.

    Args:
        path: .pth (a tensor saved by torch.save; nothing in it is run), .npz (its first array) or .npy.

    Returns:
        (classes, features), float32.

    Raises:
        ModelError: The file is missing, damaged, or holds something else.
    """
    if not path.is_file():
        message = f"{path}: the text embeddings that {FILE} names are missing."
        raise ModelError(message, "Copy the whole model folder again.")
    try:
        values = _read_array(path)
    except pickle.UnpicklingError as error:
        message = f"{path}: refused, nothing of it was run: it asks for more than a tensor ({error!s:.120})."
        raise ModelError(message, "Save the embeddings again as a plain tensor, or as .npz.") from error
    except (OSError, RuntimeError, ValueError, EOFError, LookupError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        message = f"{path}: is damaged or holds no embeddings ({error!s:.120})."
        raise ModelError(message, COPY_AGAIN) from error
    if values.ndim != 2 or not np.isfinite(values).all():
        message = f"{path}: holds values of shape {values.shape}, expected finite numbers (classes, {TEXT_FEATURES})."
        raise ModelError(message, COPY_AGAIN)
    return values


def _read_array(path: Path) -> Float32:
    if path.suffix in {".npz", ".npy"}:
        content = np.load(path, allow_pickle=False)
        array = content if isinstance(content, np.ndarray) else content[content.files[0]]
        return np.asarray(array, np.float32)
    import torch

    tensor = torch.load(path, map_location="cpu", weights_only=True)
    return np.asarray(tensor.detach().float().numpy(), np.float32)
