"""MONAI bundles as models: their config and metadata read as facts, their network built from a list or taken as TorchScript."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from AtlasSegmentLib.devices import Device
from AtlasSegmentLib.errors import ModelError
from AtlasSegmentLib.files import sha256_of
from AtlasSegmentLib.model_facts import COPY_AGAIN, license_in, listing, read_object
from AtlasSegmentLib.model_kinds_monai import METADATA, bundle_name, config_path, label_names
from AtlasSegmentLib.model_manifest import FORMAT, ModelManifest, manifest_of
from AtlasSegmentLib.monai_config import BundleConfig, Component, components, problem, read_config
from AtlasSegmentLib.monai_networks import build_network, is_listed, load_by_name
from AtlasSegmentLib.monai_transforms import read_postprocessing, read_preprocessing
from AtlasSegmentLib.network import Network
from AtlasSegmentLib.window_model import WindowModel

_log = logging.getLogger(__name__)
_SCRIPT = Path("models") / "model.ts"
_ELSE = "Run this bundle with MONAI itself, or export its network to ONNX or TorchScript with a model.json that says the same."
_SIGMA = 0.125
_TRANSFORM = ("evaluator", "val_data_loader", "dataset", "transform")
_PADDINGS = {"constant": "constant", "replicate": "edge", "reflect": "reflect"}


def load_bundle(folder: Path, threads: int = 0, device: Device = "auto") -> WindowModel:
    """Load a MONAI bundle; see `model.load_model`.

    Raises:
        ModelError: A file is missing or damaged, or the config holds something that changes the result and is not supported.
    """
    folder = Path(folder)
    config = bundle_config(folder)
    network_part = _network_part(config)
    weights = _weights(folder, config, network_part)
    spec = bundle_manifest(folder, config, weights)
    return WindowModel(spec, _network(network_part, weights, threads, device), weights, config.path.name)


def bundle_config(folder: Path) -> BundleConfig:
    """Return the inference config of a bundle, with `bundle_root` as the bundle's folder. Raises ModelError."""
    path = config_path(folder)
    if path is None:
        message = (
            f"{folder}: a MONAI bundle has configs/inference.json or .yaml; it is missing (configs holds {listing(folder / 'configs')})."
        )
        raise ModelError(message, "Copy the bundle again; one made for training alone cannot be run.")
    config = read_config(path)
    config.content["bundle_root"] = "."
    return config


def bundle_manifest(folder: Path, config: BundleConfig, weights: Path | None = None) -> ModelManifest:
    """Return what a bundle's config and metadata say.

    Args:
        folder: The bundle.
        config: Its inference config.
        weights: The file that will be run; without it there is no checksum.

    Raises:
        ModelError: Something that changes the result is not supported, or the facts do not fit together.
    """
    metadata = read_object(folder / METADATA)
    _require_one_image(folder, metadata)
    before = read_preprocessing(_steps(config, _TRANSFORM, "preprocessing", "image"))
    output = read_postprocessing(_steps(config, ("evaluator", "postprocessing"), "postprocessing", "pred"))
    if before.crop_foreground and output["decide"] == "logits":
        message = f"{config.path}: CropForeground with an Invert before the activation makes structures of what was cropped away."
        raise ModelError(message, "Put Activationsd before Invertd in a copy of the config, or run the bundle with MONAI itself.")
    labels, has_background = label_names(folder, metadata, softmax=output["activation"] == "softmax")
    content = {
        "format": FORMAT,
        "name": bundle_name(metadata, folder),
        "title": str(metadata.get("description") or metadata.get("task") or ""),
        "version": str(metadata.get("version") or ""),
        "license": str(metadata.get("license") or "") or license_in(folder),
        "citation": _first_reference(metadata),
        "engine": "torch" if weights is None or weights.suffix != ".ts" else "torchscript",
        "file": "model.pt" if weights is None else weights.name,
        "sha256": "0" * 64 if weights is None else sha256_of(weights),
        "input": {**before.entries(), **_inferer(_part(config, ("evaluator", "inferer"), "inferer"))},
        "output": {**output, "background": has_background},
        "labels": labels,
    }
    return manifest_of(content, config.path, f"Mend {METADATA.as_posix()} or {config.path.name}, or copy the bundle again.")


def _require_one_image(folder: Path, metadata: dict[str, Any]) -> None:
    data: Any = metadata.get("network_data_format")
    inputs = data.get("inputs") if isinstance(data, dict) else None
    image = inputs.get("image") if isinstance(inputs, dict) else None
    channels = image.get("num_channels", 1) if isinstance(image, dict) else 1
    if isinstance(inputs, dict) and len(inputs) > 1:
        message = f"{folder / METADATA}: the network wants {', '.join(map(str, inputs))}; only models of one CT image are supported."
        raise ModelError(message, _ELSE)
    if channels != 1:
        message = f"{folder / METADATA}: the network wants {channels!r:.20} images together; only models of one CT image are supported."
        raise ModelError(message, _ELSE)


def _first_reference(metadata: dict[str, Any]) -> str:
    references = metadata.get("references")
    return str(references[0]) if isinstance(references, list) and references else ""


def _part(config: BundleConfig, path: tuple[str, ...], name: str) -> Any:
    """Return a part of the evaluator, as MONAI would find it, or the entry of its usual name."""
    if config.has(name):
        return config.get(name)
    part: Any = config.get(path[0]) if config.has(path[0]) else None
    for key in path[1:]:
        part = part.argument(key) if isinstance(part, Component) else None
    return part


