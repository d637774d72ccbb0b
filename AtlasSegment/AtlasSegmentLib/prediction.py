"""What a model says about a CT, whatever kind of model it is."""

from __future__ import annotations

from typing import Any, Literal, Protocol

from AtlasSegmentLib.labels import LabelTable
from AtlasSegmentLib.sparse import SparseVolume
from AtlasSegmentLib.volume import Grid

Region = Literal["whole"]
"""A region by name: the whole image."""


class ModelSpec(Protocol):
    """What is known about a model of any kind.

    Attributes:
        name: Its name in a case folder, safe as a folder name.
        title: One line about it, or "".
        version: As it says, or "".
        license: As it says, or "".
        citation: As it says, or "".
        sha256: Of its weights; of several files together where it has several.
    """

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def license(self) -> str: ...
    @property
    def citation(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def table(self) -> LabelTable:
        """Label value to structure name, without background."""

    @property
    def needs_roi(self) -> bool:
        """Whether a region of interest must be given."""

    def record(self) -> dict[str, Any]:
        """Return what decides its result, for run.json: input, output, labels."""


class Prediction(Protocol):
    """Masks and probabilities of one model on one CT, made class by class when they are asked for."""

    @property
    def spec(self) -> ModelSpec:
        """The model's."""

    @property
    def grid(self) -> Grid:
        """The model's own grid over the region that it saw."""

    def masks(self, ct: Grid) -> dict[int, SparseVolume]:
        """Return the mask of each label value on the CT's grid, bool, untouched by post-processing."""

    def probability(self, ct: Grid, value: int) -> SparseVolume:
        """Return the probability of a label value on the CT's grid, float32, 0..1."""
