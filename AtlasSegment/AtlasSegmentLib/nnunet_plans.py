"""plans.json of nnU-Net v2, in both dialects: how an image is prepared, cut into patches, and which network sees them.

Axes are nnU-Net's: the order in which SimpleITK gives them (z, y, x), then `transpose_forward`. A source of every rule is
nnU-Net's own documentation of its plans files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from AtlasSegmentLib.errors import ModelError
from AtlasSegmentLib.model_facts import COPY_AGAIN, read_object
from AtlasSegmentLib.nnunet_architecture import Architecture, read_architecture
from AtlasSegmentLib.nnunet_fields import Fields, is_whole

PLANS = "plans.json"
NORMALIZATIONS = ("CTNormalization", "ZScoreNormalization", "NoNormalization", "RescaleTo01Normalization", "RGBTo01Normalization")
_FINEST, _COARSEST = 1e-3, 1e3
NO_RESAMPLING = "no_resampling_hack"
RESAMPLINGS = ("resample_data_or_seg_to_shape", NO_RESAMPLING)
_OPTIONS = ("is_seg", "order", "order_z", "force_separate_z", "separate_z_anisotropy_threshold")
_LARGEST_PATCH = 4096
_HIGHEST_ORDER = 5
_ANISOTROPY = 3.0  # from this ratio of spacings on, the coarse axis is resampled apart from the others
_CHANGE = "Run this model with nnU-Net itself, or train it with nnU-Net's own parts."


@dataclass(frozen=True)
class Resampling:
    """How values are brought to another spacing.

    Attributes:
        function: One of RESAMPLINGS.
        order: Order of the spline, 0..5 (within the slices when the coarse axis is resampled apart).
        order_z: Order along the coarse axis then.
        force_separate_z: Whether the coarse axis is resampled apart; None decides it from the spacings.
        anisotropy: Ratio of spacings above which None means yes.
    """

    function: str = RESAMPLINGS[0]
    order: int = 3
    order_z: int = 0
    force_separate_z: bool | None = False
    anisotropy: float = _ANISOTROPY


@dataclass(frozen=True)
class IntensityStatistics:
    """Statistics of one channel over the labeled voxels of the training images, in the image's unit (HU for CT)."""

    mean: float
    std: float
    percentile_00_5: float
    percentile_99_5: float


@dataclass(frozen=True)
class Configuration:
    """One configuration of a plan with what it inherits; tuples are in transposed axis order.

    Attributes:
        name: Such as "3d_fullres".
        spacing: Target spacing in mm; two values for a 2d configuration (its first axis keeps its own).
        patch: Size of the network's input in voxels, as many values as spacing.
        architecture: The network.
        normalization: Scheme of each channel, of NORMALIZATIONS.
        use_mask: For each channel, whether only voxels that are not zero count for it.
        resampling_data: For images.
        resampling_seg: For label maps (a cascade's first stage).
        resampling_probabilities: For logits on their way back.
        previous_stage: Configuration whose label map is a further input, or None.
    """

    name: str
    spacing: tuple[float, ...]
    patch: tuple[int, ...]
    architecture: Architecture
    normalization: tuple[str, ...]
    use_mask: tuple[bool, ...]
    resampling_data: Resampling
    resampling_seg: Resampling
    resampling_probabilities: Resampling
    previous_stage: str | None = None


@dataclass(frozen=True)
class Plans:
    """What a plans.json says.

    Attributes:
        name: Such as "nnUNetPlans".
        dataset_name: Such as "Dataset106_TotalBone3"; "" when it is not said.
        transpose_forward: For each axis of the network its axis in the image (z, y, x).
        transpose_backward: The inverse.
        intensities: One entry a channel, in order; empty when the plan has none.
        reader: Name of the class that read the training images, such as "SimpleITKIO".
        configurations: Their names.
    """

    name: str
    dataset_name: str
    transpose_forward: tuple[int, int, int]
    transpose_backward: tuple[int, int, int]
    intensities: tuple[IntensityStatistics, ...]
    reader: str
    configurations: tuple[str, ...]
    _raw: Mapping[str, Any] = field(repr=False, compare=False)

    def configuration(self, name: str) -> Configuration:
        """Return a configuration.

        Raises:
            ModelError: It is not there, inherits from itself, or asks for something that cannot be done.
        """
        return _configuration(name, Fields(_inherited(self._raw, name), f"{PLANS}: configuration {name!r}"), self)


