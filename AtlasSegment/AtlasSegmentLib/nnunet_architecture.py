"""The network of an nnU-Net configuration: the newer way to describe it, and the older one converted to the newer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from AtlasSegmentLib.errors import ModelError
from AtlasSegmentLib.model_facts import COPY_AGAIN
from AtlasSegmentLib.nnunet_fields import Fields, is_sizes

_PACKAGE = "dynamic_network_architectures.architectures"
NETWORKS = ("PlainConvUNet", "ResidualEncoderUNet", "ResidualUNet")
"""Classes of dynamic-network-architectures that are built, whatever module of it the plan names."""

_OLD_NETWORKS = NETWORKS[:2]
_MOST_STAGES = 12
_MOST_FEATURES = 8192
_MOST_BLOCKS = 64
_LARGEST_KERNEL = 31
_IMPORTED = ("conv_op", "norm_op", "dropout_op", "nonlin")


@dataclass(frozen=True)
class Architecture:
    """A network as the newer plans describe it.

    Attributes:
        class_name: Dotted name of the class.
        arguments: Its arguments; those of `requires_import` are dotted names or None.
        requires_import: Names of the arguments that stand for classes.
    """

    class_name: str
    arguments: dict[str, Any]
    requires_import: tuple[str, ...]

    @property
    def kind(self) -> str:
        """The name of the class alone, one of NETWORKS."""
        return self.class_name.rpartition(".")[2]

    @property
    def strides(self) -> tuple[tuple[int, ...], ...]:
        """Stride of each stage along each axis; stage 0 first."""
        return tuple(tuple(stride) for stride in self.arguments["strides"])

    @property
    def divisors(self) -> tuple[int, ...]:
        """What the size of an input must be a multiple of along each axis."""
        axes = len(self.strides[0])
        product = [1] * axes
        for stride in self.strides:
            product = [total * step for total, step in zip(product, stride, strict=True)]
        return tuple(product)


def trained_by(architecture: Architecture, trainer: str) -> Architecture:
    """Return the network that a trainer really built: nnU-Net's nnUNetTrainerBN has batch norm where the plans say instance norm."""
    if trainer != "nnUNetTrainerBN" or "norm_op" not in architecture.arguments:
        return architecture
    norm = f"torch.nn.modules.batchnorm.BatchNorm{len(architecture.strides[0])}d"
    arguments = {**architecture.arguments, "norm_op": norm, "norm_op_kwargs": {"eps": 1e-5, "affine": True}}
    return Architecture(architecture.class_name, arguments, architecture.requires_import)


def read_architecture(configuration: Fields, patch: tuple[int, ...]) -> Architecture:
    """Return the network of a configuration of plans.json.

    Args:
        configuration: With what it inherits.
        patch: Its patch size.

    Raises:
        ModelError: It is of a class that is not built here, or its numbers contradict each other.
    """
    if "architecture" in configuration:
        found = _new(configuration.child("architecture"))
    elif "UNet_class_name" in configuration:
        found = _old(configuration, len(patch))
    else:
        message = f"{configuration.where} does not describe a network, neither in the form of nnU-Net 2.4 nor in the older one."
        raise ModelError(message, COPY_AGAIN)
    _require_sound(found, Fields(found.arguments, configuration.where), patch)
    return found


def _new(fields: Fields) -> Architecture:
    name = fields.text("network_class_name")
    module, _, kind = name.rpartition(".")
    if kind not in NETWORKS or not (module == _PACKAGE or module.startswith(f"{_PACKAGE}.")):
        raise _unknown(fields, name, tuple(f"{_PACKAGE}.unet.{known}" for known in NETWORKS))
    imported = fields.values.get("_kw_requires_import", [])
    if not isinstance(imported, list) or not all(isinstance(key, str) for key in imported):
        fields.refuse("_kw_requires_import", "a list of argument names")
    return Architecture(f"{_PACKAGE}.unet.{kind}", dict(fields.child("arch_kwargs").values), tuple(imported))


def _old(fields: Fields, axes: int) -> Architecture:
    """Convert plans of nnU-Net before 2.4, which left out what all its networks had in common."""
    kind = fields.text("UNet_class_name")
    if kind not in _OLD_NETWORKS:
        raise _unknown(fields, kind, _OLD_NETWORKS)
    convolutions = fields.sizes("n_conv_per_stage_encoder", range(2, _MOST_STAGES + 1), _MOST_BLOCKS)
    stages = len(convolutions)
    base, most = fields.whole("UNet_base_num_features", 1, _MOST_FEATURES), fields.whole("unet_max_num_features", 1, _MOST_FEATURES)
    arguments = {
        "n_stages": stages,
        "features_per_stage": [min(base * 2**stage, most) for stage in range(stages)],
        "conv_op": f"torch.nn.modules.conv.Conv{axes}d",
        "kernel_sizes": fields.values.get("conv_kernel_sizes"),
        "strides": fields.values.get("pool_op_kernel_sizes"),
        "n_conv_per_stage" if kind == "PlainConvUNet" else "n_blocks_per_stage": list(convolutions),
        "n_conv_per_stage_decoder": fields.values.get("n_conv_per_stage_decoder"),
        "conv_bias": True,
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{axes}d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    return Architecture(f"{_PACKAGE}.unet.{kind}", arguments, _IMPORTED)


def _unknown(fields: Fields, name: str, known: tuple[str, ...]) -> ModelError:
    message = f"{fields.where}: the network {name!r:.100} is not supported; supported: {', '.join(known)}."
    return ModelError(message, "Run this model with nnU-Net itself, or export its network to ONNX or TorchScript there.")


def _require_sound(architecture: Architecture, fields: Fields, patch: tuple[int, ...]) -> None:
    """Check the numbers before memory is taken for them: a damaged plan must not ask for a network of a terabyte."""
    axes = len(patch)
    stages = fields.whole("n_stages", 2, _MOST_STAGES)
    _spread(fields, "features_per_stage", stages, _MOST_FEATURES)
    blocks = "n_conv_per_stage" if architecture.kind == "PlainConvUNet" else "n_blocks_per_stage"
    _spread(fields, blocks, stages, _MOST_BLOCKS)
    _spread(fields, "n_conv_per_stage_decoder", stages - 1, _MOST_BLOCKS)
    for key, highest in (("kernel_sizes", _LARGEST_KERNEL), ("strides", max(patch))):
        _spread(fields, key, stages, highest, axes)
    if max(architecture.strides[0]) > 1:
        fields.refuse("strides", "a first stage at full resolution, with strides of 1")
    if any(size % divisor for size, divisor in zip(patch, architecture.divisors, strict=True)):
        message = f"{fields.where}: patch_size {list(patch)} is no multiple of {list(architecture.divisors)}, which the strides need."
        raise ModelError(message, COPY_AGAIN)


def _spread(fields: Fields, key: str, stages: int, highest: int, axes: int = 0) -> None:
    """Check an argument that is one value for all stages or one a stage, and write it out as one a stage.

    With `axes`, the value of a stage is itself one number for all axes or one an axis.
    """
    value = fields.values.get(key)
    values = value if isinstance(value, list) else [value] * stages
    if axes:
        values = [entry if isinstance(entry, list) else [entry] * axes for entry in values]
        sound = len(values) == stages and all(is_sizes(entry, (axes,), highest) for entry in values)
    else:
        sound = is_sizes(values, (stages,), highest)
    if not sound:
        each = f" of {axes} numbers" if axes else ""
        fields.refuse(key, f"one entry{each} for each of {stages} stages, whole numbers of 1 to {highest}")
    fields.values[key] = values
