"""How much a prediction may cost: three presets, and each choice in them by itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from AtlasSegmentLib.errors import InputError

Preset = Literal["fast", "balanced", "best"]
Precision = Literal["float32", "float16"]


_SMALLEST_STEP = 0.05


@dataclass(frozen=True)
class InferenceSettings:
    """What decides cost and exactness of a prediction; see PRESETS.

    Attributes:
        preset: Name of the preset that the rest started from.
        step: Distance of sliding windows as a share of the window, 0.05 <= step <= 1; None is the model's own.
        mirror: Average over flips along the axes that the model was trained with (up to eight times the work).
        precision: Of the network on a GPU; a CPU always computes in float32.
        body: Look at the body's box only, unless a region is given.
        skip_air: Do not run the network on windows that hold air alone; they are background.
        folds: Use this many of a model's folds at most; None is all.
    """

    preset: Preset = "balanced"
    step: float | None = None
    mirror: bool = False
    precision: Precision = "float16"
    body: bool = True
    skip_air: bool = True
    folds: int | None = None

    def __post_init__(self) -> None:
        if self.step is not None and not _SMALLEST_STEP <= self.step <= 1:
            message = f"step {self.step} is no share of a window, or so small that it would never end."
            raise InputError(message, f"Give a number from {_SMALLEST_STEP} to 1, such as 0.5.")

    def record(self) -> dict[str, Any]:
        """Return what decides the result, for run.json; the precision is that of a GPU, and the engine says which one was in use."""
        kept = asdict(self)
        return {**kept, "gpu_precision": kept.pop("precision")}


PRESETS: dict[Preset, InferenceSettings] = {
    "fast": InferenceSettings("fast", step=0.75, folds=1),
    "balanced": InferenceSettings("balanced"),
    "best": InferenceSettings("best", mirror=True, precision="float32", body=False, skip_air=False),
}
"""fast: wide steps, one fold. balanced: the model's own steps, all folds. best: exactly what the reference implementation computes."""


def settings_for(preset: str, **changes: Any) -> InferenceSettings:
    """Return a preset with single choices changed; a change that is None is none.

    Raises:
        InputError: There is no such preset, or a step that is none.
    """
    if preset not in PRESETS:
        message = f"{preset!r}: is no preset."
        raise InputError(message, f"Choose one of {', '.join(PRESETS)}.")
    return replace(PRESETS[preset], **{key: value for key, value in changes.items() if value is not None})
