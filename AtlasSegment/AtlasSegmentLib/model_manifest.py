"""model.json: what a model wants, what it gives, and where it comes from (format "atlas-model/1")."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from AtlasSegmentLib import geometry
from AtlasSegmentLib.case_folder import LabelFolder
from AtlasSegmentLib.errors import AtlasError, ModelError
from AtlasSegmentLib.files import read_json
from AtlasSegmentLib.labels import LabelTable
from AtlasSegmentLib.names import safe_name

FORMAT = "atlas-model/1"
FILE = "model.json"

PositiveTriple = tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]
SizeTriple = tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]]


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)


class Intensity(_Part):
    """How HU become network input.

    "none"; "clip_scale" clip to [a_min, a_max], then -> [b_min, b_max]; "scale" the same without clipping; "clip_normalize" clip,
    -mean, /std; "normalize" the same without clipping; "z_score" -mean, /std of the image itself; "min_max" the image's own range
    -> [b_min, b_max]. With `nonzero`, "normalize" and "z_score" look at and change only what is not 0.
    """

    type: Literal["none", "clip_scale", "scale", "clip_normalize", "normalize", "z_score", "min_max"] = "none"
    a_min: float = -175.0
    a_max: float = 250.0
    b_min: float = 0.0
    b_max: float = 1.0
    mean: float = 0.0
    std: float = Field(default=1.0, gt=0)
    nonzero: bool = False

    @property
    def needs_all(self) -> bool:
        """Whether it depends on the whole image, not on each voxel alone."""
        return self.type in {"z_score", "min_max"}

    @model_validator(mode="after")
    def _window_has_width(self) -> Intensity:
        if self.a_max <= self.a_min:
            message = f"intensity a_max {self.a_max} must be above a_min {self.a_min}"
            raise ValueError(message)
        return self


class ModelInput(_Part):
    """What the network is shown: either `fit_shape` (the region resampled as a whole) or `spacing` and `patch` (windows).

    Attributes:
        modality: Such as "CT".
        orientation: Order of the axes, such as "RAS"; "" keeps the CT's own (only with `grid` "centers").
        fit_shape: Voxels of the whole region.
        spacing: Voxel size in mm. With `grid` "centers" it may be left out: the CT's own is kept.
        patch: Voxels of a window. With `grid` "centers" it may be left out: the whole region is shown at once.
        overlap: Share of a window that the next one covers again.
        grid: Where voxels lie. "faces": the outer faces of the grid are those of the region. "centers": the first voxel's center is
            that of the CT, as MONAI's Spacing does it.
        weights: Of the voxels of a window: "gaussian" (sigma 1/8 of the window, largest 1, at least 1/1000), "gaussian_unscaled"
            (the same as MONAI writes it down: the largest is below 1 for windows of even size), "constant".
        padding: What surrounds a region smaller than a window: its "minimum", a "constant" (`padding_value`), "edge" or "reflect".
        padding_value: See `padding`; of the network's input.
        requires_roi: Whether a region must be given; None: only with `fit_shape`.
        interpolation: Of the CT.
        source_intensity: Rules that change the CT before it is resampled, in order.
        intensity: The first rule after that.
        intensity_after: More rules, in order.
        crop_foreground: Look only at the box of what is above 0 after all rules; background outside of it.
        mirror_axes: Axes (0, 1, 2 of `orientation`) along which the network was trained to see flipped images too.
    """

    modality: str = "CT"
    orientation: str = "RAS"
    fit_shape: SizeTriple | None = None
    spacing: PositiveTriple | None = None
    patch: SizeTriple | None = None
    overlap: float = Field(default=0.5, ge=0, lt=1)
    grid: Literal["faces", "centers"] = "faces"
    weights: Literal["gaussian", "gaussian_unscaled", "constant"] = "gaussian"
    padding: Literal["minimum", "constant", "edge", "reflect"] = "minimum"
    padding_value: float = 0.0
    requires_roi: bool | None = None
    interpolation: Literal["linear"] = "linear"
    source_intensity: tuple[Intensity, ...] = ()
    intensity: Intensity = Intensity()
    intensity_after: tuple[Intensity, ...] = ()
    crop_foreground: bool = False
    mirror_axes: tuple[Literal[0, 1, 2], ...] = ()

    @property
    def rules(self) -> tuple[Intensity, ...]:
        """The intensity rules on the network's grid, in order."""
        return (self.intensity, *self.intensity_after)

    @field_validator("orientation")
    @classmethod
    def _orientation_exists(cls, value: str) -> str:
        try:
            geometry.parse_orientation(value or "RAS")
        except AtlasError as error:
            raise ValueError(str(error)) from error
        return value.upper()

    @model_validator(mode="after")
    def _one_way_to_see(self) -> ModelInput:
        given = [self.fit_shape is not None, self.spacing is not None, self.patch is not None]
        if self.grid == "centers" and not given[0]:
            return self
        if self.grid == "centers" or not self.orientation or given not in ([True, False, False], [False, True, True]):
            message = "input needs either fit_shape, or spacing together with patch; and an orientation"
            raise ValueError(message)
        return self


