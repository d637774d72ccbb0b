"""nnU-Net v2 models from disk: trained folders with checkpoints, and folders with an ONNX network, dataset.json and plans.json."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from AtlasSegmentLib.devices import Device
from AtlasSegmentLib.errors import ModelError
from AtlasSegmentLib.files import sha256_of
from AtlasSegmentLib.model_kinds_nnunet import model_name, read_note, training_orientation
from AtlasSegmentLib.network import Network
from AtlasSegmentLib.nnunet_folder import NnunetFolder, open_folder
from AtlasSegmentLib.nnunet_model import NnunetModel, NnunetSpec
from AtlasSegmentLib.nnunet_plans import Configuration

if TYPE_CHECKING:
    from AtlasSegmentLib.onnx_network import OnnxNetwork


_log = logging.getLogger(__name__)


def load_nnunet(
    folder: Path,
    threads: int = 0,
    device: Device = "auto",
    *,
    folds: Iterable[int | str] | None = None,
    checkpoint: str | None = None,
) -> NnunetModel:
    """Load a model folder.

    Args:
        folder: <trainer>__<plans>__<configuration> with dataset.json, plans.json and fold_*, or a folder with an ONNX network.
        threads: CPU threads for one prediction; 0 lets the engine choose.
        device: Where it shall run.
        folds: Which folds; None takes all that are there.
        checkpoint: Name of the checkpoint files; None takes the final one, else the best.

    Raises:
        ModelError: A file is missing, damaged or refused, wants more than one image, or the engine is not installed.
    """
    found = open_folder(Path(folder), checkpoint)
    if len(found.dataset.channel_names) != 1:
        message = f"{folder}: the model wants the images {', '.join(found.dataset.channel_names)}; one, the CT, can be given."
        raise ModelError(message, "Choose a model that was trained on CT alone.")
    networks = sorted(found.path.glob("*.onnx"))
    if not found.checkpoints and networks:
        return _from_onnx(found, networks, threads, device)
    return _from_checkpoints(found, found.chosen(folds), threads, device)


def _from_checkpoints(found: NnunetFolder, files: list[Path], threads: int, device: Device) -> NnunetModel:
    from AtlasSegmentLib.lean_unet import made_lean
    from AtlasSegmentLib.nnunet_architecture import trained_by
    from AtlasSegmentLib.nnunet_network import build_network, load_weights
    from AtlasSegmentLib.torch_checkpoint import load_checkpoint
    from AtlasSegmentLib.torch_network import TorchNetwork

    networks: list[Network] = []
    checkpoints = []
    for path in map(_current, files):
        checkpoint = load_checkpoint(path)
        configuration = found.plans.configuration(checkpoint.configuration or found.configuration or "3d_fullres")
        channels = found.dataset.channels_in(cascade=configuration.previous_stage is not None)
        architecture = trained_by(configuration.architecture, checkpoint.trainer)
        module = load_weights(build_network(architecture, channels, found.dataset.heads), checkpoint.weights, path)
        networks.append(TorchNetwork(made_lean(module), device, threads, name=path))
        checkpoints.append((configuration, checkpoint.mirror_axes, checkpoint.sha256))
    _require_alike(files, checkpoints)
    configuration, mirror_axes, _ = checkpoints[0]
    names = tuple(path.parent.name.removeprefix("fold_") for path in files)
    spec = _spec(found, configuration, mirror_axes, names, [digest for *_, digest in checkpoints])
    return NnunetModel(spec, networks, _previous(found, configuration, threads, device))


def _current(path: Path) -> Path:
    """Return a converted checkpoint, or the one beside it when that is of another training by now."""
    from AtlasSegmentLib.torch_checkpoint import SAFETENSORS, converted_from

    original = path.with_suffix(".pth")
    if path.suffix != SAFETENSORS or not original.is_file() or converted_from(path) in {"", sha256_of(original)}:
        return path
    _log.warning("%s: was made from another %s than the one beside it, which is used.", path, original.name)
    return original


def _require_alike(files: list[Path], said: list[tuple[Configuration, tuple[int, ...] | None, str]]) -> None:
    """Check that folds are of one training plan. Raises ModelError."""
    for path, (configuration, mirror_axes, _) in zip(files, said, strict=True):
        if (configuration.name, mirror_axes) != (said[0][0].name, said[0][1]):
            message = (
                f"{path}: is of {configuration.name}, mirrored along {mirror_axes}; {files[0]} of {said[0][0].name}, along {said[0][1]}."
            )
            raise ModelError(message, "Choose folds of one training with -f, or copy the model again.")


def _from_onnx(found: NnunetFolder, files: list[Path], threads: int, device: Device) -> NnunetModel:
    """Load an ONNX export; several files are folds. It does not say which configuration it is of: its input's shape does."""
    from AtlasSegmentLib.onnx_network import OnnxNetwork

    networks = [OnnxNetwork(path, threads, device) for path in files]
    configuration = _configuration_of(found, networks[0])
    names = tuple(path.stem for path in files)
    spec = _spec(found, configuration, _mirror_axes(found), names, [sha256_of(path) for path in files])
    facts = networks[0].facts
    smaller = str(facts.get("quantized") or ("fp16" if facts.get("precision") == "float16" else ""))
    if smaller:  # its masks differ a little: results of their own
        spec = replace(spec, name=f"{spec.name}-{smaller}")
    return NnunetModel(spec, networks, _previous(found, configuration, threads, device))


