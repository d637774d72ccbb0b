"""HU to network input."""

from __future__ import annotations

import numpy as np

from AtlasSegmentLib.model_manifest import Intensity
from AtlasSegmentLib.network import Float32


def normalized(hu: Float32, rule: Intensity) -> Float32:
    """Return network input for HU, (X, Y, Z) float32, as one of the model's intensity rules says; see `Intensity`.

    "clip_scale" is AbdomenAtlas' [-175, 250] -> [0, 1] with its default numbers; "clip_normalize" is nnU-Net's CT rule; "z_score" and
    "min_max" are MONAI's NormalizeIntensity and ScaleIntensity, which look at all of `hu`.
    """
    if rule.type == "none":
        return hu
    if rule.type in {"normalize", "z_score"}:
        return _standardized(hu, rule)
    if rule.type == "min_max":
        low, high = hu.min(), hu.max()
        if low == high:
            return hu * np.float32(rule.b_min)
        return _scaled(hu, float(low), float(high), rule)
    clipped = hu if rule.type == "scale" else np.clip(hu, np.float32(rule.a_min), np.float32(rule.a_max))
    if rule.type == "clip_normalize":
        return (clipped - np.float32(rule.mean)) / np.float32(rule.std)
    return _scaled(clipped, rule.a_min, rule.a_max, rule)


def _scaled(values: Float32, low: float, high: float, rule: Intensity) -> Float32:
    share = (values - np.float32(low)) / np.float32(high - low)
    return share * np.float32(rule.b_max - rule.b_min) + np.float32(rule.b_min)


def _standardized(hu: Float32, rule: Intensity) -> Float32:
    seen = hu != 0 if rule.nonzero else np.ones_like(hu, bool)
    if not seen.any():
        return hu
    mean, std = rule.mean, rule.std
    if rule.type == "z_score":
        mean, std = float(hu.mean(where=seen, dtype=np.float64)), float(hu.std(where=seen, dtype=np.float64)) or 1.0
    return np.where(seen, (hu - np.float32(mean)) / np.float32(std), hu).astype(np.float32, copy=False)
