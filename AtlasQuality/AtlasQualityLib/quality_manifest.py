"""quality.json: what a label-quality model is made of (format "atlas-quality/1")."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from AtlasQualityLib.quality_estimate import SLICES, Estimate
from AtlasQualityLib.quality_network import Backbone
from AtlasQualityLib.quality_slices import Kind, SliceRule
from AtlasSegmentLib.errors import AtlasError, ModelError
from AtlasSegmentLib.files import read_json, write_json
from AtlasSegmentLib.names import safe_name

FILE = "quality.json"
ONNX, SAFETENSORS, EMBEDDINGS = "model.onnx", "model.safetensors", "embeddings.npz"
_TIES = 0.002
"""By how much a calibrated Dice tells scores apart that the calibration alone would not."""
_Share = Annotated[float, Field(ge=0, le=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)


class Curve(_Part):
    """Calibration: which true Dice the scores of masks stood for on data that the network was not trained on.

    It never falls, and where its points are level or end, it rises by 0.002 in all, so that masks of different scores keep their
    order: a predicted Dice is off by so much at most through this.

    Attributes:
        predicted: Scores, ascending.
        dice: The mean true Dice at each, 0..1, never falling.
        source: What it was fitted on, for people.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)  # another name for a field would be no calibration at all

    predicted: tuple[float, ...] = (0.0, 1.0)
    dice: tuple[_Share, ...] = (0.0, 1.0)
    source: str = ""

    @model_validator(mode="after")
    def _is_a_curve(self) -> Curve:
        if len(self.predicted) != len(self.dice) or len(self.dice) < 2:
            message = f"a curve needs two points or more and as many of each, there are {len(self.predicted)} and {len(self.dice)}"
            raise ValueError(message)
        if (np.diff(self.predicted) <= 0).any() or (np.diff(self.dice) < 0).any():
            message = "the scores of a curve must rise, and its Dice must not fall"
            raise ValueError(message)
        return self

    def __call__(self, score: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the Dice for scores, 0..1: linear between the points, and beyond them on towards 0 and 1, by 0.002 at most.

        Larger scores give larger values, except beyond an end whose Dice is 0 or 1.
        """
        value, (first, last) = np.asarray(score, np.float64), (self.predicted[0], self.predicted[-1])
        levels = self._rising()
        result = np.interp(value, self.predicted, levels)
        above, below = np.maximum(value - last, 0), np.maximum(first - value, 0)
        return np.asarray(
            result + min(_TIES, 1 - levels[-1]) * above / (1 + above) - min(_TIES, levels[0]) * below / (1 + below), np.float64
        )

    def _rising(self) -> npt.NDArray[np.float64]:
        """Return the Dice of the points, with a slope where they are level, and room for scores beyond the ends where these may come."""
        levels, at = np.asarray(self.dice, np.float64), np.asarray(self.predicted, np.float64)
        if (np.diff(levels) <= 0).any():
            levels = (1 - _TIES) * levels + _TIES * (at - at[0]) / (at[-1] - at[0])
        low, high = (_TIES if levels[0] < _TIES and at[0] > 0 else 0.0), (_TIES if levels[-1] > 1 - _TIES and at[-1] < 1 else 0.0)
        return np.asarray(low + (1 - low - high) * levels, np.float64)


class Slices(_Part):
    """How slices become the network's input; see `quality_slices.SliceRule`."""

    kind: Kind = "isotropic"
    size: int = 256
    margin: float = 20.0

    @property
    def rule(self) -> SliceRule:
        """The rule."""
        return SliceRule(self.kind, self.size, self.margin)


class TrainingCt(_Part):
    """A CT that a model was trained on or validated with; see `quality_training_cts`.

    Attributes:
        name: The case it was called by then.
        part: What it was used for.
        voxels_sha256: What tells it from others.
    """

    name: str
    part: Literal["train", "val"]
    voxels_sha256: str


class QualityManifest(_Part):
    """What quality.json says.

    Attributes:
        name: Short name, a file name.
        backbone, width, outline: See `quality_network.build_network`.
        slices: What it is shown.
        estimate: How the scores of slices become one of a mask; see `quality_estimate`.
        count: Slices with mask that are looked at.
        embedding: "text" is the built-in one, "file" embeddings.npz beside it.
        calibration: From the score of a mask to its Dice.
        sha256: Of the files with the weights that this one was written with, where that is known: another network is refused; and under
            "settings" of what they were trained for; see `quality_settings`.
        training_cts: The CTs of which its predictions are too good; none where that is not known.
        card: What people should know: data, recipe, how good it is.
    """

    format: Literal["atlas-quality/1"] = "atlas-quality/1"
    name: str
    backbone: Backbone
    width: int = Field(default=64, ge=1, le=512)
    outline: bool = False
    slices: Slices = Slices()
    estimate: Estimate = "volume"
    count: int = Field(default=SLICES, ge=1, le=1000)
    embedding: Literal["text", "file"] = "text"
    calibration: Curve = Curve()
    sha256: dict[str, str] = {}
    training_cts: tuple[TrainingCt, ...] = ()
    card: dict[str, Any] = {}

    @field_validator("name")
    @classmethod
    def _is_a_file_name(cls, value: str) -> str:
        try:
            return safe_name(value, "name of a quality model")
        except AtlasError as error:
            raise ValueError(str(error)) from error

    @field_validator("slices")
    @classmethod
    def _is_a_rule(cls, value: Slices) -> Slices:
        try:
            _ = value.rule
        except AtlasError as error:
            raise ValueError(error.message) from error
        return value


def read_manifest(folder: Path) -> QualityManifest:
    """Read quality.json of a model folder. Raises ModelError when it is not there or not one."""
    path = folder / FILE
    try:
        return QualityManifest.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        message = f"{path}: {where or 'the file'}: {first['msg']}."
        raise ModelError(message, "Correct the file, or copy the model again.") from error
    except AtlasError as error:
        raise ModelError(error.message, error.remedy) from error


def write_manifest(folder: Path, manifest: QualityManifest) -> None:
    """Write quality.json."""
    write_json(folder / FILE, manifest.model_dump(mode="json"))
