"""The loss of `atlas train`: what a reference cannot tell is neither rewarded nor punished."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="Torch is not installed")

from AtlasSegmentLib.train_loss import dice_ce, marginal_logits, supervised  # noqa: E402
from AtlasSegmentLib.train_organs import IGNORED  # noqa: E402

SHAPE = (2, 4, 6, 6, 6)


def sample(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return logits, labels and what is known: all."""
    made = torch.Generator().manual_seed(seed)
    logits = torch.randn(SHAPE, generator=made)
    return logits, torch.randint(0, 4, (2, *SHAPE[2:]), generator=made), torch.ones(2, 4, dtype=torch.bool)


def total(logits: torch.Tensor, labels: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Return the sum of both losses."""
    dice, entropy = dice_ce(logits, labels, known)
    return dice + entropy


def test_with_everything_known_it_is_monais_dice_and_cross_entropy() -> None:
    losses = pytest.importorskip("monai.losses", reason="MONAI is not installed")
    logits, labels, known = sample()
    rule = losses.DiceLoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)
    dice, entropy = dice_ce(logits, labels, known)
    assert math.isclose(float(dice), float(rule(logits, labels[:, None])), rel_tol=1e-5)
    assert math.isclose(float(entropy), float(torch.nn.functional.cross_entropy(logits, labels)), rel_tol=1e-5)


def test_an_unknown_organ_in_the_background_costs_nothing() -> None:
    logits, labels, known = sample()
    labels[labels == 2] = 0  # the reference has no organ 2, wherever it is
    known[:, 2] = False
    merged = torch.softmax(marginal_logits(logits, known), 1)
    shares = torch.softmax(logits, 1)
    assert torch.allclose(merged[:, 0], shares[:, 0] + shares[:, 2], atol=1e-6)
    assert float(merged[:, 2].max()) == 0
    background, organ = logits.clone(), logits.clone()
    background[:, 0], background[:, 2] = 3.0, -3.0
    organ[:, 0], organ[:, 2] = -3.0, 3.0
    assert math.isclose(float(total(background, labels, known)), float(total(organ, labels, known)), rel_tol=1e-5)
    known[:, 2] = True
    assert float(total(organ, labels, known)) > float(total(background, labels, known)) + 1, "were it known, it would cost"


def test_an_unknown_organ_gets_no_push_towards_background() -> None:
    logits, labels, known = sample()
    labels[:] = 0
    known[:, 2] = False
    logits[:, 0] = logits[:, 2]
    logits.requires_grad_()
    total(logits, labels, known).backward()
    assert torch.allclose(logits.grad[:, 0], logits.grad[:, 2], atol=1e-7), "both rise alike, against the known organs"
    assert float(logits.grad[:, 2].max()) <= 0


def test_each_patch_has_its_own_unknowns() -> None:
    logits, labels, known = sample()
    labels[0][labels[0] == 3] = 0
    known[0, 3] = False
    changed = logits.clone()
    changed[0, 3], changed[0, 0] = logits[0, 0], logits[0, 3]
    assert math.isclose(float(total(logits, labels, known)), float(total(changed, labels, known)), rel_tol=1e-5)


def test_voxels_that_say_nothing_count_for_nothing() -> None:
    logits, labels, known = sample()
    labels[:, :3] = IGNORED
    logits.requires_grad_()
    found = total(logits, labels, known)
    found.backward()
    assert float(logits.grad[:, :, :3].abs().max()) == 0
    assert float(logits.grad[:, :, 3:].abs().max()) > 0
    cut = total(logits.detach()[:, :, 3:], labels[:, 3:], known)
    assert math.isclose(float(found.detach()), float(cut), rel_tol=1e-5)
    labels[:] = IGNORED
    assert math.isfinite(float(total(logits.detach(), labels, known)))


def test_coarser_levels_count_less() -> None:
    logits, labels, known = sample()
    labels = labels.repeat_interleave(2, 1).repeat_interleave(2, 2).repeat_interleave(2, 3)
    fine = logits.repeat_interleave(2, 2).repeat_interleave(2, 3).repeat_interleave(2, 4)
    alone, both = supervised(fine, labels, known), supervised([fine, logits], labels, known)
    assert all(math.isclose(float(a), float(b), rel_tol=1e-4) for a, b in zip(alone, both, strict=True))
    worse = supervised([fine, -logits], labels, known)
    better = supervised([-fine, logits], labels, known)
    assert float(worse[1]) < float(better[1])
