"""The Torch networks that can become ONNX files: the folds of nnU-Net models, MONAI bundles, atlas folders with TorchScript."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from AtlasSegmentLib.errors import ModelError
from AtlasSegmentLib.model_kinds import kind_of
from AtlasSegmentLib.model_manifest import ModelManifest, read_manifest

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class TorchSource:
    """A network to export.

    Attributes:
        name: Of the ONNX file, without its ending.
        weights: The file with its weights.
        module: In evaluation mode, on the CPU, float32.
        shape: Of one patch, (channels in, *patch).
        overlapping: Its output channels may overlap (sigmoid).
        facts: What a reader of the ONNX file cannot know otherwise; see `onnx_files.METADATA`.
        manifest: What model.json shall say; None for nnU-Net, whose own files are copied.
    """

    name: str
    weights: Path
    module: nn.Module
    shape: tuple[int, ...]
    overlapping: bool
    facts: dict[str, Any] = field(default_factory=dict)
    manifest: ModelManifest | None = None


def torch_sources(folder: Path) -> Iterator[TorchSource]:
    """Yield the networks of a model folder, one at a time.

    Raises:
        ModelError: It is damaged, or no model that Torch runs; says what to do.
    """
    kind = kind_of(folder)
    if kind == "nnunet":
        yield from _folds(folder)
    elif kind == "monai" or (kind == "atlas" and read_manifest(folder).engine != "onnx"):
        yield _windowed(folder)
    elif kind in {"atlas", "autoorgan"}:
        message = f"{folder}: is an ONNX model already."
        raise ModelError(message, "Use it as it is, or make it smaller with: atlas model quantize.")
    else:
        message = f"{folder}: is no model folder."
        raise ModelError(message, "Give an nnU-Net v2 model folder, a MONAI bundle, or an atlas model folder with a TorchScript file.")


def _folds(path: Path) -> Iterator[TorchSource]:
    from AtlasSegmentLib.nnunet_architecture import trained_by
    from AtlasSegmentLib.nnunet_folder import open_folder
    from AtlasSegmentLib.nnunet_network import build_network, load_weights
    from AtlasSegmentLib.torch_checkpoint import load_checkpoint

    folder = open_folder(path)
    for weights in folder.chosen():
        checkpoint = load_checkpoint(weights)
        configuration = folder.plans.configuration(checkpoint.configuration or folder.configuration)
        channels = folder.dataset.channels_in(cascade=configuration.previous_stage is not None)
        architecture = trained_by(configuration.architecture, checkpoint.trainer or folder.trainer)
        module = load_weights(build_network(architecture, channels, folder.dataset.heads), checkpoint.weights, weights)
        facts = {
            "fold": weights.parent.name.removeprefix("fold_"),
            "configuration": configuration.name,
            "trainer": checkpoint.trainer or folder.trainer,
            "mirror_axes": checkpoint.mirror_axes,
            "source_sha256": checkpoint.sha256,
        }
        del checkpoint
        yield TorchSource(weights.parent.name, weights, module, (channels, *configuration.patch), folder.dataset.has_regions, facts)


def _windowed(folder: Path) -> TorchSource:
    """Return the network of a model that slides a window or sees a region as a whole; its manifest describes it completely."""
    from AtlasSegmentLib.model import load_model
    from AtlasSegmentLib.parity import networks_of

    model: Any = load_model(folder, device="cpu")
    spec = model.spec
    size = spec.input.patch or spec.input.fit_shape
    if size is None:
        message = f"{folder}: says neither patch nor fit_shape, so the size of the network's input is not known."
        raise ModelError(message, "Run this model with Torch as it is.")
    (network,) = networks_of(model)
    facts = {"source_sha256": spec.sha256}
    overlapping = spec.output.activation == "sigmoid"
    return TorchSource("model", folder / spec.file, network.module, (1, *size), overlapping, facts, spec)  # type: ignore[attr-defined]
