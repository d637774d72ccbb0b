"""Complete nnU-Net v2 model folders with small random networks, as nnU-Net's own training would leave them.

The weights are made from a seed, not trained. They are low-pass (so that a label map has patches, not noise) and their
last layer is scaled so that every class wins somewhere.
"""

from __future__ import annotations

import json
import pydoc
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np

Configuration = Literal["2d", "3d_lowres", "3d_fullres", "3d_cascade_fullres"]
DATASET_NAME = "Dataset111_Tiny"
ORGANS = ("spleen", "liver", "kidney_left")
PLANS_NAME = "nnUNetPlans"
_ARCHITECTURES = "dynamic_network_architectures.architectures"
_INTENSITIES = {
    "max": 3071.0,
    "mean": 60.0,
    "median": 55.0,
    "min": -1024.0,
    "percentile_00_5": -900.0,
    "percentile_99_5": 600.0,
    "std": 180.0,
}
_LOWRES = 2.0  # how much coarser the first stage of the cascade is
_ROUGHNESS = 0.1  # share of a random kernel that differs from its mean
_CONTRAST = 3.0  # standard deviation of the logits


@dataclass(frozen=True)
class Shape:
    """What makes a network large or small.

    Attributes:
        features: Feature maps of the first stage, doubled from stage to stage.
        most: Their limit.
        stages: Number of resolutions; fewer where the patch is too small for them.
        blocks: Convolutions (or residual blocks) of each stage.
    """

    features: int = 4
    most: int = 16
    stages: int = 3
    blocks: int = 1


def make_nnunet_model(  # noqa: PLR0913 - each is one thing that models differ in
    folder: Path,
    *,
    dialect: Literal["new", "old"] = "new",
    network: Literal["plain", "residual"] = "plain",
    configuration: Configuration = "3d_fullres",
    spacing: Sequence[float] = (3.0, 2.0, 2.0),
    patch: Sequence[int] = (16, 16, 16),
    labels: Sequence[str] | Mapping[str, int | list[int]] = ORGANS,
    regions_class_order: Sequence[int] | None = None,
    channels: Sequence[str] = ("CT",),
    folds: Sequence[int | str] = (0,),
    mirror_axes: Sequence[int] | None = None,
    trainer: str | None = None,
    transpose: Sequence[int] | None = None,
    shape: Shape | None = None,
    plans: dict[str, Any] | None = None,
    dataset: str = DATASET_NAME,
    seed: int = 0,
) -> Path:
    """Write one model folder below `folder` and return it: <dataset>/<trainer>__<plans>__<configuration>.

    All configurations are in the plans, so that two calls with one `folder` make both stages of a cascade.

    Args:
        folder: nnU-Net's results folder.
        dialect: Way in which the plans describe their networks: of nnU-Net 2.4 and later, or of before.
        network: PlainConvUNet or ResidualEncoderUNet.
        configuration: Which one gets weights.
        spacing: Target spacing of 3d_fullres in mm, in the network's axis order (z, y, x, then transposed); 2d has the last two.
        patch: Patch size of the 3d configurations; 2d has the last two values.
        labels: Names of the structures (values 1, 2, ...), or labels as in dataset.json without background.
        regions_class_order: As in dataset.json; needed when a label is a list.
        channels: Names of the input images.
        folds: Numbers, or "all"; each has weights of its own.
        mirror_axes: Axes of the network's input along which it may be mirrored. None: trained without mirroring.
        trainer: Its name; by default nnUNetTrainer, or nnUNetTrainerNoMirroring when there are no mirror axes.
        transpose: `transpose_forward`; (0, 1, 2) by default.
        shape: Size of the network.
        plans: Ready plans.json; then dialect, network, spacing, patch, transpose and shape are not looked at.
        dataset: Name of the dataset, Dataset<three digits>_<name>.
        seed: Of the weights.
    """
    import torch

    options: dict[str, Any] = {"shape": shape, "transpose": transpose, "channels": len(channels)}
    newer = plans or make_plans("new", network, spacing, patch, **options)
    plans = {**(plans or make_plans(dialect, network, spacing, patch, **options)), "dataset_name": dataset}
    described = make_dataset(labels, regions_class_order, channels)
    trainer = trainer or ("nnUNetTrainerNoMirroring" if mirror_axes is None else "nnUNetTrainer")
    model = Path(folder) / dataset / f"{trainer}__{plans['plans_name']}__{configuration}"
    model.mkdir(parents=True)
    (model / "plans.json").write_text(json.dumps(plans, indent=1), encoding="utf-8")
    (model / "dataset.json").write_text(json.dumps(described, indent=1), encoding="utf-8")
    for number, fold in enumerate(folds):
        (model / f"fold_{fold}").mkdir()
        weights = random_weights(newer, described, configuration, seed * 1000 + number, trainer)
        said = {"configuration": configuration, "fold": fold, "trainer": trainer, "mirror_axes": mirror_axes}
        torch.save(make_checkpoint(weights, plans, described, **said), model / f"fold_{fold}" / "checkpoint_final.pth")
    return model


