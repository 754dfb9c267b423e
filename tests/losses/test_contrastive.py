import math

import pytest
import torch

from langpose_dist.losses.contrastive import candidate_logits, info_nce, modified_info_nce


def test_logits_are_cosines_over_the_temperature() -> None:
    motion = torch.tensor([[1.0, 0.0]])
    text = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [-0.6, 0.8]]])
    assert candidate_logits(motion, text, 0.1)[0].tolist() == pytest.approx([10.0, 0.0, -6.0])


def test_info_nce_by_hand() -> None:
    logits = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]])  # p = 3/4 and 1/2
    assert info_nce(logits).tolist() == pytest.approx([math.log(4 / 3), math.log(2)])


def test_modified_by_hand() -> None:
    logits = torch.tensor([[math.log(3.0), 0.0]])  # p = (3/4, 1/4)
    target = torch.tensor([[0.0, 0.0]])  # q = (1/2, 1/2)
    focal = (1 / 4) ** 2 * math.log(4 / 3)
    divergence = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    loss = modified_info_nce(logits, target, gamma=2.0, beta=3.0)
    assert loss.item() == pytest.approx(focal + 3 * divergence)


def test_without_focus_and_divergence_it_is_info_nce() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(32, 17, generator=generator, dtype=torch.float64) * 5
    target = torch.randn(32, 17, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(modified_info_nce(logits, target, gamma=0.0, beta=0.0), info_nce(logits))


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_a_perfect_match_has_no_focal_loss_and_a_finite_gradient(gamma: float) -> None:
    logits = torch.tensor([[200.0, 0.0, -5.0]], requires_grad=True)
    loss = modified_info_nce(logits, torch.zeros(1, 3), gamma=gamma, beta=0.0)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert loss.item() == pytest.approx(0.0, abs=1e-9)
    assert torch.isfinite(gradient).all()


def test_divergence_vanishes_where_the_motion_agrees_with_the_labels() -> None:
    target = torch.tensor([[2.0, 1.0, -1.0]])
    with_divergence = modified_info_nce(target, target, gamma=2.0, beta=1.0)
    without = modified_info_nce(target, target, gamma=2.0, beta=0.0)
    assert with_divergence.item() == pytest.approx(without.item(), abs=1e-6)


def test_no_gradient_reaches_the_target() -> None:
    logits = torch.randn(2, 3, generator=torch.Generator().manual_seed(1), requires_grad=True)
    target = torch.zeros(2, 3, requires_grad=True)
    modified_info_nce(logits, target, gamma=2.0, beta=1.0).sum().backward()
    assert target.grad is None
    assert logits.grad is not None
