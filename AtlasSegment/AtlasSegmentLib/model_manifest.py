"""model.json: what a model wants, what it gives, and where it comes from (format "atlas-model/1")."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

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
    """How HU become network input: "none"; "clip_scale" [a_min, a_max] -> [b_min, b_max]; "clip_normalize" clip, -mean, /std."""

    type: Literal["none", "clip_scale", "clip_normalize"] = "none"
    a_min: float = -175.0
    a_max: float = 250.0
    b_min: float = 0.0
    b_max: float = 1.0
    mean: float = 0.0
    std: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _window_has_width(self) -> Intensity:
        if self.a_max <= self.a_min:
            message = f"intensity a_max {self.a_max} must be above a_min {self.a_min}"
            raise ValueError(message)
        return self


class ModelInput(_Part):
    """What the network is shown: either `fit_shape` (the region resampled as a whole) or `spacing` and `patch` (windows)."""

    modality: str = "CT"
    orientation: str = "RAS"
    fit_shape: SizeTriple | None = None
    spacing: PositiveTriple | None = None
    patch: SizeTriple | None = None
    overlap: float = Field(default=0.5, ge=0, lt=1)
    requires_roi: bool | None = None
    interpolation: Literal["linear"] = "linear"
    intensity: Intensity = Intensity()

    @field_validator("orientation")
    @classmethod
    def _orientation_exists(cls, value: str) -> str:
        try:
            geometry.parse_orientation(value)
        except AtlasError as error:
            raise ValueError(str(error)) from error
        return value.upper()

    @model_validator(mode="after")
    def _one_way_to_see(self) -> ModelInput:
        given = [self.fit_shape is not None, self.spacing is not None, self.patch is not None]
        if given not in ([True, False, False], [False, True, True]):
            message = "input needs either fit_shape, or spacing together with patch"
            raise ValueError(message)
        return self


class ModelOutput(_Part):
    """How logits become probabilities: softmax over all channels, or one sigmoid a channel (then channel 0 is a structure)."""

    activation: Literal["softmax", "sigmoid"] = "softmax"


class ModelManifest(_Part):
    """The content of model.json; unknown keys are kept."""

    format: Literal["atlas-model/1"]
    name: str
    title: str = ""
    version: str = ""
    license: str = ""
    citation: str = ""
    engine: Literal["onnx"]
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

    @field_validator("name", "file")
    @classmethod
    def _stays_in_its_folder(cls, value: str) -> str:
        try:
            return safe_name(value, "name")
        except AtlasError as error:
            raise ValueError(str(error)) from error

    @cached_property
    def table(self) -> LabelTable:
        """Channel or label value to structure name, without background."""
        return LabelTable.from_labels(self.name, self.labels)

    @property
    def needs_roi(self) -> bool:
        """Whether a region of interest must be given: said by the model, else true for fit-to-shape models."""
        return self.input.fit_shape is not None if self.input.requires_roi is None else self.input.requires_roi

    @property
    def channels(self) -> int:
        """Number of output channels of the network; label value v of a softmax model is channel v, of a sigmoid model v - 1."""
        return max(self.table.labels) + (1 if self.output.activation == "softmax" else 0)

    def channel_of(self, value: int) -> int:
        """Return the channel that predicts a label value."""
        return value if self.output.activation == "softmax" else value - 1


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
        manifest = ModelManifest.model_validate(content)
        for name in manifest.table.names():
            LabelFolder(folder).mask(name)  # a name that can be no file is found here, before anything is written
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "model"
        message = f"{path}: field {field}: {first['msg']} (got {first['input']!r:.80})."
        raise ModelError(message, "Mend model.json as the README's model section describes.") from error
    except AtlasError as error:
        message = error.message if str(path) in error.message else f"{path}: field labels: {error.message}"
        raise ModelError(message, error.remedy) from error
    return manifest
