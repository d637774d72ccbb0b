"""HU to network input."""

from __future__ import annotations

import numpy as np

from AtlasSegmentLib.model import Float32
from AtlasSegmentLib.model_manifest import Intensity


def normalized(hu: Float32, rule: Intensity) -> Float32:
    """Return network input for HU, (X, Y, Z) float32, as the model's intensity rule says.

    "clip_scale" is AbdomenAtlas' [-175, 250] -> [0, 1] with its default numbers; "clip_normalize" is nnU-Net's CT rule.
    """
    if rule.type == "none":
        return hu
    clipped = np.clip(hu, np.float32(rule.a_min), np.float32(rule.a_max))
    if rule.type == "clip_normalize":
        return (clipped - np.float32(rule.mean)) / np.float32(rule.std)
    share = (clipped - np.float32(rule.a_min)) / np.float32(rule.a_max - rule.a_min)
    return share * np.float32(rule.b_max - rule.b_min) + np.float32(rule.b_min)
