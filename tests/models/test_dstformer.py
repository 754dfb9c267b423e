import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from langpose_dist.config import ModelConfig
from langpose_dist.models.dstformer import DSTformer
from langpose_dist.models.layers import DropPath

SMALL = ModelConfig(dim=24, dim_representation=20, depth=3, num_heads=4, mlp_ratio=1.5)


def random_encoder(config: ModelConfig = SMALL, *, num_frames: int = 7, seed: int = 0) -> DSTformer:
    """An encoder in float64 whose every parameter is random, norms, biases and fusion included."""
    torch.manual_seed(seed)
    encoder = DSTformer(config, num_frames=num_frames, num_joints=5).double()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return encoder


def slow_forward(state: Mapping[str, Tensor], keypoints: Tensor, num_heads: int) -> Tensor:
    """DSTformer written out with einsum, loops over heads and explicit sums, from a state dict alone."""

    def linear(x: Tensor, name: str) -> Tensor:
        return torch.einsum("...i,oi->...o", x, state[f"{name}.weight"]) + state[f"{name}.bias"]

    def norm(x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(dim=-1, keepdim=True)
        variance = (centred**2).mean(dim=-1, keepdim=True)
        return centred / (variance + 1e-6).sqrt() * state[f"{name}.weight"] + state[f"{name}.bias"]

    def attention(x: Tensor, name: str, *, over_time: bool) -> Tensor:
        q, k, v = linear(x, f"{name}.qkv").split(x.shape[-1], dim=-1)
        width = x.shape[-1] // num_heads
        outputs = []
        for head in range(num_heads):
            part = slice(head * width, (head + 1) * width)
            a, b, c = q[..., part], k[..., part], v[..., part]
            if over_time:
                logits = torch.einsum("btjc,bsjc->bjts", a, b) / math.sqrt(width)
                outputs.append(torch.einsum("bjts,bsjc->btjc", logits.softmax(-1), c))
            else:
                logits = torch.einsum("btic,btjc->btij", a, b) / math.sqrt(width)
                outputs.append(torch.einsum("btij,btjc->btic", logits.softmax(-1), c))
        return linear(torch.cat(outputs, dim=-1), f"{name}.proj")

    def mlp(x: Tensor, name: str) -> Tensor:
        hidden = linear(x, f"{name}.fc1")
        return linear(hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2))), f"{name}.fc2")

    def block(x: Tensor, name: str, order: str) -> Tensor:
        for axis in order:
            over_time = axis == "t"
            x = x + attention(norm(x, f"{name}.norm1_{axis}"), f"{name}.attn_{axis}", over_time=over_time)
            x = x + mlp(norm(x, f"{name}.norm2_{axis}"), f"{name}.mlp_{axis}")
        return x

    num_frames = keypoints.shape[1]
    x = linear(keypoints, "joints_embed") + state["pos_embed"][0][None, None]
    x = x + state["temp_embed"][:, :num_frames]
    depth = sum(key.startswith("ts_attn.") and key.endswith("bias") for key in state)
    for level in range(depth):
        first = block(x, f"blocks_st.{level}", "st")
        second = block(x, f"blocks_ts.{level}", "ts")
        weights = linear(torch.cat((first, second), dim=-1), f"ts_attn.{level}").softmax(dim=-1)
        x = first * weights[..., :1] + second * weights[..., 1:]
    return torch.tanh(linear(norm(x, "norm"), "pre_logits.fc"))


@pytest.mark.parametrize("num_frames", [7, 4])
def test_agrees_with_a_slow_version_in_value_and_gradient(num_frames: int) -> None:
    encoder = random_encoder()
    keypoints = torch.randn(2, num_frames, 5, 3, dtype=torch.float64, requires_grad=True)
    cotangent = torch.randn(2, num_frames, 5, 20, dtype=torch.float64)
    names, parameters = zip(*encoder.named_parameters(), strict=True)

    representation = encoder(keypoints)
    grads = torch.autograd.grad(
        (representation * cotangent).sum(), (keypoints, *parameters), allow_unused=True
    )
    slow = slow_forward(dict(zip(names, parameters, strict=True)), keypoints, SMALL.num_heads)
    slow_grads = torch.autograd.grad((slow * cotangent).sum(), (keypoints, *parameters), allow_unused=True)

    torch.testing.assert_close(representation, slow, rtol=1e-11, atol=1e-12)
    for name, grad, slow_grad in zip(("keypoints", *names), grads, slow_grads, strict=True):
        if name.startswith("head."):
            assert grad is None
        else:
            torch.testing.assert_close(grad, slow_grad, rtol=1e-9, atol=1e-10, msg=name)