def _steps(config: BundleConfig, path: tuple[str, ...], name: str, key: str) -> Iterator[Component]:
    """Yield the transforms of a chain that touch the image, or the prediction."""
    part = _part(config, path, name)
    if part is None and key == "image":
        message = f"{config.path}: says nothing of preprocessing."
        raise ModelError(message, _ELSE)
    key = str(config.get("image_key")) if key == "image" and config.has("image_key") else key
    for step in components(part, name):
        keys = step.argument("keys", key)
        if key in (keys if isinstance(keys, list | tuple) else [keys]):
            yield step


def _inferer(part: Any) -> dict[str, Any]:
    """Return what an inferer says, as entries of `ModelInput`."""
    if not isinstance(part, Component):
        return {}
    if part.name == "SimpleInferer":
        return {"patch": None}
    if part.name not in {"SlidingWindowInferer", "SlidingWindowInfererAdapt"}:
        raise problem(part, "this inferer is not supported; SlidingWindowInferer and SimpleInferer are.", _ELSE)
    for name, default in (("sigma_scale", _SIGMA), ("roi_weight_map", None), ("with_coord", False)):
        if part.argument(name, default) != default:
            raise problem(part, f"{name} = {part.argument(name)!r:.60} is not supported.", _ELSE)
    size = part.argument("roi_size")
    size = [size] * 3 if isinstance(size, int) else size
    if not isinstance(size, list | tuple) or len(size) != 3 or not all(isinstance(n, int) and n > 0 for n in size):
        raise problem(part, f"roi_size = {size!r:.60} is not supported; three positive numbers are.", _ELSE)
    overlap = part.argument("overlap", 0.25)
    shares = set(overlap) if isinstance(overlap, list | tuple) else {overlap}
    mode, padding = part.argument("mode", "constant"), part.argument("padding_mode", "constant")
    if len(shares) != 1 or mode not in {"constant", "gaussian"} or padding not in _PADDINGS:
        raise problem(part, f"overlap {overlap!r:.40}, mode {mode!r:.40}, padding_mode {padding!r:.40} are not supported together.", _ELSE)
    return {
        "patch": list(size),
        "overlap": shares.pop(),
        "weights": "constant" if mode == "constant" else "gaussian_unscaled",
        "padding": _PADDINGS[padding],
        "padding_value": part.argument("cval", 0.0),
    }


def _network_part(config: BundleConfig) -> Component | None:
    """Return the network as the config describes it; None when it does so in a way that only MONAI understands."""
    for name in ("network_def", "network", "net"):
        if config.has(name):
            try:
                part = config.get(name)
            except ModelError as error:
                _log.info("%s", error.message)
                return None
            return part if isinstance(part, Component) else None
    return None


def _weights(folder: Path, config: BundleConfig, network: Component | None) -> Path:
    """Return the file to run: the checkpoint that the config names where its network can be built, else the TorchScript file."""
    script = folder / _SCRIPT
    checkpoint = _checkpoint(folder, config)
    listed = network is not None and is_listed(network)
    if checkpoint.is_file() and listed:
        return checkpoint
    if script.is_file():
        return script
    if not listed and checkpoint.is_file():
        what = f"its network {network.target}" if network is not None else "the network that it names"
        message = f"{config.path}: {what} is not on the list of networks that can be built, and there is no {_SCRIPT.as_posix()}."
        raise ModelError(message, "Download the bundle's model.ts, or export the network to TorchScript with MONAI itself.")
    shown = checkpoint.relative_to(folder).as_posix()
    message = f"{folder}: has no {shown} and no {_SCRIPT.as_posix()} (models holds {listing(folder / 'models')})."
    raise ModelError(message, "Download the bundle's weights (its large_files.yml says where they are), or copy the bundle again.")


def _checkpoint(folder: Path, config: BundleConfig) -> Path:
    """Return where the config loads its weights from. Raises ModelError when that is outside of the bundle."""
    named = _load_path(config) or "models/model.pt"
    path = folder / named
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError) as error:
        message = f"{config.path}: the weights {named!r:.100} cannot be found ({error})."
        raise ModelError(message, COPY_AGAIN) from error
    if not inside:
        message = f"{config.path}: the weights {named!r:.100} lie outside of the bundle."
        raise ModelError(message, "Put them into the bundle's models folder, and name them there.")
    return folder / Path(named)


def _load_path(config: BundleConfig) -> str | None:
    parts = [config.get("checkpointloader")] if config.has("checkpointloader") else []
    if config.has("handlers"):
        parts += [handler for handler in config.get("handlers") or [] if isinstance(handler, Component)]
    for part in parts:
        if isinstance(part, Component) and part.name == "CheckpointLoader":
            path = part.argument("load_path")
            return path if isinstance(path, str) else None
    return None


def _network(part: Component | None, weights: Path, threads: int, device: Device) -> Network:
    from AtlasSegmentLib.torch_network import TorchNetwork, load_torchscript

    if weights.suffix == ".ts":
        return load_torchscript(weights, threads, device)
    if part is None:
        message = f"{weights}: nothing says which network these weights are of."
        raise ModelError(message, _ELSE)
    from AtlasSegmentLib.torch_checkpoint import load_checkpoint

    module = load_by_name(build_network(part), load_checkpoint(weights).weights, weights)
    return TorchNetwork(module, device, threads, name=weights)


def check_bundle(folder: Path) -> ModelManifest:
    """Return what a bundle's config and metadata say, without its weights. Raises ModelError as `load_bundle` does for them."""
    return bundle_manifest(Path(folder), bundle_config(Path(folder)))
