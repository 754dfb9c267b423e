import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from langpose_dist.config import ModelConfig, RunConfig, UserError
from langpose_dist.models.dstformer import DSTformer
from langpose_dist.models.pretrained import load_encoder_weights, read_motionbert
from langpose_dist.models.weights import weights_header, write_weights

CONFIG = ModelConfig(dim=8, dim_representation=6, depth=2, num_heads=8)


def make_encoder(num_frames: int = 5, seed: int = 0, config: ModelConfig = CONFIG) -> DSTformer:
    torch.manual_seed(seed)
    encoder = DSTformer(config, num_frames=num_frames)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.normal_()
    return encoder


def published_layout(state: dict[str, Tensor], prefix: str = "module.") -> dict[str, Any]:
    """What MotionBERT's training script saves."""
    return {
        "epoch": 30,
        "lr": np.float64(0.0005),
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.0005}]},
        "model_pos": {prefix + key: value for key, value in state.items()},
        "min_loss": np.float64(37.5),
    }


def assert_same(encoder: DSTformer, state: dict[str, Tensor]) -> None:
    for key, value in encoder.state_dict().items():
        assert torch.equal(value, state[key]), key


@pytest.mark.parametrize(
    "prefix",
    [
        *(
            "module.",
            "",
            "module.backbone.",
            "backbone.",
            "_orig_mod.",
            "module._orig_mod.",
            "_orig_mod.module.",
        ),
        *("_orig_mod.backbone.", "_forward_module.", "_fsdp_wrapped_module.", "module.backbone._orig_mod."),
    ],
)
@pytest.mark.parametrize("key", ["model_pos", "model", "state_dict", None])
def test_published_layouts_load(tmp_path: Path, prefix: str, key: str | None) -> None:
    state = make_encoder(seed=1).state_dict()
    content = published_layout(state, prefix)
    weights = content.pop("model_pos")
    if "backbone." in prefix:  # the action classifier on top of the encoder is none of ours
        weights[prefix.replace("backbone.", "head.") + "fc1.weight"] = torch.zeros(2, 2)
    torch.save({**content, key: weights} if key else weights, tmp_path / "best_epoch.bin")
    encoder = make_encoder()
    load_encoder_weights(encoder, tmp_path / "best_epoch.bin")
    assert_same(encoder, state)


def test_exports_of_a_compiled_model_load_and_weights_that_stand_there_twice_are_refused(
    tmp_path: Path,
) -> None:
    state = {f"_orig_mod.encoder.{key}": value for key, value in make_encoder(seed=1).state_dict().items()}
    save_file(state, tmp_path / "model.safetensors")
    encoder = make_encoder()
    load_encoder_weights(encoder, tmp_path / "model.safetensors")
    assert_same(encoder, make_encoder(seed=1).state_dict())
    twice = {**state, "encoder.temp_embed": state["_orig_mod.encoder.temp_embed"].clone()}
    save_file(twice, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="1 weights are there twice"):
        load_encoder_weights(encoder, tmp_path / "model.safetensors")


def test_files_from_the_years_of_numpy_1_load(tmp_path: Path) -> None:
    state = make_encoder(seed=1).state_dict()
    torch.save(published_layout(state), tmp_path / "new.bin")
    with zipfile.ZipFile(tmp_path / "new.bin") as new, zipfile.ZipFile(tmp_path / "old.bin", "w") as old:
        for entry in new.infolist():
            content = new.read(entry)
            if entry.filename.endswith("data.pkl"):
                assert b"numpy._core.multiarray" in content
                content = content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
            old.writestr(entry.filename, content)
    encoder = make_encoder()
    load_encoder_weights(encoder, tmp_path / "old.bin")
    assert_same(encoder, state)


def test_the_allowance_for_numpy_scalars_ends_with_the_call(tmp_path: Path) -> None:
    torch.save(published_layout(make_encoder().state_dict()), tmp_path / "x.bin")
    before = set(torch.serialization.get_safe_globals())
    load_encoder_weights(make_encoder(), tmp_path / "x.bin")
    assert set(torch.serialization.get_safe_globals()) == before


def test_our_own_exports_load(tmp_path: Path) -> None:
    state = make_encoder(seed=1).state_dict()
    export = {f"encoder.{key}": value for key, value in state.items()}
    save_file({**export, "text_pooling.label.0.weight": torch.zeros(2)}, tmp_path / "m.safetensors")
    encoder = make_encoder()
    load_encoder_weights(encoder, tmp_path / "m.safetensors")
    assert_same(encoder, state)


@pytest.mark.parametrize("heads", [2, 4])
def test_another_number_of_heads_is_refused(tmp_path: Path, heads: int) -> None:
    # The shapes are the same: it loaded without a word, and the poses were decimetres off.
    fewer = CONFIG.model_copy(update={"num_heads": heads})
    torch.save(published_layout(make_encoder().state_dict()), tmp_path / "motionbert.bin")
    with pytest.raises(
        UserError, match=rf"8 attention heads, model\.num_heads={heads}; set model\.num_heads=8"
    ):
        load_encoder_weights(make_encoder(config=fewer), tmp_path / "motionbert.bin")
    run = RunConfig(model=fewer)
    state = {f"encoder.{name}": value for name, value in make_encoder(config=fewer).state_dict().items()}
    write_weights(tmp_path / "ours.safetensors", state, weights_header({}, run, {}))
    load_encoder_weights(make_encoder(config=fewer), tmp_path / "ours.safetensors")
    with pytest.raises(UserError, match=rf"trained with {heads} attention heads, model\.num_heads=8"):
        load_encoder_weights(make_encoder(), tmp_path / "ours.safetensors")