def test_lift_is_the_linear_head() -> None:
    encoder = random_encoder()
    representation = torch.randn(1, 2, 5, 20, dtype=torch.float64)
    by_hand = torch.einsum("btjr,cr->btjc", representation, encoder.head.weight) + encoder.head.bias
    torch.testing.assert_close(encoder.lift(representation), by_hand)


def test_full_size_has_the_published_layout() -> None:
    with torch.device("meta"):
        encoder = DSTformer(ModelConfig(), num_frames=243)
    shapes = {key: tuple(value.shape) for key, value in encoder.state_dict().items()}
    block = {
        "norm1_s.weight": (512,),
        "norm1_t.bias": (512,),
        "norm2_s.weight": (512,),
        "norm2_t.bias": (512,),
        "attn_s.qkv.weight": (1536, 512),
        "attn_s.qkv.bias": (1536,),
        "attn_s.proj.weight": (512, 512),
        "attn_t.qkv.weight": (1536, 512),
        "attn_t.qkv.bias": (1536,),
        "attn_t.proj.bias": (512,),
        "mlp_s.fc1.weight": (1024, 512),
        "mlp_s.fc2.weight": (512, 1024),
        "mlp_t.fc1.bias": (1024,),
        "mlp_t.fc2.bias": (512,),
    }
    expected = {
        "joints_embed.weight": (512, 3),
        "temp_embed": (1, 243, 1, 512),
        "pos_embed": (1, 17, 512),
        "norm.weight": (512,),
        "pre_logits.fc.weight": (512, 512),
        "head.weight": (3, 512),
        "ts_attn.4.weight": (2, 1024),
        "ts_attn.4.bias": (2,),
        **{f"blocks_{order}.4.{key}": shape for order in ("st", "ts") for key, shape in block.items()},
    }
    assert {key: shapes.get(key) for key in expected} == expected
    # 10 blocks of 24 entries; 5 fusions of 2; 2 embeddings, and 4 layers of 2
    assert len(shapes) == 10 * 24 + 5 * 2 + 2 + 4 * 2
    assert sum(math.prod(shape) for shape in shapes.values()) == 42_466_317


def test_initial_weights_follow_the_published_rule() -> None:
    torch.manual_seed(0)
    encoder = DSTformer(ModelConfig(dim=64, num_heads=4, depth=2), num_frames=50)
    for name, parameter in encoder.named_parameters():
        if name.startswith("ts_attn."):
            assert (parameter == (0.5 if name.endswith("bias") else 0)).all(), name
        elif "norm" in name:
            assert (parameter == (1 if name.endswith("weight") else 0)).all(), name
        elif name.endswith("bias"):
            assert (parameter == 0).all(), name
        else:
            assert parameter.std().item() == pytest.approx(0.02, rel=0.15), name


class _CopyCounter(TorchDispatchMode):
    """Records every operation that only moves data."""

    def __init__(self) -> None:
        super().__init__()
        self.copies: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket in (
            torch.ops.aten.clone,
            torch.ops.aten.copy_,
            torch.ops.aten._to_copy,
            torch.ops.aten.cat,
            torch.ops.aten.stack,
            torch.ops.aten.contiguous,
        ):
            self.copies.append(str(func))
        return func(*args, **(kwargs or {}))


def test_forward_copies_no_activation() -> None:
    encoder = random_encoder().float()
    keypoints = torch.randn(2, 7, 5, 3)
    with _CopyCounter() as counter:
        encoder(keypoints)
    assert counter.copies == []

    with _CopyCounter() as counter:  # the counter does see what it should
        keypoints.transpose(1, 2).reshape(-1)
    assert counter.copies == ["aten.clone.default"]