def _configuration_of(found: NnunetFolder, network: OnnxNetwork) -> Configuration:
    """Return the configuration that the file names, as our exports do, or the first one with the patch of its input."""
    patch = network.input_shape[2:]
    said = network.facts.get("configuration")
    names = (
        [said]
        if said in found.plans.configurations
        else [found.configuration]
        if found.configuration
        else sorted(found.plans.configurations, key=_usual_first)
    )
    all_of_them = [found.plans.configuration(name) for name in names]
    for configuration in all_of_them:
        same = (n == m for n, m in zip(patch, configuration.patch, strict=False) if isinstance(n, int))
        if len(patch) == len(configuration.patch) and all(same):
            return configuration
    message = f"{found.path}: the network's patch {patch} is that of no configuration of plans.json ({', '.join(names)})."
    raise ModelError(message, "Copy the plans.json that the network was exported with beside it.")


def _usual_first(name: str) -> tuple[bool, bool, str]:
    return (name != "3d_fullres", name.startswith("2d"), name)


def _mirror_axes(found: NnunetFolder) -> tuple[int, ...] | None:
    axes = read_note(found.path).get("mirror_axes")
    known = isinstance(axes, list) and all(isinstance(axis, int) and 0 <= axis <= 2 for axis in axes)
    return tuple(axes) or None if known and axes else None


def _previous(found: NnunetFolder, configuration: Configuration, threads: int, device: Device) -> NnunetModel | None:
    """Load the stage before of a cascade, which lies beside it."""
    if configuration.previous_stage is None:
        return None
    parts = found.path.absolute().name.split("__")
    folder = found.path.absolute().parent / "__".join([*parts[:-1], configuration.previous_stage])
    if len(parts) != 3 or not folder.is_dir():
        message = f"{found.path}: is the second stage of a cascade, and its first stage {folder} is not there."
        raise ModelError(message, f"Put the model folder of {configuration.previous_stage} beside it, with nnU-Net's own name.")
    return load_nnunet(folder, threads, device)


def _spec(
    found: NnunetFolder, configuration: Configuration, mirror_axes: tuple[int, ...] | None, folds: tuple[str, ...], digests: list[str]
) -> NnunetSpec:
    note = read_note(found.path)
    together = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    return NnunetSpec(
        name=model_name(found, configuration.name),
        dataset=found.dataset,
        plans=found.plans,
        configuration=configuration,
        mirror_axes=mirror_axes,
        folds=folds,
        sha256=together,
        orientation=training_orientation(found),
        title=str(note.get("title") or ""),
        version=str(note.get("version") or ""),
        license=str(note.get("license") or ""),
        citation=str(note.get("citation") or ""),
    )
