"""The Model protocol and the reader of model folders: one shape for every kind of network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from AtlasSegmentLib.devices import Device
from AtlasSegmentLib.errors import ModelError
from AtlasSegmentLib.inference_settings import InferenceSettings
from AtlasSegmentLib.network import Network
from AtlasSegmentLib.prediction import ModelSpec, Prediction, Region
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.volume import Volume

if TYPE_CHECKING:
    from AtlasSegmentLib.markups import Roi


class Model(Protocol):
    """A network, or several folds of one, with what is known about it."""

    @property
    def spec(self) -> ModelSpec:
        """What it wants and gives."""

    @property
    def engine(self) -> str:
        """The engine and device really in use, such as "onnxruntime 1.22 CPUExecutionProvider"."""

    @property
    def device(self) -> Literal["gpu", "cpu"]:
        """Where it really runs."""

    @property
    def networks(self) -> tuple[Network, ...]:
        """The networks that `segment` runs: each fold's, and those of the stages before."""

    def require_region(self, ct: Volume, roi: Roi | Region | None) -> None:
        """Check, before anything is computed, that the region is one that it can look at. Raises InputError."""

    def segment(
        self, ct: Volume, roi: Roi | Region | None, settings: InferenceSettings, progress: ProgressCallback = ignore_progress
    ) -> Prediction:
        """Run it over a CT.

        Args:
            ct: HU, any orientation and spacing.
            roi: The region to look at, "whole" for the whole image, or None for what model and settings prefer.
            settings: What it may cost.
            progress: Told the finished share and the stage.

        Raises:
            InputError: The model needs a region and none was given, or it lies outside the CT.
            ModelError: The network fails, or gives values that are not finite.
        """


def load_model(folder: Path, threads: int = 0, device: Device = "auto") -> Model:
    """Load the model in a folder and verify its checksum.

    Args:
        folder: A model folder of any kind that `model_kinds.kind_of` knows.
        threads: CPU threads for one prediction; 0 lets the engine choose.
        device: Where it shall run; "auto" takes the GPU when it works.

    Raises:
        ModelError: The folder is no model, a file is missing or damaged, the engine is not installed, or the GPU is insisted on
            and cannot be used.
    """
    from AtlasSegmentLib.model_kinds import kind_of
    from AtlasSegmentLib.model_kinds_atlas import FILE

    folder = Path(folder)
    kind = kind_of(folder)
    if kind in {"nnunet", "autoorgan"}:
        from AtlasSegmentLib.nnunet_load import load_nnunet

        return load_nnunet(folder, threads, device)
    if kind == "monai":
        from AtlasSegmentLib.monai_bundle import load_bundle

        return load_bundle(folder, threads, device)
    if kind == "unknown" and folder.is_dir() and any(folder.iterdir()):
        from AtlasSegmentLib.model_kinds_unknown import unrecognized

        message = f"{folder}: {unrecognized(folder).message}"
        raise ModelError(
            message, f"Give a folder that holds {FILE} and the network's file beside it, or a model folder of another known kind."
        )
    from AtlasSegmentLib.window_model import load_atlas_model

    return load_atlas_model(folder, threads, device)
