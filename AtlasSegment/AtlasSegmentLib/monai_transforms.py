"""The transforms of a MONAI bundle as facts: which grid and intensities its network wants, and how its output becomes masks."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from AtlasSegmentLib.errors import ModelError
from AtlasSegmentLib.monai_config import Component, problem

_MODULE = re.compile(r"(monai\.transforms(\.\w+)*\.)?\w+")
_ENDINGS = ("Dict", "d", "D")
_WITHOUT_EFFECT = frozenset(
    {"LoadImage", "EnsureChannelFirst", "AddChannel", "AsChannelFirst", "ToTensor", "ToDevice", "ToNumpy", "Identity"}
    | {"DeleteItems", "SelectItems", "CopyItems", "SaveImage", "FromMetaTensor", "SimulateDelay", "DataStats"}
)
"""Transforms that change where values are kept, not the values."""
_FLOATS = frozenset({None, "float32", "float64"})
_LINEAR = frozenset({"bilinear", "trilinear", "linear", 1})
_POSITIVE = re.compile(r"\$\s*lambda (\w+)\s*:\s*\1\s*>\s*0(\.0*)?\s*")
_ELSE = "Run this bundle with MONAI itself, or export its network to ONNX or TorchScript with a model.json that says the same."


def canonical(step: Component) -> str:
    """Return the name of a transform without its module and ending; its own text when it is none of MONAI's."""
    if not _MODULE.fullmatch(step.target):
        return step.target
    ending = next((ending for ending in _ENDINGS if step.name.endswith(ending)), "")
    return step.name[: len(step.name) - len(ending)]


def not_supported(step: Component, text: str = "it changes the result and is not supported") -> ModelError:
    """Return the error for a transform."""
    return problem(step, f"{text}.", _ELSE)


def require_defaults(step: Component, **allowed: Any) -> None:
    """Check that arguments which would change the result are absent or have the value that is supported."""
    for name, value in allowed.items():
        given = step.argument(name, value)
        if given not in (value, [value]):
            raise not_supported(step, f"{name} = {given!r:.60} is not supported, only {value!r}")


def first(value: Any) -> Any:
    """Return the value for the image where a list has one for each key."""
    return value[0] if isinstance(value, list | tuple) and value else value


