"""Torch networks written as ONNX files, checked against the Torch network before the folder gets its name."""

from __future__ import annotations

import math
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from AtlasSegmentLib.engine_memory import first_line
from AtlasSegmentLib.errors import ModelError
from AtlasSegmentLib.files import copy_file, sha256_of, storage_errors, write_json
from AtlasSegmentLib.inference_settings import PRESETS, Precision
from AtlasSegmentLib.model_facts import read_object
from AtlasSegmentLib.model_kinds_nnunet import NOTE, resolved_configuration
from AtlasSegmentLib.model_manifest import FILE, read_manifest
from AtlasSegmentLib.new_folder import new_folder
from AtlasSegmentLib.nnunet_labels import DATASET
from AtlasSegmentLib.nnunet_plans import PLANS
from AtlasSegmentLib.onnx_files import read_onnx, require_onnx, to_float16, write_onnx
from AtlasSegmentLib.onnx_network import OnnxNetwork
from AtlasSegmentLib.onnx_norm import with_exact_norms
from AtlasSegmentLib.onnx_sources import TorchSource, torch_sources
from AtlasSegmentLib.parity import (
    SAME,
    MaskParity,
    PatchParity,
    Recorder,
    compare_masks,
    compare_networks,
    networks_of,
    random_patches,
    with_networks,
)
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.torch_network import TorchNetwork

if TYPE_CHECKING:
    from AtlasSegmentLib.markups import Roi
    from AtlasSegmentLib.model import Model
    from AtlasSegmentLib.prediction import Region
    from AtlasSegmentLib.volume import Volume

REPORT = "export.json"
_CT_PATCHES = 4
_SMALL = 96**3  # voxels of a patch of which two at a time fit into any computer's memory
OPSET = 17
"""Operators of ONNX 1.12 (2022): every ONNX Runtime from 1.12 on runs them."""

_LICENSES = "LICEN[SC]E*"
_FAILURES = (RuntimeError, ValueError, TypeError, IndexError, AttributeError, NotImplementedError)


@dataclass(frozen=True)
class ExportedNetwork:
    """One ONNX file.

    Attributes:
        file: Its name.
        sha256: Of its content.
        size: Bytes.
        random: Agreement with Torch on random patches.
    """

    file: str
    sha256: str
    size: int
    random: PatchParity


@dataclass(frozen=True)
class Export:
    """A finished export.

    Attributes:
        folder: The new model folder.
        networks: Its files, one for each fold.
        ct: Agreement of the whole models' masks on a CT, when one was given.
        ct_patches: Agreement of the first network on patches of it.
    """

    folder: Path
    networks: tuple[ExportedNetwork, ...]
    ct: MaskParity | None
    ct_patches: PatchParity | None


def export_onnx(
    source: Path,
    out: Path,
    precision: Precision = "float32",
    *,
    ct: Volume | None = None,
    roi: Roi | Region | None = None,
    threads: int = 0,
    progress: ProgressCallback = ignore_progress,
) -> Export:
    """Write a Torch model as a folder that ONNX Runtime runs: one *.onnx a fold beside dataset.json and plans.json, or model.json.

    Input "input" (N, channels in, *patch) float32 with N free, output "output" (N, channels out, *patch) float32: logits.

    Args:
        source: An nnU-Net v2 model folder, a MONAI bundle, or an atlas model folder with a TorchScript file.
        out: The new folder.
        precision: Of weights and arithmetic; input and output stay float32.
        ct: A CT to compare both models' masks on.
        roi: The region of it, for models that need one.
        threads: CPU threads; 0 lets the engines choose.
        progress: Told the finished share and the stage.

    Raises:
        InputError: `out` is there already.
        ModelError: The model cannot be loaded or exported, or an export in float32 differs from Torch; nothing is left behind.
        StorageError: The folder cannot be written.
    """
    require_onnx(source)
    with new_folder(out) as folder:
        networks: list[ExportedNetwork] = []
        for network in torch_sources(source):
            progress(min(0.5, 0.1 * len(networks)), f"export {network.name}")
            networks.append(_export(network, folder, precision, threads))
            if len(networks) == 1:
                _describe(source, folder, network, networks[0])
        masks, patches = None, None
        if ct is not None:
            progress(0.5, "compare on the CT")
            masks, patches = _on_ct(source, [folder / network.file for network in networks], ct, roi, threads)
        done = Export(out, tuple(networks), masks, patches)
        _require_same(source, done, precision)
        write_json(folder / REPORT, _report(source, precision, done))
    return done


