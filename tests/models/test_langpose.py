import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel

from langpose_dist.config import ModelConfig, RunConfig, WindowConfig
from langpose_dist.models.langpose import LangPose
from langpose_dist.models.text import TextBackbone

CONFIG = RunConfig.model_validate(
    {
        "window": WindowConfig(num_frames=6, stride=3, min_span_frames=2),
        "masking": {"time_window_frames": (2, 4)},
        "model": ModelConfig(
            dim=32, dim_representation=32, depth=2, num_heads=4, pool_dim=8, embed_dim=16, pool_dropout=0.0
        ),
    }
)


def make_model(text_encoder: TextBackbone | None = None) -> LangPose:
    torch.manual_seed(0)
    model = LangPose.build(CONFIG, text_dim=12, text_encoder=text_encoder)
    with torch.no_grad():  # at their initial 0.02 the encoder's weights say little about its input
        for parameter in model.encoder.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    spans = torch.tensor([[1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]]).bool()
    return torch.rand(2, 6, 17, 3) * 2 - 1, spans


def test_forward_lifts_and_embeds() -> None:
    model = make_model()
    keypoints, spans = inputs()
    poses, features = model(keypoints, spans)
    assert poses.shape == (2, 6, 17, 3)
    torch.testing.assert_close(poses, model.encoder.lift(model.encoder(keypoints)))
    torch.testing.assert_close(features[0].norm(), torch.tensor(1.0))
    assert (features[1] == 0).all()


def test_the_span_decides_over_features_and_not_over_poses() -> None:
    model = make_model()
    keypoints, spans = inputs()
    narrow, whole = model(keypoints, spans), model(keypoints)
    everything = model(keypoints, torch.ones_like(spans))
    assert torch.equal(narrow.poses_3d, whole.poses_3d)
    assert torch.equal(whole.motion_features, everything.motion_features)
    assert not torch.allclose(narrow.motion_features[0], whole.motion_features[0], atol=1e-3)


def test_features_are_left_out_on_request() -> None:
    model = make_model()
    keypoints, spans = inputs()
    calls: list[int] = []
    model.pose_pooling.register_forward_hook(lambda *_: calls.append(1))
    output = model(keypoints, spans, with_features=False)
    assert output.motion_features is None
    assert calls == []
    assert torch.equal(output.poses_3d, model(keypoints, spans).poses_3d)


def test_gradients_are_finite_with_an_empty_span() -> None:
    model = make_model()
    poses, features = model(*inputs())
    text = model.encode_text(torch.randn(3, 4, 12), torch.ones(3, 4, dtype=torch.bool))
    (poses.square().sum() + (features @ text.T).square().sum()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_text_features_have_unit_length_and_ignore_padding() -> None:
    model = make_model()
    tokens, mask = torch.randn(3, 4, 12), torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]]).bool()
    features = model.encode_text(tokens, mask)
    torch.testing.assert_close(features.norm(dim=-1), torch.ones(3))
    assert torch.equal(model.encode_text(tokens.masked_fill(~mask[..., None], 9.0), mask), features)


def test_a_trained_text_encoder_gets_gradients() -> None:
    bert = BertConfig(
        vocab_size=9, hidden_size=12, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    model = make_model(TextBackbone(BertModel(bert)))
    ids, mask = torch.tensor([[2, 5, 3, 0]]), torch.tensor([[True, True, True, False]])
    features = model.encode_tokens(ids, mask)
    (features * torch.randn_like(features)).sum().backward()
    assert model.text_encoder is not None
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.text_encoder.parameters())


def test_token_ids_need_a_text_encoder() -> None:
    with pytest.raises(ValueError, match=r"text\.frozen=false"):
        make_model().encode_tokens(torch.zeros(1, 2, dtype=torch.int64), torch.ones(1, 2, dtype=torch.bool))


def test_bfloat16_autocast_stays_near_float32() -> None:
    model = make_model()
    keypoints, spans = inputs()
    exact = model(keypoints, spans)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = model(keypoints, spans)
        text = model.encode_text(torch.randn(3, 4, 12), torch.ones(3, 4, dtype=torch.bool))
    assert rough.poses_3d.dtype == rough.motion_features.dtype == text.dtype == torch.float32
    assert (rough.poses_3d - exact.poses_3d).norm() < 0.02 * exact.poses_3d.norm()
    assert (rough.motion_features[0] @ exact.motion_features[0]).item() > 0.999
    torch.testing.assert_close(rough.motion_features[0].norm(), torch.tensor(1.0))
    torch.testing.assert_close(text.norm(dim=-1), torch.ones(3))


def test_bfloat16_gradients_stay_near_float32() -> None:
    grads = []
    for enabled in (False, True):
        model = make_model()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            poses = model(*inputs(), with_features=False).poses_3d
        poses.square().sum().backward()
        grads.append(torch.cat([p.grad.flatten() for p in model.encoder.parameters() if p.grad is not None]))
    assert (grads[1] - grads[0]).norm() < 0.03 * grads[0].norm()


_COMPILE = """
import sys
import torch
from langpose_dist.config import RunConfig
from langpose_dist.models.langpose import LangPose

backend, tolerance = sys.argv[1], float(sys.argv[2])
config = RunConfig.model_validate({
    "window": {"num_frames": 6, "stride": 3, "min_span_frames": 2},
    "masking": {"time_window_frames": (2, 4)},
    "model": {"dim": 32, "dim_representation": 32, "depth": 1, "num_heads": 4, "pool_dim": 8,
              "embed_dim": 16, "pool_dropout": 0.0},
})
torch.manual_seed(0)
model = LangPose.build(config, text_dim=12)
keypoints, spans = torch.rand(2, 6, 17, 3), torch.arange(6).expand(2, 6) < 4
found = []
for function in (model, torch.compile(model, fullgraph=True, backend=backend)):
    model.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=tolerance > 1e-3):
        poses, features = function(keypoints, spans)
    (poses.square().sum() + features[:, :4].sum()).backward()
    grads = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    found.append((poses.detach(), features.detach(), grads))
for eager, compiled in zip(*found, strict=True):
    difference = (compiled - eager).norm() / eager.norm()
    assert difference <= tolerance, difference
print("same")
"""


@pytest.mark.parametrize(
    ("backend", "tolerance"),
    [
        # The whole graph is captured, with its gradient and under autocast, without a compiler.
        pytest.param("aot_eager", "0.02", id="captured"),
        pytest.param(
            "inductor",
            "1e-5",
            marks=[
                pytest.mark.slow,
                pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler"),
            ],
            id="compiled",
        ),
    ],
)
def test_compiled_model_agrees_without_a_graph_break(tmp_path: Path, backend: str, tolerance: str) -> None:
    # A process of its own: torch.compile cannot read the shape checks that the tests install.
    finished = subprocess.run(
        [sys.executable, "-c", _COMPILE, backend, tolerance],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)},
        check=False,
    )
    assert finished.stdout == "same\n", finished.stderr
