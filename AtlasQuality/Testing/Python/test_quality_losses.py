"""The losses of the label-quality network, on numbers that can be checked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from AtlasQualityLib.quality_losses import RANK_MARGIN, optimal_pairs, rank_loss, weighted_mse
from AtlasSegmentLib.errors import InputError


@pytest.mark.parametrize(("target", "weight"), [(0.0, 7), (0.3, 7), (0.4, 5), (0.5, 5), (0.7, 3), (0.9, 2), (0.95, 1), (1.0, 1)])
def test_a_bad_mask_counts_more(target: float, weight: float) -> None:
    assert float(weighted_mse(torch.tensor([target + 0.5]), torch.tensor([target]))) == pytest.approx(weight * 0.25, rel=1e-5)


def test_the_square_error_is_the_mean_over_items() -> None:
    assert float(weighted_mse(torch.tensor([0.2, 1.0]), torch.tensor([0.1, 0.8]))) == pytest.approx((7 * 0.01 + 2 * 0.04) / 2, rel=1e-5)


def test_items_of_one_organ_are_paired_with_each_other() -> None:
    liver, spleen = np.eye(4)[0] * 10, np.eye(4)[1] * 9
    pairs = optimal_pairs(np.stack([liver, spleen, liver, spleen]))
    assert pairs.tolist() == [2, 3, 0, 1]


def test_nobody_is_paired_with_itself_and_each_is_taken_once() -> None:
    rng = np.random.default_rng(0)
    for count in (2, 3, 7, 40):
        pairs = optimal_pairs(rng.normal(size=(count, 16)))
        assert sorted(pairs.tolist()) == list(range(count))
        assert (pairs != np.arange(count)).all()


def test_the_ranking_loss_of_two_classes_is_what_it_is_by_hand() -> None:
    """Two livers in the wrong order, two spleens in the right one: (0.2 * 0.4 + margin) twice of four pairs, 0 for the others."""
    liver, spleen = np.eye(4)[0], np.eye(4)[1]
    pairs = optimal_pairs(np.stack([liver, spleen, liver, spleen]))
    predicted = torch.tensor([0.5, 0.3, 0.7, 0.8])
    target = torch.tensor([0.9, 0.2, 0.5, 0.6])
    assert float(rank_loss(predicted, target, pairs)) == pytest.approx(2 * (0.2 * 0.4 + RANK_MARGIN) / 4, rel=1e-5)


def test_equal_truths_cost_the_margin() -> None:
    assert float(rank_loss(torch.tensor([0.1, 0.9]), torch.tensor([0.5, 0.5]), np.array([1, 0]))) == pytest.approx(RANK_MARGIN, rel=1e-5)


def test_a_batch_of_one_has_no_ranking_loss_and_can_be_trained_on() -> None:
    predicted = torch.tensor([0.4], requires_grad=True)
    pairs = optimal_pairs(np.ones((1, 4)))
    loss = weighted_mse(predicted, torch.tensor([0.8])) + rank_loss(predicted, torch.tensor([0.8]), pairs)
    loss.backward()
    assert len(pairs) == 0
    assert float(loss.detach()) == pytest.approx(2 * 0.16, rel=1e-5)
    assert float(predicted.grad[0]) == pytest.approx(-2 * 2 * 0.4, rel=1e-5)


def test_an_embedding_without_a_direction_is_refused() -> None:
    with pytest.raises(InputError, match="embedding"):
        optimal_pairs(np.zeros((2, 4)))
    with pytest.raises(InputError, match="embedding"):
        optimal_pairs(np.array([[np.nan, 1], [1, 0]]))