def _export(source: TorchSource, folder: Path, precision: Precision, threads: int) -> ExportedNetwork:
    path = folder / f"{source.name}.onnx"
    with storage_errors(path):
        traced(source, path)
    model = with_exact_norms(read_onnx(path))
    write_onnx(to_float16(model) if precision == "float16" else model, path, {**source.facts, "precision": precision})
    del model
    torch_network = TorchNetwork(source.module, "cpu", threads, name=source.weights)
    batches = list(random_patches(source.shape, 3))
    if math.prod(source.shape) <= _SMALL:
        batches = [batches[0], np.concatenate(batches[1:])]  # the number of patches must be free
    found = compare_networks(torch_network, OnnxNetwork(path, threads, "cpu"), batches, overlapping=source.overlapping)
    return ExportedNetwork(path.name, sha256_of(path), path.stat().st_size, found)


def traced(source: TorchSource, path: Path) -> None:
    """Write a network as an ONNX file.

    Torch's older exporter (by tracing) is used: it gives the same operators as the newer one here, in a fraction of the time and
    without a further package, and takes TorchScript.

    Raises:
        ModelError: Torch cannot express it in ONNX.
    """
    import torch

    free = {"input": {0: "batch"}, "output": {0: "batch"}}
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of being the older exporter, and of what a trace cannot follow: the result is compared
            torch.onnx.export(
                source.module,
                (torch.zeros(1, *source.shape),),
                str(path),
                input_names=["input"],
                output_names=["output"],
                dynamic_axes=free,
                opset_version=OPSET,
                dynamo=False,
            )
    except _FAILURES as error:
        message = f"{source.weights}: Torch cannot write this network as ONNX ({first_line(error)})."
        raise ModelError(message, "Run it with Torch as it is.") from error


def _describe(source: Path, folder: Path, network: TorchSource, file: ExportedNetwork) -> None:
    """Write beside the networks what readers need; of nnU-Net's plans only the one configuration that was exported."""
    if network.manifest is not None:
        content = network.manifest.model_dump(mode="json", exclude_none=True)
        write_json(folder / FILE, {**content, "engine": "onnx", "file": file.file, "sha256": file.sha256})
        read_manifest(folder)
    else:
        plans, name = read_object(source / PLANS), network.facts["configuration"]
        write_json(folder / PLANS, {**plans, "configurations": {name: resolved_configuration(plans, name)}})
        copy_file(source / DATASET, folder / DATASET)
        note = read_object(source / NOTE) if (source / NOTE).is_file() else {}
        write_json(folder / NOTE, {**note, "configuration": name, "mirror_axes": network.facts["mirror_axes"]})
    for path in sorted(source.glob(_LICENSES)):
        if path.is_file():
            copy_file(path, folder / path.name)


def _on_ct(source: Path, files: list[Path], ct: Volume, roi: Roi | Region | None, threads: int) -> tuple[MaskParity, PatchParity]:
    """Run the Torch model, then the same with ONNX networks in place of its own."""
    from AtlasSegmentLib.model import load_model

    model = load_model(source, threads, "cpu")
    model.require_region(ct, roi)
    exported = [OnnxNetwork(path, threads, "cpu") for path in files]
    first, *others = networks_of(model)
    recorder = Recorder(first, _CT_PATCHES)
    masks = masks_parity(with_networks(model, [recorder, *others]), with_networks(model, exported), ct, roi)
    return masks, compare_networks(first, exported[0], recorder.patches)


def masks_parity(model: Model, other: Model, ct: Volume, roi: Roi | Region | None) -> MaskParity:
    """Return how two models agree on a CT, both run with the preset "balanced". Raises ModelError and InputError."""
    settings = PRESETS["balanced"]
    first = model.segment(ct, roi, settings).masks(ct.grid)
    second = other.segment(ct, roi, settings).masks(ct.grid)
    return compare_masks(ct.grid, model.spec.table, first, second, Path(ct.source).name)


def _require_same(source: Path, done: Export, precision: Precision) -> None:
    shares = {network.file: network.random.same_class for network in done.networks}
    if done.ct is not None:
        shares[done.ct.ct] = done.ct.equal_voxels
    worst = min(shares, key=lambda name: shares[name])
    if precision == "float32" and shares[worst] < SAME:
        message = f"{source}: the ONNX network decides otherwise than Torch for {1 - shares[worst]:.4%} of the voxels ({worst})."
        raise ModelError(message, "Run this model with Torch; its network holds something that ONNX computes in another way.")


def _report(source: Path, precision: Precision, done: Export) -> dict[str, Any]:
    import onnx
    import onnxruntime
    import torch

    return {
        "source": source.name,
        "precision": precision,
        "opset": OPSET,
        "versions": {"torch": torch.__version__, "onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__},
        "networks": [asdict(network) for network in done.networks],
        "ct": None if done.ct is None else asdict(done.ct),
        "ct_patches": None if done.ct_patches is None else asdict(done.ct_patches),
    }