def test_frames_in_another_order_give_another_representation() -> None:
    encoder = random_encoder()
    keypoints = torch.randn(1, 7, 5, 3, dtype=torch.float64)
    assert not torch.allclose(encoder(keypoints.flip(1)).flip(1), encoder(keypoints), atol=1e-3)


@pytest.mark.parametrize("shape", [(1, 8, 5, 3), (1, 7, 4, 3)])
def test_windows_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at most 7 frames of 5 joints"):
        random_encoder()(torch.zeros(shape, dtype=torch.float64))


def test_drop_path_of_one_leaves_the_last_blocks_out() -> None:
    # The first pair's probability is 0, the last one's is 1: in training it must do nothing at all.
    config = SMALL.model_copy(update={"depth": 2, "drop_path": 1.0})
    encoder = random_encoder(config)
    keypoints = torch.randn(2, 7, 5, 3, dtype=torch.float64)
    state = encoder.state_dict()
    shallow = {key: value for key, value in state.items() if ".1." not in key}
    torch.testing.assert_close(encoder.train()(keypoints), slow_forward(shallow, keypoints, 4))
    torch.testing.assert_close(encoder.eval()(keypoints), slow_forward(state, keypoints, 4))


def test_drop_path_drops_whole_samples_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    dropped = DropPath(0.25).train()(torch.ones(4000, 3, 2))
    assert dropped.unique().tolist() == pytest.approx([0, 4 / 3])
    assert (dropped == dropped[:, :1, :1]).all()
    assert dropped.mean().item() == pytest.approx(1, abs=0.03)


def test_dropout_acts_in_training_only() -> None:
    encoder = random_encoder(SMALL.model_copy(update={"dropout": 0.5}))
    keypoints = torch.randn(1, 7, 5, 3, dtype=torch.float64)
    torch.manual_seed(0)
    first, second = encoder.train()(keypoints), encoder(keypoints)
    assert not torch.allclose(first, second)
    torch.testing.assert_close(
        encoder.eval()(keypoints), slow_forward(encoder.state_dict(), keypoints, SMALL.num_heads)
    )


def test_bfloat16_autocast_stays_near_float32() -> None:
    torch.manual_seed(0)
    encoder = DSTformer(ModelConfig(dim=64, dim_representation=64, depth=3, num_heads=4), num_frames=9)
    keypoints = torch.rand(2, 9, 17, 3) * 2 - 1
    exact = encoder(keypoints)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = encoder(keypoints)
        poses = encoder.lift(rough)
    assert poses.dtype == torch.float32
    # bfloat16 keeps 8 bits: 0.4 % per rounding, here a handful of roundings deep.
    assert (rough.float() - exact).norm() < 0.02 * exact.norm()
    assert (poses - encoder.lift(exact)).norm() < 0.02 * encoder.lift(exact).norm()


def test_a_bfloat16_stream_stays_near_float32() -> None:
    keypoints = torch.rand(2, 7, 5, 3)
    lifted, narrow = [], SMALL.model_copy(update={"stream": "bfloat16"})
    for config, enabled in ((SMALL, False), (narrow, True), (narrow, False)):
        encoder = random_encoder(config).float()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            representation = encoder(keypoints)
        assert representation.dtype == (torch.bfloat16 if enabled else torch.float32)
        lifted.append(representation.float())
    assert (lifted[1] - lifted[0]).norm() < 0.05 * lifted[0].norm()
    assert torch.equal(lifted[2], lifted[0])  # without autocast there is nothing to narrow


def test_blocks_that_are_computed_again_give_the_same_gradient() -> None:
    keypoints = torch.rand(2, 7, 5, 3, dtype=torch.float64)
    dropped = SMALL.model_copy(update={"dropout": 0.2, "drop_path": 0.3})
    grads = []
    for recompute in (False, True):
        encoder = random_encoder(dropped.model_copy(update={"recompute": recompute}))
        torch.manual_seed(1)
        encoder(keypoints).square().sum().backward()
        grads.append([parameter.grad for parameter in encoder.parameters() if parameter.grad is not None])
    for kept, computed_again in zip(*grads, strict=True):
        assert torch.equal(kept, computed_again)
