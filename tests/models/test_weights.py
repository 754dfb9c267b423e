import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import BertConfig, BertModel

from langpose_dist.config import ModelConfig, RunConfig, TextConfig, UserError, WindowConfig
from langpose_dist.models.langpose import LangPose
from langpose_dist.models.text import TextBackbone
from langpose_dist.models.weights import read_header, weights_header, write_weights
from tests.exports import load_langpose, save_weights

CONFIG = RunConfig.model_validate(
    {
        "window": WindowConfig(num_frames=6, stride=3, min_span_frames=2),
        "masking": {"time_window_frames": (2, 4)},
        "model": ModelConfig(dim=8, dim_representation=8, depth=1, num_heads=2, pool_dim=2, embed_dim=8),
    }
)


def make_model(config: RunConfig = CONFIG, text_encoder: TextBackbone | None = None) -> LangPose:
    torch.manual_seed(0)
    return LangPose.build(config, text_dim=12, text_encoder=text_encoder).eval()


def header_of(path: Path) -> dict[str, Any]:
    """The header by the format's definition: eight bytes of length, then JSON."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length])


def test_an_export_is_rebuilt_from_the_file_alone(tmp_path: Path) -> None:
    model = make_model()
    save_weights(tmp_path / "new" / "m.safetensors", model, CONFIG, {"commit": "abc"})
    loaded, config = load_langpose(tmp_path / "new" / "m.safetensors")
    assert config == CONFIG
    assert not loaded.training
    assert all(p.requires_grad and p.device.type == "cpu" for p in loaded.parameters())
    keypoints = torch.randn(2, 6, 17, 3)
    for ours, theirs in zip(model(keypoints), loaded(keypoints), strict=True):
        assert torch.equal(ours, theirs)
    assert read_header(tmp_path / "new" / "m.safetensors")["commit"] == "abc"


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "module._orig_mod."])
def test_weights_that_another_tool_saved_wrapped_are_read(tmp_path: Path, wrapper: str) -> None:
    model = make_model()
    state = {f"{wrapper}{key}": value for key, value in model.state_dict().items()}
    state = {key.replace("encoder.", f"encoder.{wrapper}"): value for key, value in state.items()}
    save_file(state, tmp_path / "m.safetensors", metadata=weights_header(model.header(), CONFIG, {}))
    loaded, _ = load_langpose(tmp_path / "m.safetensors")
    for key, value in model.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[key])


def test_keys_are_prefix_free_and_the_header_is_plain_json(tmp_path: Path) -> None:
    save_weights(tmp_path / "m.safetensors", make_model(), CONFIG, {})
    header = header_of(tmp_path / "m.safetensors")
    metadata = header.pop("__metadata__")
    assert json.loads(metadata["config"]) == CONFIG.to_dict()
    assert metadata["text_dim"] == "12"
    assert {key.split(".")[0] for key in header} == {"encoder", "pose_pooling", "text_pooling"}
    assert header["encoder.head.weight"]["shape"] == [3, 8]
    assert {entry["dtype"] for entry in header.values()} == {"F32"}


def test_initial_weights_are_not_needed_again(tmp_path: Path) -> None:
    model = make_model()
    save_weights(tmp_path / "first.safetensors", model, CONFIG, {})
    update = {"initial_weights": str(tmp_path / "first.safetensors")}
    config = CONFIG.model_copy(update={"model": CONFIG.model.model_copy(update=update)})
    torch.manual_seed(1)
    second = LangPose.build(config, text_dim=12)
    assert torch.equal(second.encoder.temp_embed, model.encoder.temp_embed)
    key = "text_pooling.label.0.weight"
    assert not torch.equal(second.state_dict()[key], model.state_dict()[key])
    save_weights(tmp_path / "second.safetensors", second, config, {})
    (tmp_path / "first.safetensors").unlink()
    loaded, _ = load_langpose(tmp_path / "second.safetensors")
    assert torch.equal(loaded.encoder.temp_embed, model.encoder.temp_embed)


def test_a_trained_text_encoder_travels_along(tmp_path: Path) -> None:
    torch.manual_seed(0)
    bert = BertConfig(
        vocab_size=9, hidden_size=12, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    config = CONFIG.model_copy(update={"text": TextConfig(frozen=False)})
    model = make_model(config, TextBackbone(BertModel(bert)))
    save_weights(tmp_path / "m.safetensors", model, config, {})
    loaded, _ = load_langpose(tmp_path / "m.safetensors")
    ids, mask = torch.tensor([[2, 5, 3, 0]]), torch.tensor([[True, True, True, False]])
    expected = model.encode_tokens(ids, mask)
    # On some processors sums depend on where in memory the numbers lie, so they are put in the same places.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert not torch.equal(model.encode_tokens(ids, mask), expected)
    model.load_state_dict(loaded.state_dict())
    assert torch.equal(model.encode_tokens(ids, mask), expected)
    torch.testing.assert_close(loaded.encode_tokens(ids, mask), expected, rtol=1e-6, atol=1e-7)


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.safetensors"
    save_weights(path, make_model(), CONFIG, {"n": "1"})
    content = path.read_bytes()

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_weights(path, make_model(), CONFIG, {"n": "2"})
    assert path.read_bytes() == content
    assert [file.name for file in tmp_path.iterdir()] == ["m.safetensors"]


def test_header_entries_cannot_be_overwritten(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="config"):
        save_weights(tmp_path / "m.safetensors", make_model(), CONFIG, {"config": "{}"})


def error_of(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_langpose(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_foreign_and_damaged_files_give_one_line(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    assert "no such file" in error_of(path)
    save_file({"a": torch.zeros(2)}, path)
    assert "is not a LangPose export" in error_of(path)
    save_weights(path, make_model(), CONFIG, {})
    whole = path.read_bytes()
    for damaged in (b"", b"x" * 50, whole[:100], whole[:-1]):
        path.write_bytes(damaged)
        assert "not a readable safetensors file" in error_of(path)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"langpose_format": "2"}, "langpose_format=2, this version reads 1"),
        ({"config": "{"}, "cannot be rebuilt"),
        ({"config": '{"modle": {}}'}, "unknown key 'modle'"),
        ({"text_dim": "13"}, "cannot be rebuilt"),
        ({"text_architecture": "{}"}, "cannot be rebuilt"),
    ],
)
def test_headers_that_do_not_fit_give_one_line(tmp_path: Path, change: dict[str, str], expected: str) -> None:
    path = tmp_path / "m.safetensors"
    save_weights(path, make_model(), CONFIG, {})
    state = make_model().state_dict()
    save_file(state, path, metadata=read_header(path) | change)
    assert expected in error_of(path)


def test_equal_models_are_equal_files(tmp_path: Path) -> None:
    state = {f"layer.{number}": torch.full((3,), float(number)) for number in range(20)}
    header = {f"key {number} é": str(number) for number in range(20)}
    for name in "abc":
        write_weights(tmp_path / name, state, header)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()
    with safe_open(tmp_path / "a", framework="pt") as file:
        assert file.metadata() == header
        assert torch.equal(file.get_tensor("layer.7"), state["layer.7"])
