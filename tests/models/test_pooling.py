import pytest
import torch
from torch import Tensor

from langpose_dist.models.pooling import PosePooling, TextPooling, WeightedSum, unit_length


def pose_pooling(dropout: float = 0.0) -> PosePooling:
    torch.manual_seed(0)
    pooling = PosePooling(dim_representation=6, num_joints=3, pool_dim=4, embed_dim=8, dropout=dropout)
    torch.nn.init.normal_(pooling.weighted_sum.score.weight)
    return pooling.double()


def text_pooling() -> TextPooling:
    torch.manual_seed(0)
    pooling = TextPooling(text_dim=6, embed_dim=8, dropout=0.0)
    torch.nn.init.normal_(pooling.weighted_sum.score.weight)
    return pooling.double()


def slow_layer(x: Tensor, sequence: torch.nn.Module) -> Tensor:
    """Linear, GELU, layer normalisation by their formulas."""
    state = sequence.state_dict()
    x = x @ state["0.weight"].T + state["0.bias"]
    x = x * 0.5 * (1 + torch.erf(x / 2**0.5))
    x = (x - x.mean()) / (x.var(correction=0) + 1e-5).sqrt()
    return x * state["2.weight"] + state["2.bias"]


def test_pose_pooling_frame_by_frame() -> None:
    pooling = pose_pooling()
    representation = torch.randn(2, 5, 3, 6, dtype=torch.float64)
    mask = torch.tensor([[1, 1, 0, 1, 0], [0, 0, 1, 0, 0]]).bool()
    pooled = pooling(representation, mask)
    score = pooling.weighted_sum.score.weight[0]
    for window in range(2):
        total, sum_of_weights = torch.zeros(8, dtype=torch.float64), 0.0
        for frame in range(5):
            if mask[window, frame]:
                joints = [slow_layer(representation[window, frame, j], pooling.joints) for j in range(3)]
                feature = slow_layer(torch.cat(joints), pooling.frames)
                weight = torch.exp(score @ feature)
                total, sum_of_weights = total + weight * feature, sum_of_weights + weight
        torch.testing.assert_close(pooled[window], total / sum_of_weights)


def test_text_pooling_token_by_token() -> None:
    pooling = text_pooling()
    tokens = torch.randn(1, 4, 6, dtype=torch.float64)
    features = [slow_layer(tokens[0, i], pooling.tokens) for i in range(3)]
    weights = torch.stack([pooling.weighted_sum.score.weight[0] @ f for f in features]).softmax(0)
    summed = sum(weight * feature for weight, feature in zip(weights, features, strict=True))
    assert isinstance(summed, Tensor)
    pooled = pooling(tokens, torch.tensor([[True, True, True, False]]))
    torch.testing.assert_close(pooled[0], slow_layer(summed, pooling.label))


@pytest.mark.parametrize("kind", ["pose", "text"])
def test_what_is_masked_neither_counts_nor_learns(kind: str) -> None:
    pooling = pose_pooling() if kind == "pose" else text_pooling()
    shape = (2, 5, 3, 6) if kind == "pose" else (2, 5, 6)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[1, 1, 0, 1, 0], [0, 0, 1, 1, 1]]).bool()
    changed = x.detach().clone()
    changed[~mask] = 1e3
    pooled = pooling(x, mask)
    torch.testing.assert_close(pooled, pooling(changed, mask), rtol=0, atol=0)
    (grad,) = torch.autograd.grad((pooled * torch.randn_like(pooled)).sum(), x)
    assert (grad[~mask] == 0).all()
    assert (grad[mask].flatten(1).norm(dim=1) > 0).all()


def test_order_of_frames_does_not_matter_order_of_joints_does() -> None:
    pooling = pose_pooling()
    representation = torch.randn(1, 5, 3, 6, dtype=torch.float64)
    mask = torch.tensor([[1, 1, 0, 1, 1]]).bool()
    pooled = pooling(representation, mask)
    torch.testing.assert_close(pooling(representation.flip(1), mask.flip(1)), pooled)
    assert not torch.allclose(pooling(representation.flip(2), mask), pooled, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_empty_mask_gives_zero_and_zero_gradient(dtype: torch.dtype) -> None:
    pooling = pose_pooling().to(dtype)
    representation = torch.randn(2, 5, 3, 6, dtype=dtype, requires_grad=True)
    mask = torch.tensor([[False] * 5, [True] * 5])
    features = unit_length(pooling(representation, mask))
    assert (features[0] == 0).all()
    torch.testing.assert_close(features[1].norm(), torch.ones((), dtype=dtype))
    (features * torch.randn_like(features)).sum().backward()
    assert representation.grad is not None
    assert (representation.grad[0] == 0).all()
    assert representation.grad[1].abs().sum() > 0
    assert all(p.grad is not None and p.grad.isfinite().all() for p in pooling.parameters())


def test_weights_are_uniform_before_training() -> None:
    x = torch.randn(2, 4, 3)
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]]).bool()
    expected = torch.stack((x[0, :2].mean(0), x[1].mean(0)))
    torch.testing.assert_close(WeightedSum(3)(x, mask), expected)


def test_random_inputs_do_not_collapse_to_one_direction() -> None:
    torch.manual_seed(0)
    pooling = TextPooling(text_dim=32, embed_dim=64, dropout=0.0)
    features = unit_length(pooling(torch.randn(50, 6, 32) * 3, torch.ones(50, 6, dtype=torch.bool)))
    cosines = (features @ features.T)[~torch.eye(50, dtype=torch.bool)]
    # GELU without the normalisation after it would give cosines near 1.
    assert cosines.mean().item() < 0.75


def test_dropout_acts_in_training_only() -> None:
    pooling = pose_pooling(dropout=0.5)
    representation = torch.randn(1, 5, 3, 6, dtype=torch.float64)
    mask = torch.ones(1, 5, dtype=torch.bool)
    torch.manual_seed(0)
    assert not torch.allclose(pooling.train()(representation, mask), pooling(representation, mask))
    pooling.eval()
    torch.testing.assert_close(pooling(representation, mask), pooling(representation, mask), rtol=0, atol=0)


def test_unit_length_widens_bfloat16() -> None:
    x = torch.randn(3, 8).bfloat16()
    assert unit_length(x).dtype == torch.float32
    torch.testing.assert_close(unit_length(x).norm(dim=-1), torch.ones(3))
