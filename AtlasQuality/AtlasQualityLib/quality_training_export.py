"""A trained label-quality network as a model folder: safetensors for Torch, ONNX for everybody, checked against each other."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from AtlasQualityLib.quality_embedding import FEATURES
from AtlasQualityLib.quality_engine import OnnxScorer, TorchScorer
from AtlasQualityLib.quality_manifest import ONNX, SAFETENSORS, QualityManifest, write_manifest
from AtlasQualityLib.quality_settings import SETTINGS, settings_sha256
from AtlasQualityLib.quality_slices import CHANNELS
from AtlasSegmentLib.errors import ModelError
from AtlasSegmentLib.files import atomic_path, make_folder, sha256_of, storage_errors, write_bytes
from AtlasSegmentLib.onnx_export import OPSET
from AtlasSegmentLib.onnx_files import require_onnx

if TYPE_CHECKING:
    from torch import nn

_SAME = 1e-4
_BATCHES = (1, 3)


def export_model(network: nn.Module, folder: Path, manifest: QualityManifest) -> float:
    """Write model.safetensors, model.onnx and, last, quality.json; what is there already is replaced, each file whole.

    Args:
        network: On the CPU.
        folder: The model folder.
        manifest: What it is; what the check found is put into its card.

    Returns:
        The largest difference between the two engines on random slices and names.

    Raises:
        ModelError: The packages that write or run ONNX are missing, or the two engines differ by more than 1e-4.
        StorageError: A file cannot be written.
    """
    require_onnx(folder)
    with storage_errors(folder):
        make_folder(folder)
    network.eval()
    _write_weights(network, folder / SAFETENSORS)
    size = manifest.slices.size
    with atomic_path(folder / ONNX, ".onnx") as temporary:
        _write_onnx(network, temporary, size)
        difference = _difference(network, temporary, size)
        if difference > _SAME:
            message = f"{folder}: the network as ONNX differs from Torch by {difference:.2g}."
            raise ModelError(message, "Train longer or with another --seed: weights this large do not survive the conversion.")
    facts = {"onnx_difference": float(f"{difference:.1e}"), "onnx_bytes": (folder / ONNX).stat().st_size}
    sums = {**{name: sha256_of(folder / name) for name in (ONNX, SAFETENSORS)}, SETTINGS: settings_sha256(manifest)}
    write_manifest(folder, manifest.model_copy(update={"sha256": sums, "card": {**manifest.card, "export": facts}}))
    return difference


def _write_weights(network: nn.Module, path: Path) -> None:
    try:
        from safetensors.torch import save
    except ImportError as error:
        message = f"{path}: needs the package safetensors, which is not installed."
        raise ModelError(message, 'Run: pip install "slicer-atlas-annotator[torch]".') from error
    write_bytes(path, save({name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}))


def _write_onnx(network: nn.Module, path: Path, size: int) -> None:
    """Write the network by Torch's older exporter, which needs no further package; the number of slices stays free."""
    import torch

    given = (torch.zeros(2, CHANNELS, size, size), torch.zeros(2, FEATURES))
    free: dict[str, dict[int, str]] = {name: {0: "batch"} for name in ("image", "embedding", "score")}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of being the older exporter: the result is compared
        torch.onnx.export(
            network,
            given,
            str(path),
            input_names=["image", "embedding"],
            output_names=["score"],
            dynamic_axes=free,
            opset_version=OPSET,
            dynamo=False,
        )


def _difference(network: nn.Module, path: Path, size: int) -> float:
    """Return how far the two engines are apart on random input."""
    rng = np.random.default_rng(0)
    torch_scorer, onnx_scorer = TorchScorer(network, path, device="cpu"), OnnxScorer(path, device="cpu")
    worst = 0.0
    for count in _BATCHES:
        images = rng.uniform(-1, 1, (count, CHANNELS, size, size)).astype(np.float32)
        embeddings = rng.standard_normal((count, FEATURES)).astype(np.float32)
        found: list[Any] = [scorer.run(images, embeddings) for scorer in (torch_scorer, onnx_scorer)]
        worst = max(worst, float(np.abs(found[0] - found[1]).max() / max(1.0, float(np.abs(found[0]).max()))))
    return worst