def read_plans(folder: Path) -> Plans:
    """Read the plans.json of a model folder.

    Raises:
        ModelError: It is missing, damaged or not of nnU-Net v2; the message names the key and the value.
    """
    return parse_plans(read_object(Path(folder) / PLANS))


def parse_plans(content: Mapping[str, Any]) -> Plans:
    """Return what a parsed plans.json says; see `read_plans`."""
    fields = Fields(content, PLANS)
    if not isinstance(content.get("configurations"), dict) or not content["configurations"]:
        message = f"{PLANS} has no configurations, so it is not of nnU-Net v2 (its keys are {', '.join(sorted(content)[:6]) or 'none'})."
        raise ModelError(message, COPY_AGAIN)
    _require_own_part(fields, "label_manager", "LabelManager")
    forward, backward = _permutation(fields, "transpose_forward"), _permutation(fields, "transpose_backward")
    if any(backward[axis] != place for place, axis in enumerate(forward)):
        fields.refuse("transpose_backward", f"the inverse of transpose_forward {list(forward)}")
    return Plans(
        name=str(content.get("plans_name") or "nnUNetPlans"),
        dataset_name=str(content.get("dataset_name") or ""),
        transpose_forward=forward,
        transpose_backward=backward,
        intensities=_intensities(fields),
        reader=fields.text("image_reader_writer") if "image_reader_writer" in fields else "SimpleITKIO",
        configurations=tuple(content["configurations"]),
        _raw=content["configurations"],
    )


def _permutation(fields: Fields, key: str) -> tuple[int, int, int]:
    value = fields.values.get(key)
    if not isinstance(value, list) or not all(map(is_whole, value)) or sorted(value) != [0, 1, 2]:
        fields.refuse(key, "a permutation of 0, 1, 2")
    return (value[0], value[1], value[2])


def _intensities(fields: Fields) -> tuple[IntensityStatistics, ...]:
    keys = ("foreground_intensity_properties_per_channel", "foreground_intensity_properties_by_modality")
    key = next((key for key in keys if key in fields), None)
    if key is None:
        return ()
    channels = fields.child(key)
    if sorted(channels) != sorted(str(number) for number in range(len(channels.values))):
        fields.refuse(key, 'one entry a channel, named "0", "1", ...')
    return tuple(_statistics(channels.child(str(number))) for number in range(len(channels.values)))


def _statistics(fields: Fields) -> IntensityStatistics:
    found = IntensityStatistics(*(fields.number(key) for key in ("mean", "std", "percentile_00_5", "percentile_99_5")))
    if found.std < 0:
        fields.refuse("std", "a number of 0 or more")
    if found.percentile_00_5 > found.percentile_99_5:
        fields.refuse("percentile_00_5", f"a number not above percentile_99_5, {found.percentile_99_5}")
    return found


