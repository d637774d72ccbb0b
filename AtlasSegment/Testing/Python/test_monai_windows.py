"""Grids, weights and merged windows are those of MONAI's own functions, to the last few bits."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas_phantoms import ct
from AtlasSegmentLib import regions
from AtlasSegmentLib.model_manifest import ModelInput
from AtlasSegmentLib.sliding_window import WindowRules, sliding_window, window_weights
from AtlasSegmentLib.window_input import network_input

torch = pytest.importorskip("torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MONAI warns of its own parts when it is imported
    monai = pytest.importorskip("monai")


def network(patch: np.ndarray) -> np.ndarray:
    """Two channels that depend on the place within the window, so that a window at a wrong place shows."""
    place = np.arange(patch.size, dtype=np.float32).reshape(patch.shape) / patch.size
    return np.stack([patch * (1 + place), patch - 3 * place])


@pytest.mark.parametrize("window", [(8, 8, 8), (9, 6, 3), (16, 5, 12), (1, 2, 1)])
@pytest.mark.parametrize(("kind", "mode"), [("gaussian_unscaled", "gaussian"), ("constant", "constant")])
def test_weights_are_monais(window: tuple[int, ...], kind: Any, mode: str) -> None:
    np.testing.assert_allclose(window_weights(window, kind), monai.data.utils.compute_importance_map(window, mode).numpy(), rtol=1e-5)


@settings(max_examples=20, deadline=None)
@given(
    st.tuples(*[st.integers(1, 13)] * 3),
    st.tuples(*[st.integers(2, 9)] * 3),
    st.sampled_from([0.0, 0.25, 0.5, 0.7]),
    st.sampled_from(["constant", "edge", "reflect"]),
    st.booleans(),
)
def test_the_result_is_monais(shape: tuple[int, ...], window: tuple[int, ...], overlap: float, padding: Any, gaussian: bool) -> None:
    if padding == "reflect" and any(n < w and n <= (w - n + 1) // 2 for n, w in zip(shape, window, strict=True)):
        return  # Torch cannot reflect more than there is
    image = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    rules = WindowRules("gaussian_unscaled" if gaussian else "constant", padding, 0.75)
    found = np.concatenate([part for _, part in sliding_window(image, window, overlap, network, rules=rules)], axis=1)
    expected = monai.inferers.sliding_window_inference(
        torch.from_numpy(image)[None, None],
        window,
        1,
        lambda patch: torch.from_numpy(network(patch[0, 0].numpy()))[None],
        overlap,
        mode="gaussian" if gaussian else "constant",
        padding_mode={"edge": "replicate"}.get(padding, padding),
        cval=0.75 if padding == "constant" else 0.0,
    )
    np.testing.assert_allclose(found, expected[0].numpy(), atol=2e-5)


@settings(max_examples=12, deadline=None)
@given(
    st.sampled_from(["RAS", "LPS", "SAL", "PIR"]),
    st.sampled_from(["RAS", "LAI", ""]),
    st.tuples(*[st.floats(0.7, 6.0)] * 3),
    st.floats(0, 40),
)
def test_grids_on_centers_are_those_of_monai(code: str, wanted: str, spacing: tuple[float, float, float], degrees: float) -> None:
    image = ct(code, degrees)
    tensor = monai.data.MetaTensor(image.array[None].astype(np.float32), affine=image.affine)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        turned = monai.transforms.Orientation(wanted)(tensor) if wanted else tensor
        theirs = monai.transforms.Spacing(spacing)(turned)
    rule = ModelInput(grid="centers", orientation=wanted, spacing=spacing, patch=(8, 8, 8))
    ours = network_input(image, rule, regions.whole_box(image.grid))
    assert ours.image.shape == tuple(theirs.shape[1:])
    np.testing.assert_allclose(ours.grid.affine, theirs.affine.numpy(), atol=1e-6)
    np.testing.assert_allclose(ours.image, theirs.numpy()[0], atol=2e-2)
