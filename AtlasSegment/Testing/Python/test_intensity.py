"""HU become network input by the rule that model.json names."""

from __future__ import annotations

import numpy as np

from AtlasSegmentLib.intensity import normalized
from AtlasSegmentLib.model_manifest import Intensity

HU = np.array([-2000, -175, 37.5, 250, 3000], np.float32).reshape(5, 1, 1)


def test_without_a_rule_hu_stay_hu() -> None:
    np.testing.assert_array_equal(normalized(HU, Intensity()), HU)


def test_clip_scale_is_abdomenatlas_window_by_default() -> None:
    found = normalized(HU, Intensity(type="clip_scale"))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.ravel(), [0, 0, 0.5, 1, 1], atol=1e-6)


def test_clip_scale_reaches_any_range() -> None:
    rule = Intensity(type="clip_scale", a_min=-1000, a_max=1000, b_min=-1, b_max=1)
    np.testing.assert_allclose(normalized(HU, rule).ravel(), [-1, -0.175, 0.0375, 0.25, 1], atol=1e-6)


def test_clip_normalize_is_nnunets_rule_for_ct() -> None:
    rule = Intensity(type="clip_normalize", a_min=-100, a_max=300, mean=50, std=25)
    found = normalized(HU, rule)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.ravel(), [-6, -6, -0.5, 8, 10], atol=1e-6)


def test_the_image_is_not_changed() -> None:
    image = HU.copy()
    for kind in ("none", "clip_scale", "clip_normalize"):
        normalized(image, Intensity(type=kind))
    np.testing.assert_array_equal(image, HU)
