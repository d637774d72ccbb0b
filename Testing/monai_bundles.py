"""Tiny MONAI bundles in the model zoo's layout, and MONAI's own result on them."""

from __future__ import annotations

import json
import warnings
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Json = dict[str, Any]

CLASSES = 4
UNET: Json = {
    "_target_": "UNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": CLASSES,
    "channels": [4, 8],
    "strides": [2],
    "num_res_units": 1,
    "norm": "batch",
}
RANGE: Json = {"_target_": "ScaleIntensityRanged", "keys": "@image_key", "a_min": -175, "a_max": 250, "b_min": 0, "b_max": 1, "clip": True}
WINDOW: Json = {"_target_": "SlidingWindowInferer", "roi_size": [16, 16, 16], "sw_batch_size": 2, "overlap": 0.5}
SOFTMAX: Json = {"_target_": "Activationsd", "keys": "pred", "softmax": True}
ARGMAX: Json = {"_target_": "AsDiscreted", "keys": "pred", "argmax": True}


def invert(*, nearest: bool = False) -> Json:
    """Return the transform that brings a prediction back to the image."""
    keys = {"keys": "pred", "transform": "@preprocessing", "orig_keys": "@image_key"}
    return {"_target_": "Invertd", **keys, "nearest_interp": nearest, "to_tensor": True}


def config(
    *,
    network: Json | None = None,
    spacing: Any = (3.5, 4.0, 4.5),
    axcodes: str = "RAS",
    rules: list[Json] | None = None,
    inferer: Json | None = None,
    after: list[Json] | None = None,
) -> Json:
    """Return an inference.json as bundles of the zoo have it."""
    content = {
        "imports": ["$import glob", "$import os"],
        "bundle_root": ".",
        "image_key": "image",
        "output_dir": "$@bundle_root + '/eval'",
        "dataset_dir": "/workspace/data",
        "datalist": "$list(sorted(glob.glob(@dataset_dir + '/imagesTs/*.nii.gz')))",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "pixdim": list(spacing) if isinstance(spacing, tuple) else spacing,
        "network_def": network or UNET,
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "@image_key"},
                {"_target_": "EnsureChannelFirstd", "keys": "@image_key"},
                {"_target_": "Orientationd", "keys": "@image_key", "axcodes": axcodes},
                {"_target_": "Spacingd", "keys": "@image_key", "pixdim": "@pixdim", "mode": "bilinear"},
                *([RANGE] if rules is None else rules),
                {"_target_": "EnsureTyped", "keys": "@image_key"},
            ],
        },
        "dataset": {"_target_": "Dataset", "data": "$[{'image': i} for i in @datalist]", "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "shuffle": False, "num_workers": 4},
        "inferer": inferer or WINDOW,
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                *([SOFTMAX, invert(), ARGMAX] if after is None else after),
                {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir"},
            ],
        },
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "amp": True,
        },
        "checkpointloader": {
            "_target_": "CheckpointLoader",
            "load_path": "$@bundle_root + '/models/model.pt'",
            "load_dict": {"model": "@network"},
        },
        "initialize": ["$monai.utils.set_determinism(seed=123)", "$@checkpointloader(@evaluator)"],
        "run": ["$@evaluator.run()"],
    }
    return deepcopy(content)


def metadata(names: tuple[str, ...] = ("background", "spleen", "liver", "pancreas"), **changes: Any) -> Json:
    """Return a metadata.json."""
    image = {"type": "image", "modality": "CT", "num_channels": 1, "channel_def": {"0": "image"}}
    pred = {"type": "image", "num_channels": len(names), "channel_def": {str(n): name for n, name in enumerate(names)}}
    return {
        "version": "0.1.0",
        "monai_version": "1.4.0",
        "name": "Tiny bundle",
        "description": "For tests",
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": pred}},
        **changes,
    }


def make_bundle(folder: Path, content: Json, facts: Json | None = None, *, script: bool = False, seed: int = 0) -> Path:
    """Write a bundle with random weights of contrast and return its folder.

    Args:
        folder: Made when missing.
        content: inference.json.
        facts: metadata.json.
        script: Write models/model.ts in place of models/model.pt.
        seed: Of the weights.
    """
    import torch

    (folder / "configs").mkdir(parents=True, exist_ok=True)
    (folder / "models").mkdir(exist_ok=True)
    (folder / "configs" / "inference.json").write_text(json.dumps(content), encoding="utf-8")
    (folder / "configs" / "metadata.json").write_text(json.dumps(facts or metadata()), encoding="utf-8")
    network = sharp_network(content["network_def"], seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if script:
            torch.jit.trace(network, torch.zeros(1, 1, 16, 16, 16)).save(str(folder / "models" / "model.ts"))
        else:
            torch.save({"model": network.state_dict(), "epoch": 3}, folder / "models" / "model.pt")
    return folder


def sharp_network(part: Json, seed: int = 0) -> Any:
    """Return a network with random weights whose classes are about as frequent, and surer than those of random weights."""
    import torch
    from monai.networks import nets

    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        network = getattr(nets, part["_target_"].rpartition(".")[2])(**{key: value for key, value in part.items() if key != "_target_"})
        network.eval()
        last = [module for module in network.modules() if isinstance(module, torch.nn.Conv3d | torch.nn.ConvTranspose3d)][-1]
        with torch.no_grad():
            seen = network(torch.rand(2, 1, 32, 32, 32))
            axes = (0, 2, 3, 4)
            last.weight *= 12 / seen.std(axes).mean()
            if last.bias is not None:
                last.bias -= last.bias.mean()
    return network


def monai_result(folder: Path, image: Path) -> npt.NDArray[Any]:
    """Return what MONAI makes of an image with a bundle's config, (C or 1, X, Y, Z) before it would be saved."""
    import torch
    from monai.bundle import ConfigParser

    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        parser = ConfigParser()
        parser.read_config(str(folder / "configs" / "inference.json"))
        steps = parser["postprocessing"]["transforms"]
        parser["postprocessing"]["transforms"] = [step for step in steps if step["_target_"] != "SaveImaged"]
        parser["device"] = "cpu"
        script = folder / "models" / "model.ts"
        if script.is_file():
            network = torch.jit.load(str(script))
        else:
            network = parser.get_parsed_content("network_def")
            network.load_state_dict(torch.load(folder / "models" / "model.pt", weights_only=True)["model"])
        data = parser.get_parsed_content("preprocessing")({"image": str(image)})
        data["pred"] = parser.get_parsed_content("inferer")(data["image"][None], network.eval())[0]
        return np.asarray(parser.get_parsed_content("postprocessing")(data)["pred"])