def make_dataset(
    labels: Sequence[str] | Mapping[str, int | list[int]] = ORGANS,
    regions_class_order: Sequence[int] | None = None,
    channels: Sequence[str] = ("CT",),
) -> dict[str, Any]:
    """Return dataset.json; the arguments are those of `make_nnunet_model`."""
    values = dict(labels) if isinstance(labels, Mapping) else {name: value for value, name in enumerate(labels, start=1)}
    described: dict[str, Any] = {
        "channel_names": {str(number): name for number, name in enumerate(channels)},
        "labels": {"background": 0, **values},
        "numTraining": 4,
        "file_ending": ".nii.gz",
    }
    if regions_class_order is not None:
        described["regions_class_order"] = list(regions_class_order)
    return described


def make_plans(
    dialect: str,
    network: str,
    spacing: Sequence[float],
    patch: Sequence[int],
    *,
    shape: Shape | None = None,
    transpose: Sequence[int] | None = None,
    channels: int = 1,
) -> dict[str, Any]:
    """Return plans.json with the four configurations that nnU-Net plans for a large image."""
    forward, shape = list(transpose or (0, 1, 2)), shape or Shape()
    coarse = [value * _LOWRES for value in spacing]
    whole = {"normalization_schemes": ["CTNormalization"] * channels, "use_mask_for_norm": [False] * channels}
    fullres = {**_configuration(dialect, network, spacing, patch, shape), **whole}
    lowres = {**_configuration(dialect, network, coarse, patch, shape), **whole, "next_stage": "3d_cascade_fullres"}
    configurations = {
        "2d": {**_configuration(dialect, network, spacing[1:], patch[1:], shape), **whole},
        "3d_lowres": lowres,
        "3d_fullres": fullres,
        "3d_cascade_fullres": {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"},
    }
    return {
        "dataset_name": DATASET_NAME,
        "plans_name": PLANS_NAME,
        "original_median_spacing_after_transp": list(spacing),
        "original_median_shape_after_transp": [64, 64, 64],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": forward,
        "transpose_backward": [forward.index(axis) for axis in range(3)],
        "configurations": configurations,
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {str(number): dict(_INTENSITIES) for number in range(channels)},
    }


def _configuration(dialect: str, network: str, spacing: Sequence[float], patch: Sequence[int], shape: Shape) -> dict[str, Any]:
    axes = len(patch)
    strides, kernels = _strides_and_kernels(spacing, patch, shape.stages)
    form = (_new_form if dialect == "new" else _old_form)(network, axes, strides, kernels, shape)
    return {
        "data_identifier": f"{PLANS_NAME}_{axes}d",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(patch),
        "median_image_size_in_voxels": [64.0] * axes,
        "spacing": list(spacing),
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None},
        "resampling_fn_seg_kwargs": {"is_seg": True, "order": 1, "order_z": 0, "force_separate_z": None},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None},
        "batch_dice": False,
        **form,
    }