def test_a_shorter_model_takes_the_first_frames(tmp_path: Path) -> None:
    state = make_encoder(num_frames=9, seed=1).state_dict()
    torch.save(state, tmp_path / "long.bin")
    encoder = make_encoder(num_frames=4)
    load_encoder_weights(encoder, tmp_path / "long.bin")
    assert_same(encoder, {**state, "temp_embed": state["temp_embed"][:, :4]})


def test_half_precision_files_load_into_float32(tmp_path: Path) -> None:
    state = {key: value.half() for key, value in make_encoder(seed=1).state_dict().items()}
    torch.save(state, tmp_path / "half.bin")
    encoder = make_encoder()
    load_encoder_weights(encoder, tmp_path / "half.bin")
    assert encoder.norm.weight.dtype == torch.float32
    assert_same(encoder, {key: value.float() for key, value in state.items()})


def error_of(path: Path, encoder: DSTformer | None = None) -> str:
    """The one line that the file gives; the encoder must stay as it was."""
    encoder = encoder or make_encoder()
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    with pytest.raises(UserError) as caught:
        load_encoder_weights(encoder, path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    assert_same(encoder, before)
    return message


def test_a_longer_model_is_refused(tmp_path: Path) -> None:
    torch.save(make_encoder(num_frames=4).state_dict(), tmp_path / "short.bin")
    assert "know 4 frames, fewer than window.num_frames=9" in error_of(
        tmp_path / "short.bin", make_encoder(num_frames=9)
    )


def test_other_dimensions_are_named(tmp_path: Path) -> None:
    wide = make_encoder(config=CONFIG.model_copy(update={"dim": 16}))
    torch.save(wide.state_dict(), tmp_path / "wide.bin")
    message = error_of(tmp_path / "wide.bin")
    assert "model.dim=8, model.dim_representation=6, model.depth=2, model.mlp_ratio=2" in message
    assert "temp_embed 1x5x1x16 instead of 1x5x1x8, " in message
    assert message.endswith(", ...)")


def test_another_depth_is_refused_both_ways(tmp_path: Path) -> None:
    deep = make_encoder(config=CONFIG.model_copy(update={"depth": 3}))
    torch.save(deep.state_dict(), tmp_path / "deep.bin")
    torch.save(make_encoder().state_dict(), tmp_path / "shallow.bin")
    # one pair of blocks of 24 entries each, and one fusion of 2
    assert "50 unknown (blocks_st.2." in error_of(tmp_path / "deep.bin")
    assert "50 missing (blocks_st.2." in error_of(tmp_path / "shallow.bin", deep)


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    state = make_encoder().state_dict()
    state["norm.bias"][0] = torch.nan
    torch.save(state, tmp_path / "nan.bin")
    assert "NaN or infinity in norm.bias" in error_of(tmp_path / "nan.bin")


class _Opener:
    """Opens a file when it is unpickled: what a malicious checkpoint would do."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.path), "w"))


def test_a_file_that_needs_pickle_runs_nothing(tmp_path: Path) -> None:
    torch.save({"model_pos": _Opener(tmp_path / "executed")}, tmp_path / "bad.bin")
    assert "needs pickle is refused" in error_of(tmp_path / "bad.bin")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, torch.zeros(2), [1, 2]])
def test_files_without_a_state_dict_are_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "other.bin")
    error_of(tmp_path / "other.bin")


@pytest.mark.parametrize("name", ["m.bin", "m.pth", "m.safetensors"])
def test_damaged_files_give_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    assert "no such file" in error_of(path)
    state = make_encoder().state_dict()
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    whole = path.read_bytes()
    for damaged in (
        b"",
        b"\x00" * 100,
        b"not weights at all\n" * 9,
        *(whole[: len(whole) * k // 7] for k in range(1, 7)),
    ):
        path.write_bytes(damaged)
        error_of(path)


def test_a_checkpoint_is_read_without_knowing_its_shapes(tmp_path: Path) -> None:
    config = ModelConfig(dim=16, dim_representation=6, depth=3, num_heads=8, mlp_ratio=4.0)
    encoder = make_encoder(num_frames=7, seed=1, config=config)
    torch.save(published_layout(encoder.state_dict()), tmp_path / "best_epoch.bin")
    found = read_motionbert(tmp_path / "best_epoch.bin")
    assert (found.num_frames, found.config.depth, found.config.mlp_ratio) == (7, 3, 4.0)
    keypoints = torch.rand(2, 5, 17, 3)
    torch.testing.assert_close(found.lift_windows(keypoints), encoder.eval().lift_windows(keypoints))


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    torch.save({"model_pos": {"module.some.weight": torch.zeros(2)}}, tmp_path / "other.bin")
    with pytest.raises(UserError, match="neither an export of langpose_dist nor MotionBERT's"):
        read_motionbert(tmp_path / "other.bin")
    with pytest.raises(UserError, match="no such file or run"):
        read_motionbert(tmp_path / "missing.bin")