class ModelOutput(_Part):
    """How logits become masks on the CT.

    Attributes:
        activation: softmax over all channels, or one sigmoid a channel.
        background: Whether channel 0 is background, so that label value v is channel v; otherwise v is channel v - 1. None: as usual,
            true for softmax and false for sigmoid.
        threshold: Probability above which a sigmoid's voxel belongs to its structure.
        decide: What goes from the network's grid to the CT's: interpolated "probabilities" or "logits" that are decided on there, or
            "labels" that are decided on before and taken from the nearest voxel.
    """

    activation: Literal["softmax", "sigmoid"] = "softmax"
    background: bool | None = None
    threshold: float = Field(default=0.5, gt=0, lt=1)
    decide: Literal["probabilities", "logits", "labels"] = "probabilities"

    @property
    def has_background(self) -> bool:
        """Whether channel 0 is background."""
        return self.activation == "softmax" if self.background is None else self.background

    @model_validator(mode="after")
    def _softmax_has_background(self) -> ModelOutput:
        if self.activation == "softmax" and self.background is False:
            message = "channel 0 of a softmax must be background"
            raise ValueError(message)
        return self


class ModelManifest(_Part):
    """The content of model.json; unknown keys are kept.

    Engine "torch" is a checkpoint, `file`, of the network that `architecture` names; `text_encoding` is a file beside it that a
    universal model needs.
    """

    format: Literal["atlas-model/1"]
    name: str
    title: str = ""
    version: str = ""
    license: str = ""
    citation: str = ""
    engine: Literal["onnx", "torchscript", "torch"]
    architecture: str = ""
    text_encoding: str = ""
    file: str
    sha256: str = Field(pattern=r"^[0-9a-fA-F]{64}$")
    input: ModelInput
    output: ModelOutput = ModelOutput()
    labels: dict[int, str]

    @field_validator("labels")
    @classmethod
    def _has_a_structure(cls, value: dict[int, str]) -> dict[int, str]:
        if not any(value):
            message = "labels name no structure beside background (0)"
            raise ValueError(message)
        return value

    @field_validator("name", "file", "text_encoding")
    @classmethod
    def _stays_in_its_folder(cls, value: str, field: ValidationInfo) -> str:
        if field.field_name == "text_encoding" and not value:
            return value
        try:
            return safe_name(value, "name")
        except AtlasError as error:
            raise ValueError(str(error)) from error

    @cached_property
    def table(self) -> LabelTable:
        """Channel or label value to structure name, without background."""
        return LabelTable.from_labels(self.name, self.labels)

    def record(self) -> dict[str, Any]:
        """Return what decides the result."""
        return self.model_dump(mode="json", include={"input", "output", "labels"})

    @property
    def needs_roi(self) -> bool:
        """Whether a region of interest must be given: said by the model, else true for fit-to-shape models."""
        return self.input.fit_shape is not None if self.input.requires_roi is None else self.input.requires_roi

    @property
    def channels(self) -> int:
        """Number of output channels of the network."""
        return max(self.table.labels) + (1 if self.output.has_background else 0)

    def channel_of(self, value: int) -> int:
        """Return the channel that predicts a label value; see `ModelOutput.background`."""
        return value if self.output.has_background else value - 1


def read_manifest(folder: Path) -> ModelManifest:
    """Read and check the model.json of a model folder.

    Raises:
        ModelError: It is missing or does not describe a model; the message names the field.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        message = f"{folder}: is not an atlas model folder ({FILE} is missing)."
        raise ModelError(message, f"Give a folder that holds {FILE} and the network's file beside it.")
    try:
        content: Any = read_json(path)
    except AtlasError as error:
        raise ModelError(error.message, error.remedy) from error
    return manifest_of(content, path)


def manifest_of(content: Any, path: Path, remedy: str = "Mend model.json as the README's model section describes.") -> ModelManifest:
    """Check what is said about a model.

    Args:
        content: As in model.json.
        path: The file that it is from, for messages.
        remedy: The next step where it is wrong.

    Raises:
        ModelError: It does not describe a model; the message names the field.
    """
    try:
        manifest = ModelManifest.model_validate(content)
        for name in manifest.table.names():
            LabelFolder(path.parent).mask(name)  # a name that can be no file is found here, before anything is written
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "model"
        message = f"{path}: field {field}: {first['msg']} (got {first['input']!r:.80})."
        raise ModelError(message, remedy) from error
    except AtlasError as error:
        message = error.message if str(path) in error.message else f"{path}: field labels: {error.message}"
        raise ModelError(message, error.remedy) from error
    return manifest
