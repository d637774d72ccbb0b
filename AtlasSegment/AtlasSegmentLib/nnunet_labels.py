"""dataset.json of nnU-Net v2: which images a network wants and what its output channels mean."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from AtlasSegmentLib.errors import LabelError, ModelError
from AtlasSegmentLib.labels import MAX_VALUE, LabelTable
from AtlasSegmentLib.model_facts import COPY_AGAIN, read_object
from AtlasSegmentLib.nnunet_fields import Fields, is_whole

DATASET = "dataset.json"
_NOT_IN_FILES = re.compile(r'[/\\:"<>|?*]')  # each structure gets a file of its name
_BACKGROUND, _IGNORE = "background", "ignore"
_ENDING = re.compile(r"(\.\w+){1,3}", re.ASCII)


@dataclass(frozen=True)
class Dataset:
    """What a dataset.json says.

    Attributes:
        name: The dataset's name or "".
        channel_names: One entry an input image, in the order of their numbers, such as ("CT",).
        file_ending: Such as ".nii.gz".
        labels: Every name of the file, with background and ignore, and its values: one, or those of a region.
        regions: When output channels may overlap (sigmoid), the values of each channel's region, else None (softmax).
        regions_class_order: The value painted for each region, in the order they are painted: later ones win. () without regions.
        ignore_label: Value that marks what is not annotated; never predicted. None when there is none.
        heads: Number of output channels. Without regions channel 0 is background and channel v is label value v.
        foreground: All values but background and ignore, ascending; a cascade's second stage gets one input channel for each.
        table: Value of the finished label map to name; with regions, the value painted to the region's name.
    """

    name: str
    channel_names: tuple[str, ...]
    file_ending: str
    labels: Mapping[str, tuple[int, ...]]
    regions: tuple[tuple[int, ...], ...] | None
    regions_class_order: tuple[int, ...]
    ignore_label: int | None
    heads: int
    foreground: tuple[int, ...]
    table: LabelTable

    @property
    def has_regions(self) -> bool:
        """Whether output channels are regions that may overlap."""
        return self.regions is not None

    def channels_in(self, *, cascade: bool) -> int:
        """Return the number of the network's input channels: the images, and in a cascade's second stage the first's labels."""
        return len(self.channel_names) + (len(self.foreground) if cascade else 0)


def read_dataset(folder: Path) -> Dataset:
    """Read the dataset.json of a model folder.

    Raises:
        ModelError: It is missing, damaged, of nnU-Net v1, or breaks one of nnU-Net's rules for labels; names the label.
    """
    return parse_dataset(read_object(Path(folder) / DATASET), Path(folder).name)


def parse_dataset(content: Mapping[str, Any], fallback: str = "nnU-Net") -> Dataset:
    """Return what a parsed dataset.json says; see `read_dataset`.

    Args:
        content: The parsed JSON.
        fallback: Name of the label table when the file has no name.
    """
    fields = Fields(content, DATASET)
    labels = _labels(fields)
    ignore = labels[_IGNORE][0] if _IGNORE in labels else None
    regions = {name: values for name, values in labels.items() if name != _IGNORE and set(values) != {0}}
    by_region = any(len(values) > 1 for values in labels.values())
    foreground = tuple(sorted({value for values in regions.values() for value in values} - {0}))
    if not foreground:
        message = f"{DATASET}: labels name no structure beside background."
        raise ModelError(message, COPY_AGAIN)
    _require_highest(ignore, foreground)
    if not by_region:
        _require_consecutive(regions)
    order = _order(fields, len(regions)) if by_region else ()
    name = str(content.get("name") or "")
    painted = order or tuple(values[0] for values in regions.values())
    return Dataset(
        name=name,
        channel_names=_channels(fields),
        file_ending=_ending(fields),
        labels=labels,
        regions=tuple(regions.values()) if by_region else None,
        regions_class_order=order,
        ignore_label=ignore,
        heads=len(regions) if by_region else len(foreground) + 1,
        foreground=foreground,
        table=_table(name or fallback, list(regions), painted),
    )


def _ending(fields: Fields) -> str:
    ending = fields.text("file_ending") if "file_ending" in fields else ".nii.gz"
    if not _ENDING.fullmatch(ending):
        fields.refuse("file_ending", "an ending such as .nii.gz")
    return ending


def _labels(fields: Fields) -> dict[str, tuple[int, ...]]:
    labels = fields.child("labels")
    if labels.values and all(str(key).isdecimal() for key in labels):
        message = f"{DATASET} is of nnU-Net v1 (its labels map values to names); v2 is needed."
        raise ModelError(message, "Train or convert the model with nnU-Net v2.")
    found = {name: _values(labels, name) for name in labels}
    if found.get(_BACKGROUND) != (0,) or isinstance(labels.values[_BACKGROUND], list):
        labels.refuse(_BACKGROUND, "0")
    if isinstance(labels.values.get(_IGNORE), list):
        labels.refuse(_IGNORE, "one whole number")
    return found


def _values(labels: Fields, name: str) -> tuple[int, ...]:
    value = labels.values[name]
    values = value if isinstance(value, list) else [value]
    if not values or not all(is_whole(number) and 0 <= number <= MAX_VALUE for number in values):
        labels.refuse(name, f"a whole number of 0 to {MAX_VALUE} or a list of them")
    if len(set(values)) != len(values):
        labels.refuse(name, "a list that has every value once")
    return tuple(values)


def _require_highest(ignore: int | None, foreground: tuple[int, ...]) -> None:
    if ignore is not None and ignore != foreground[-1] + 1:
        message = f"{DATASET}: labels: ignore is {ignore}, expected the value after the highest, {foreground[-1] + 1}."
        raise ModelError(message, COPY_AGAIN)


def _require_consecutive(labels: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse values that leave a gap or come twice: the network's channels are counted through without them."""
    expected = 1
    for name, values in sorted(labels.items(), key=lambda item: item[1]):
        if values != (expected,):
            message = f"{DATASET}: labels: {name!r} is {values[0]}, expected {expected}: values must be 0, 1, 2, ..., each used once."
            raise ModelError(message, COPY_AGAIN)
        expected += 1


def _order(fields: Fields, regions: int) -> tuple[int, ...]:
    order = fields.values.get("regions_class_order")
    sound = isinstance(order, list) and all(is_whole(value) and 1 <= value <= MAX_VALUE for value in order)
    if not sound or len(order) != regions or len(set(order)) != regions:  # type: ignore[arg-type]
        fields.refuse("regions_class_order", f"{regions} different values above 0, one for each region")
    return tuple(order)  # type: ignore[arg-type]


def _channels(fields: Fields) -> tuple[str, ...]:
    key = "channel_names" if "channel_names" in fields else "modality"
    channels = fields.child(key if key in fields else "channel_names")
    numbers = [str(number) for number in range(len(channels.values))]
    if not numbers or sorted(channels) != sorted(numbers):
        fields.refuse(key, 'one name an image, numbered "0", "1", ...')
    return tuple(channels.text(number) for number in numbers)


def _table(name: str, names: list[str], values: tuple[int, ...]) -> LabelTable:
    try:
        return LabelTable.from_labels(name, {value: _NOT_IN_FILES.sub("_", label) for value, label in zip(values, names, strict=True)})
    except LabelError as error:
        message = f"{DATASET}: {error.message}"
        raise ModelError(message, error.remedy) from error