def _inherited(configurations: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a configuration's own object merged with what it inherits; the child's keys win."""
    chain: list[dict[str, Any]] = []
    seen: list[str] = []
    wanted: Any = name
    while wanted is not None:
        if not isinstance(wanted, str) or wanted not in configurations:
            asked = (
                f"configuration {seen[-1]!r} inherits from {wanted!r:.60}, which is not there" if seen else f"there is no {wanted!r:.60}"
            )
            message = f"{PLANS}: {asked} {wanted!r:.60}; there are {', '.join(map(repr, configurations))}."
            raise ModelError(message, "Choose one of these configurations." if not seen else COPY_AGAIN)
        if wanted in seen:
            message = f"{PLANS}: configuration {name!r} inherits from itself ({' -> '.join([*seen, wanted])})."
            raise ModelError(message, COPY_AGAIN)
        seen.append(wanted)
        chain.append(Fields(configurations[wanted], f"{PLANS}: configuration {wanted!r}").values)
        wanted = chain[-1].get("inherits_from")
    return {key: value for entry in reversed(chain) for key, value in entry.items()}


def _configuration(name: str, fields: Fields, plans: Plans) -> Configuration:
    _require_own_part(fields, "preprocessor_name", "DefaultPreprocessor")
    patch = fields.sizes("patch_size", (2, 3), _LARGEST_PATCH)
    normalization = fields.texts("normalization_schemes")
    for scheme in normalization:
        _require_known(fields, "normalization_schemes", scheme, NORMALIZATIONS)
    if "CTNormalization" in normalization and len(plans.intensities) < len(normalization):
        message = (
            f"{fields.where}: CTNormalization needs intensities of {len(normalization)} channels, and there are {len(plans.intensities)}."
        )
        raise ModelError(message, COPY_AGAIN)
    previous = fields.text("previous_stage") if "previous_stage" in fields else None
    if previous is not None and previous not in plans.configurations:
        fields.refuse("previous_stage", f"one of {', '.join(plans.configurations)}")
    return Configuration(
        name=name,
        spacing=_spacing(fields, len(patch)),
        patch=patch,
        architecture=read_architecture(fields, patch),
        normalization=normalization,
        use_mask=fields.flags("use_mask_for_norm", len(normalization)),
        resampling_data=_resampling(fields, "data"),
        resampling_seg=_resampling(fields, "seg"),
        resampling_probabilities=_back(fields),
        previous_stage=previous,
    )


def _spacing(fields: Fields, axes: int) -> tuple[float, ...]:
    spacing = fields.lengths("spacing", (axes,))
    if not all(_FINEST <= size <= _COARSEST for size in spacing):
        fields.refuse("spacing", f"millimeters from {_FINEST:g} to {_COARSEST:g}")
    return spacing


def _back(fields: Fields) -> Resampling:
    """Return how probabilities come back to the image, which they only can when what was done to the image is undone."""
    found = _resampling(fields, "probabilities")
    if found.function == NO_RESAMPLING and fields.text("resampling_fn_data") != NO_RESAMPLING:
        fields.refuse("resampling_fn_probabilities", "that of the data, as the image is resampled")
    return found


def _resampling(fields: Fields, what: str) -> Resampling:
    """Return how data, seg or probabilities are resampled; keys that are left out have nnU-Net's own defaults."""
    key = f"resampling_fn_{what}"
    function = fields.text(key)
    _require_known(fields, key, function, RESAMPLINGS)
    if function != RESAMPLINGS[0]:
        return Resampling(function)
    options = fields.child(f"{key}_kwargs")
    for option in options:
        _require_known(options, "the option", option, _OPTIONS)
    if options.values.get("is_seg", False) is not (what == "seg"):
        options.refuse("is_seg", "true for seg, false for data and probabilities")
    orders = {option: options.whole(option, 0, _HIGHEST_ORDER) for option in ("order", "order_z") if option in options}
    separate = options.values.get("force_separate_z", False)
    if separate not in (True, False, None) or is_whole(separate):
        options.refuse("force_separate_z", "true, false or null")
    threshold = options.number("separate_z_anisotropy_threshold") if "separate_z_anisotropy_threshold" in options else _ANISOTROPY
    return Resampling(function, orders.get("order", 3), orders.get("order_z", 0), separate, threshold)


def _require_own_part(fields: Fields, key: str, own: str) -> None:
    """Refuse a plan that names a part of somebody's own making: it may do anything, and is not here."""
    if key in fields:
        _require_known(fields, key, fields.text(key), (own,))


def _require_known(fields: Fields, key: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        message = f"{fields.where}: {key} {value!r:.80} is not supported; supported: {', '.join(known)}."
        raise ModelError(message, _CHANGE)