def _strides_and_kernels(spacing: Sequence[float], patch: Sequence[int], stages: int) -> tuple[list[list[int]], list[list[int]]]:
    """Halve what has at least 8 voxels left; a coarse axis has kernels of 1 until the others are as coarse."""
    strides, kernels = [[1] * len(patch)], []
    size, step = list(patch), list(spacing)
    while True:
        kernels.append([1 if value > 2 * min(step) else 3 for value in step])
        stride = [2 if n >= 8 and n % 2 == 0 and value <= 2 * min(step) else 1 for n, value in zip(size, step, strict=True)]
        if len(strides) == stages or max(stride) == 1:
            return strides, kernels
        strides.append(stride)
        size = [n // s for n, s in zip(size, stride, strict=True)]
        step = [value * s for value, s in zip(step, stride, strict=True)]


def _new_form(network: str, axes: int, strides: list[list[int]], kernels: list[list[int]], shape: Shape) -> dict[str, Any]:
    stages = len(strides)
    plain = network == "plain"
    arguments = {
        "n_stages": stages,
        "features_per_stage": [min(shape.features * 2**stage, shape.most) for stage in range(stages)],
        "conv_op": f"torch.nn.modules.conv.Conv{axes}d",
        "kernel_sizes": kernels,
        "strides": strides,
        "n_conv_per_stage" if plain else "n_blocks_per_stage": [shape.blocks] * stages,
        "n_conv_per_stage_decoder": [shape.blocks] * (stages - 1),
        "conv_bias": True,
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{axes}d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    return {
        "architecture": {
            "network_class_name": f"{_ARCHITECTURES}.unet.{'PlainConvUNet' if plain else 'ResidualEncoderUNet'}",
            "arch_kwargs": arguments,
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        }
    }


def _old_form(network: str, axes: int, strides: list[list[int]], kernels: list[list[int]], shape: Shape) -> dict[str, Any]:
    stages = len(strides)
    return {
        "UNet_class_name": "PlainConvUNet" if network == "plain" else "ResidualEncoderUNet",
        "UNet_base_num_features": shape.features,
        "unet_max_num_features": shape.most,
        "n_conv_per_stage_encoder": [shape.blocks] * stages,
        "n_conv_per_stage_decoder": [shape.blocks] * (stages - 1),
        "num_pool_per_axis": [sum(stride[axis] == 2 for stride in strides) for axis in range(axes)],
        "pool_op_kernel_sizes": strides,
        "conv_kernel_sizes": kernels,
    }


def realistic_plans() -> dict[str, Any]:
    """Return the plans of AutoOrgan's task 106 (Dataset106_TotalBone3): 3 mm, patch 256x80x80, 31 million parameters."""
    strides = [[1, 1, 1], [2, 2, 2], [2, 2, 2], [2, 2, 2], [2, 2, 2], [2, 1, 1]]
    form = _new_form("plain", 3, strides, [[3, 3, 3]] * 6, Shape(32, 320, 6, 2))
    plans = make_plans("new", "plain", (3.0, 3.0, 3.0), (256, 80, 80))
    fullres = {**plans["configurations"]["3d_fullres"], **form, "batch_dice": True}
    intensities = dict(zip(_INTENSITIES, (34867.0, 435.5488, 306.0, -1023.0, -80.0, 1629.0, 422.6369), strict=True))
    return {
        **plans,
        "dataset_name": "Dataset106_TotalBone3",
        "original_median_shape_after_transp": [662, 167, 167],
        "configurations": {"3d_fullres": fullres},
        "foreground_intensity_properties_per_channel": {"0": intensities},
    }


def make_realistic_model(folder: Path, labels: int = 24, *, thickness: int = 256, seed: int = 0) -> Path:
    """Write a model folder with the real plans of `realistic_plans`, perhaps a thinner patch, and `labels` structures; return it."""
    plans = realistic_plans()
    plans["configurations"]["3d_fullres"]["patch_size"][0] = thickness
    names = [f"structure_{number:03d}" for number in range(1, labels + 1)]
    return make_nnunet_model(folder, plans=plans, dataset="Dataset106_TotalBone3", labels=names, seed=seed)


def random_weights(plans: dict[str, Any], dataset: dict[str, Any], configuration: str, seed: int, trainer: str) -> dict[str, Any]:
    """Return the state dict of a network of these plans (newer dialect): random, low-pass, every class wins somewhere."""
    import torch

    chosen = plans["configurations"][configuration]
    chosen = {**plans["configurations"].get(chosen.get("inherits_from"), {}), **chosen}
    labels = {name: value for name, value in dataset["labels"].items() if name not in {"background", "ignore"}}
    regions = any(isinstance(value, list) and len(value) > 1 for value in labels.values())
    channels = len(dataset["channel_names"])
    if "previous_stage" in chosen:
        values = [value if isinstance(value, list) else [value] for value in labels.values()]
        channels += len(set().union(*values))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network = _build(chosen, channels, len(labels) + (not regions), trainer)
        _make_low_pass(network)
        _spread_classes(network, chosen, channels, softmax=not regions)
        return dict(network.state_dict())


def _build(chosen: dict[str, Any], channels: int, heads: int, trainer: str) -> Any:
    from dynamic_network_architectures.architectures import unet

    described = chosen["architecture"]
    arguments = {**described["arch_kwargs"]}
    if trainer == "nnUNetTrainerBN":
        arguments["norm_op"] = f"torch.nn.modules.batchnorm.BatchNorm{len(chosen['patch_size'])}d"
    arguments |= {key: arguments[key] and pydoc.locate(arguments[key]) for key in described["_kw_requires_import"]}
    kind = getattr(unet, described["network_class_name"].rpartition(".")[2])
    network = kind(input_channels=channels, num_classes=heads, deep_supervision=False, **arguments)
    return network.apply(network.initialize).eval()


def _make_low_pass(network: Any) -> None:
    """Draw every kernel towards its mean, which keeps shapes of the image instead of edges and noise."""
    import torch

    for module in network.modules():
        kernel = getattr(module, "kernel_size", (1,))
        if isinstance(module, torch.nn.modules.conv._ConvNd) and max(kernel) > 1:
            mean = module.weight.mean(tuple(range(2, module.weight.ndim)), keepdim=True)
            module.weight.mul_(_ROUGHNESS).add_(mean * np.prod(kernel) ** 0.5)
        if isinstance(module, torch.nn.InstanceNorm2d | torch.nn.InstanceNorm3d):
            module.weight.copy_(torch.empty_like(module.weight).uniform_(0.7, 1.3))
            module.bias.copy_(torch.empty_like(module.bias).uniform_(-0.3, 0.3))


def _spread_classes(network: Any, chosen: dict[str, Any], channels: int, *, softmax: bool) -> None:
    """Set the last layer so that on a smooth random image the logits have mean 0, a deviation of 3 and little in common."""
    import torch

    divisors = [int(n) for n in np.prod(chosen["architecture"]["arch_kwargs"]["strides"], axis=0)]
    size = [max(2 * d, min(p, 16) // d * d) for d, p in zip(divisors, chosen["patch_size"], strict=True)]
    coarse = torch.randn(2, channels, *[max(2, n // 4) for n in size])
    image = torch.nn.functional.interpolate(coarse, size=size, mode="trilinear" if len(size) == 3 else "bilinear")
    last = network.decoder.seg_layers[-1]
    seen: list[Any] = []
    with last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0])):
        network(image)
    features = seen[0].transpose(0, 1).flatten(1)
    variances, directions = torch.linalg.eigh(torch.cov(features))
    whiten = directions / variances.clamp_min(0.02 * variances.max()).sqrt()
    drawn = torch.randn(len(last.weight), len(features))
    if len(drawn) <= len(features):
        drawn = torch.linalg.qr(drawn.T).Q.T  # as different from each other as can be
    weight = drawn @ whiten.T
    scale = _CONTRAST / (weight @ features).std(1, keepdim=True)
    last.weight.copy_((weight * scale).reshape(last.weight.shape))
    last.bias.copy_(-(weight * scale) @ features.mean(1))
    if softmax:
        last.bias[0] += _CONTRAST / 3  # background is the most frequent class, as it is in life


def make_checkpoint(
    weights: dict[str, Any],
    plans: dict[str, Any],
    dataset: dict[str, Any],
    *,
    configuration: str,
    fold: int | str = 0,
    trainer: str = "nnUNetTrainer",
    mirror_axes: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Return what nnU-Net's trainer saves, with NumPy's scalars and a torch.device in the same places."""
    import torch

    return {
        "network_weights": weights,
        "optimizer_state": {"state": {}, "param_groups": [{"lr": 1e-5, "momentum": 0.99, "params": [0]}]},
        "grad_scaler_state": None,
        "logging": {
            "mean_fg_dice": [np.float64(0.5)],
            "ema_fg_dice": [np.float64(0.5)],
            "dice_per_class_or_region": [[np.float64(0.5), np.float64(0.25)]],
            "train_losses": [np.float32(-0.5)],
            "val_losses": [np.float32(-0.4)],
            "lrs": [0.01],
            "epoch_start_timestamps": [1.7e9],
            "epoch_end_timestamps": [1.7e9 + 60],
        },
        "_best_ema": np.float64(0.5),
        "current_epoch": 1,
        "init_args": {
            "plans": plans,
            "configuration": configuration,
            "fold": fold,
            "dataset_json": dataset,
            "device": torch.device("cuda"),
        },
        "trainer_name": trainer,
        "inference_allowed_mirroring_axes": None if mirror_axes is None else tuple(mirror_axes),
    }


def reference_predictor(model: Path, folds: Sequence[int | str] = (0,), **options: Any) -> Any:
    """Return nnunetv2's own predictor with a model folder loaded, on the CPU; `options` are those of nnUNetPredictor."""
    import torch

    skip_transformers()
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    quiet = {"verbose": False, "verbose_preprocessing": False, "allow_tqdm": False, "perform_everything_on_device": False}
    predictor = nnUNetPredictor(device=torch.device("cpu"), **{**quiet, **options})
    _quiet(lambda: predictor.initialize_from_trained_model_folder(str(model), tuple(folds)))
    return predictor


def _quiet(call: Any) -> Any:
    """Call with warnings of old plans left out: they are meant to be old."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call()


def skip_transformers() -> None:
    """Let nnunetv2 look for trainers and networks without the modules of its transformers.

    Those need timm and torchvision, and the torchvision of a package index does not fit a torch built for the CPU alone.
    """
    trainers = "nnunetv2.training.nnUNetTrainer.primus.primus_trainers"
    for name in (trainers, f"{_ARCHITECTURES}.primus", f"{_ARCHITECTURES}.dinov2_eva"):
        sys.modules.setdefault(name, ModuleType(name))