def number(step: Component, name: str, default: float | None = None) -> float:
    """Return an argument that must be a number. Raises ModelError."""
    value = step.argument(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise not_supported(step, f"{name} = {value!r:.60} is no number")
    return float(value)


@dataclass
class Preprocessing:
    """What the transforms before the network say, as entries of `ModelInput`."""

    orientation: str = ""
    spacing: list[float] | None = None
    is_spaced: bool = False
    before: list[dict[str, Any]] = field(default_factory=list)
    after: list[dict[str, Any]] = field(default_factory=list)
    crop_foreground: bool = False

    def entries(self) -> dict[str, Any]:
        """Return the entries of `ModelInput`."""
        rules = self.after if self.is_spaced else [*self.before, *self.after]
        return {
            "grid": "centers",
            "orientation": self.orientation,
            "spacing": self.spacing,
            "source_intensity": self.before if self.is_spaced else [],
            "intensity": rules[0] if rules else {"type": "none"},
            "intensity_after": rules[1:],
            "crop_foreground": self.crop_foreground,
        }

    def orient(self, step: Component) -> None:
        """Orientation."""
        if self.is_spaced:
            raise not_supported(step, "after Spacing it is not supported")
        require_defaults(step, labels=None)
        closest = step.argument("as_closest_canonical", False)
        axcodes = "RAS" if closest else step.argument("axcodes")
        if not isinstance(axcodes, str):
            raise not_supported(step, f"axcodes = {axcodes!r:.60} is not supported")
        self.orientation = axcodes

    def space(self, step: Component) -> None:
        """Spacing."""
        if self.is_spaced or self.crop_foreground:
            raise not_supported(step, "a second one, or one after CropForeground, is not supported")
        require_defaults(step, diagonal=False, align_corners=False, scale_extent=False, recompute_affine=False)
        require_defaults(step, min_pixdim=None, max_pixdim=None, padding_mode="border")
        mode = first(step.argument("mode", "bilinear"))
        if mode not in _LINEAR:
            raise not_supported(step, f"mode = {mode!r:.60} is not supported, only 'bilinear'")
        pixdim = step.argument("pixdim")
        sizes = [pixdim] * 3 if isinstance(pixdim, int | float) else pixdim
        if not isinstance(sizes, list | tuple) or not all(isinstance(size, int | float) for size in sizes) or len(sizes) < 1:
            raise not_supported(step, f"pixdim = {pixdim!r:.60} is not supported")
        full = [float(size) for size in (*sizes, sizes[-1], sizes[-1])][:3]
        if not all(map(math.isfinite, full)) or min(full) <= 0 < max(full):
            raise not_supported(step, f"pixdim = {pixdim!r:.60} keeps the spacing of some axes, which is not supported")
        self.is_spaced, self.spacing = True, full if min(full) > 0 else None

    def rule(self, step: Component, rule: dict[str, Any]) -> None:
        """One of the intensity transforms."""
        if self.crop_foreground:
            raise not_supported(step, "after CropForeground it is not supported")
        (self.after if self.is_spaced else self.before).append(rule)

    def crop(self, step: Component) -> None:
        """CropForeground."""
        require_defaults(step, margin=0, k_divisible=1, channel_indices=None)
        function = step.arguments.get("select_fn")
        if function is not None and not (isinstance(function, str) and _POSITIVE.fullmatch(function)):
            raise not_supported(step, f"select_fn = {function!r:.80} is not supported, only '$lambda x: x > 0'")
        self.crop_foreground = True


def _range(step: Component) -> dict[str, Any]:
    low, high = step.argument("b_min"), step.argument("b_max")
    clip = bool(step.argument("clip", False))
    if clip and (low is None or high is None):
        raise not_supported(step, "clip without b_min and b_max is not supported")
    target = (
        {"b_min": 0.0, "b_max": 1.0} if low is None or high is None else {"b_min": number(step, "b_min"), "b_max": number(step, "b_max")}
    )
    return {"type": "clip_scale" if clip else "scale", "a_min": number(step, "a_min"), "a_max": number(step, "a_max"), **target}


def _min_max(step: Component) -> dict[str, Any]:
    require_defaults(step, factor=None)
    return {"type": "min_max", "b_min": number(step, "minv", 0.0), "b_max": number(step, "maxv", 1.0)}


def _z_score(step: Component) -> dict[str, Any]:
    nonzero = bool(step.argument("nonzero", False))
    mean, std = first(step.argument("subtrahend")), first(step.argument("divisor"))
    if mean is None and std is None:
        return {"type": "z_score", "nonzero": nonzero}
    if not all(isinstance(value, int | float) for value in (mean, std)) or std <= 0:
        raise not_supported(step, f"subtrahend {mean!r:.40} with divisor {std!r:.40} is not supported")
    return {"type": "normalize", "mean": float(mean), "std": float(std), "nonzero": nonzero}


_RULES: dict[str, Callable[[Component], dict[str, Any]]] = {
    "ScaleIntensityRange": _range,
    "ScaleIntensity": _min_max,
    "NormalizeIntensity": _z_score,
}


def read_preprocessing(steps: Iterable[Component]) -> Preprocessing:
    """Return what the transforms before a network say.

    Raises:
        ModelError: One changes the result in a way that is not supported; the message names it.
    """
    found = Preprocessing()
    for step in steps:
        name = canonical(step)
        if name == "Orientation":
            found.orient(step)
        elif name == "Spacing":
            found.space(step)
        elif name == "CropForeground":
            found.crop(step)
        elif name in _RULES:
            found.rule(step, _RULES[name](step))
        else:
            _require_harmless(step, name)
    return found


def _require_harmless(step: Component, name: str) -> None:
    if name in {"EnsureType", "CastToType"}:
        kind = first(step.argument("dtype"))
        if kind not in _FLOATS:
            raise not_supported(step, f"dtype = {kind!r:.40} changes the values")
    elif name not in _WITHOUT_EFFECT:
        raise not_supported(step)


@dataclass
class _After:
    activation: str = ""
    inverted: str = ""  # what was inverted: logits, probabilities or labels
    is_nearest: bool = True
    decided: str = ""  # argmax or threshold
    threshold: float = 0.5


def read_postprocessing(steps: Iterable[Component]) -> dict[str, Any]:
    """Return what the transforms after a network say, as entries of `ModelOutput`.

    Raises:
        ModelError: One changes the result in a way that is not supported; the message names it.
    """
    found = _After()
    for step in steps:
        name = canonical(step)
        if name == "Activations":
            _activate(found, step)
        elif name == "Invert":
            _invert(found, step)
        elif name == "AsDiscrete":
            _decide(found, step)
        else:
            _require_harmless(step, name)
    activation = found.activation or "softmax"
    decide = found.inverted if found.inverted and not found.is_nearest else "labels"
    return {"activation": activation, "threshold": found.threshold, "decide": decide}


def _activate(found: _After, step: Component) -> None:
    softmax, sigmoid = (first(step.argument(name, False)) for name in ("softmax", "sigmoid"))
    if step.argument("other") is not None or bool(softmax) == bool(sigmoid) or found.activation or found.decided:
        raise not_supported(step, "only softmax or sigmoid, once and before AsDiscrete, is supported")
    found.activation = "softmax" if softmax else "sigmoid"


def _invert(found: _After, step: Component) -> None:
    if found.inverted:
        raise not_supported(step, "a second one is not supported")
    found.is_nearest = bool(first(step.argument("nearest_interp", True)))
    if found.decided and not found.is_nearest:
        raise not_supported(step, "labels cannot be interpolated: nearest_interp = false after AsDiscrete is not supported")
    if step.arguments.get("post_func") is not None:
        raise not_supported(step, "post_func is not supported")
    found.inverted = "labels" if found.decided else "probabilities" if found.activation else "logits"


def _decide(found: _After, step: Component) -> None:
    if first(step.argument("rounding")) is not None:
        raise not_supported(step, "rounding is not supported")
    argmax, threshold = first(step.argument("argmax", False)), first(step.argument("threshold"))
    if argmax:
        if found.activation == "sigmoid" or threshold is not None:
            raise not_supported(step, "argmax of sigmoids, or with a threshold, is not supported")
        found.decided = "argmax"
    elif threshold is not None and not isinstance(threshold, bool):
        if found.activation != "sigmoid":
            raise not_supported(step, "a threshold without Activations(sigmoid) before it is not supported")
        found.threshold, found.decided = number(step, "threshold"), "threshold"
