"""A label-quality model, from a folder of ours or a published SegAE checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from AtlasQualityLib.quality_embedding import Embedding, text_embedding
from AtlasQualityLib.quality_embedding_files import read_embeddings
from AtlasQualityLib.quality_engine import Engine, OnnxScorer, Scorer, TorchScorer
from AtlasQualityLib.quality_manifest import EMBEDDINGS, FILE, ONNX, SAFETENSORS, QualityManifest, Slices, read_manifest
from AtlasQualityLib.quality_network import UNUSED, build_network, network_shape
from AtlasQualityLib.quality_settings import require_settings, require_shapes, require_size
from AtlasSegmentLib.cpu_threads import default_threads
from AtlasSegmentLib.devices import Device
from AtlasSegmentLib.errors import ModelError
from AtlasSegmentLib.files import sha256_of
from AtlasSegmentLib.model_cache import MODELS, files_of
from AtlasSegmentLib.resources import resource_path
from AtlasSegmentLib.torch_checkpoint import load_checkpoint
from AtlasSegmentLib.weights_match import require_match

if TYPE_CHECKING:
    from torch import Tensor, nn

SHIPPED = "quality-small"
"""The model that comes with the program, in Resources/Models."""
_CHECKPOINTS = (".pth", ".pt", ".safetensors")
_COMPAT_MARGIN = 20.0


@dataclass(frozen=True)
class QualityModel:
    """A label-quality model, ready.

    Attributes:
        manifest: What it wants.
        scorer: The network.
        embedding: Organ name to its numbers.
        source: Folder or file.
        sha256: Of the file with the weights.
    """

    manifest: QualityManifest
    scorer: Scorer
    embedding: Embedding
    source: Path
    sha256: str


def shipped_model() -> Path:
    """Return the folder of the model that comes with the program. Raises ModelError when this installation has none."""
    folder = resource_path("Models") / SHIPPED
    if not (folder / FILE).is_file():
        message = "no label-quality model was chosen, and none comes with this installation."
        raise ModelError(message, "Choose a model folder or a SegAE checkpoint, or train one: atlas quality train DATA --out FOLDER.")
    return folder


def open_quality_model(
    path: Path, embeddings: Path | None = None, *, engine: Engine | None = None, threads: int = 0, device: Device = "auto"
) -> QualityModel:
    """Load a model.

    Args:
        path: A folder with quality.json and model.onnx or model.safetensors, or a SegAE checkpoint (.pth), which is used with
            SegAE's own slices and mean.
        embeddings: .npz of text embeddings, in place of the model's own; a SegAE checkpoint needs one.
        engine: None takes ONNX where there is a model.onnx, since it needs no Torch.
        threads: CPU threads; 0 lets the engine choose.
        device: Where it shall run.

    Raises:
        ModelError: It is not there, damaged, of another shape than it says, or needs what is not installed.
        InputError: The embeddings cannot be read.
    """
    if path.is_file() and path.suffix in _CHECKPOINTS:
        return _published(path, embeddings, threads, device)
    if not (path / FILE).is_file():
        message = f"{path}: is no label-quality model (no {FILE} in it)."
        raise ModelError(message, f"Give a folder with {FILE} and {ONNX} or {SAFETENSORS}, or a SegAE checkpoint (.pth) with --embeddings.")
    manifest = read_manifest(path)
    embedding: Embedding = text_embedding
    if embeddings is not None or manifest.embedding == "file":
        embedding = read_embeddings(embeddings or path / EMBEDDINGS)
    weights = _weights_file(path, engine)
    sha256 = sha256_of(weights)
    if manifest.sha256.get(weights.name, sha256) != sha256:
        message = f"{weights}: is not the file that {FILE} beside it was written with."
        raise ModelError(message, "Copy the model again, whole; numbers of one network with the calibration of another mean nothing.")
    require_settings(path, manifest)
    if weights.name == ONNX:
        require_shapes(path, manifest)
        on_onnx = OnnxScorer(weights, threads, device)
        require_size(weights, on_onnx.input_shape, manifest)
        scorer: Scorer = on_onnx
    else:
        network = load_network(weights, manifest)
        scorer = TorchScorer(network, weights, threads, device)
    return QualityModel(manifest, scorer, embedding, path, sha256)


def cached_quality_model(
    path: Path, embeddings: Path | None = None, *, engine: Engine | None = None, threads: int = 0, device: Device = "auto"
) -> QualityModel:
    """Load a model, or return it when this process has loaded these very files already; see `open_quality_model`."""
    threads = threads or default_threads()
    files = files_of(path) if path.is_dir() else files_of(path.parent)
    key = ("quality", path, embeddings, engine, threads, device)
    return MODELS.get(key, files, lambda: open_quality_model(path, embeddings, engine=engine, threads=threads, device=device))


def _weights_file(folder: Path, engine: Engine | None) -> Path:
    wanted = {"onnx": (ONNX,), "torch": (SAFETENSORS,), None: (ONNX, SAFETENSORS)}[engine]
    for name in wanted:
        if (folder / name).is_file():
            return folder / name
    message = f"{folder}: there is no {' or '.join(wanted)}."
    raise ModelError(message, "Copy the model again, whole, or choose the other engine.")


def load_network(path: Path, manifest: QualityManifest) -> nn.Module:
    """Return the network of a manifest with the weights of a file. Raises ModelError when they do not fit."""
    network = build_network(manifest.backbone, manifest.width, outline=manifest.outline)
    _load(network, load_checkpoint(path).weights, path, f"{manifest.backbone}, width {manifest.width}")
    return network


def _published(path: Path, embeddings: Path | None, threads: int, device: Device) -> QualityModel:
    if embeddings is None:
        message = f"{path}: a SegAE checkpoint needs the text embeddings that it was trained with."
        raise ModelError(message, "Give them with --embeddings FILE.npz; make it by: atlas quality convert-embeddings label_embedding.pkl.")
    weights = load_checkpoint(path).weights
    backbone, width = network_shape(weights)
    network = build_network(backbone, width)
    _load(network, weights, path, backbone)
    slices = Slices(kind="compat", size=256, margin=_COMPAT_MARGIN)
    manifest = QualityManifest(name="segae", backbone=backbone, width=width, slices=slices, estimate="mean", embedding="file")
    return QualityModel(manifest, TorchScorer(network, path, threads, device), read_embeddings(embeddings), path, sha256_of(path))


def _load(network: nn.Module, weights: Mapping[str, Tensor], path: Path, described: str) -> None:
    wanted = network.state_dict()
    used = {name: tensor for name, tensor in weights.items() if not name.startswith(UNUSED)}
    require_match(wanted, used, path, described, "Give the checkpoint that belongs to this model, or copy it again.")
    network.load_state_dict({name: tensor.to(wanted[name].dtype) for name, tensor in used.items()})
