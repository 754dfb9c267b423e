import hashlib
import importlib.util
import json
import logging
import sys
from pathlib import Path

import pytest
import torch

from langpose_dist.config import TextConfig, UserError
from langpose_dist.models import hub
from langpose_dist.models.text import TextBackbone, TextEncoder, load_text_encoder, outline_text_backbone

LABELS = ("walk", "walk slowly forward", "dance")


@pytest.fixture(scope="module")
def tiny(tiny_folder: Path) -> TextEncoder:
    return load_text_encoder(TextConfig(encoder=str(tiny_folder), max_tokens=6))


@pytest.fixture(scope="module")
def offline() -> TextEncoder:
    if importlib.util.find_spec(hub.OFFLINE_PACKAGE) is None:
        pytest.skip("needs the offline-text extra")
    encoder = load_text_encoder(TextConfig())
    assert hub.OFFLINE_PACKAGE not in sys.modules  # its files are used, its code is not
    return encoder


def test_tokens_are_padded_and_cut_to_the_configured_length(tiny: TextEncoder) -> None:
    ids, mask = tiny.tokenize(["walk", "walk slowly forward left", "dance left dance left dance left"])
    # [CLS] 2 ... [SEP] 3, padding 0; cut labels keep their [SEP]
    assert ids.tolist() == [[2, 5, 3, 0, 0, 0], [2, 5, 6, 7, 9, 3], [2, 8, 9, 8, 9, 3]]
    assert mask.tolist() == [[True] * 3 + [False] * 3, [True] * 6, [True] * 6]
    assert ids.dtype == torch.int64


def test_token_features_are_those_of_each_label_alone(tiny: TextEncoder) -> None:
    labels = [*LABELS * 30, "left"]  # more than one batch, with labels of other lengths in each
    features = tiny.token_features(labels)
    assert features.shape == (91, 6, 16)
    assert not features.requires_grad
    model = tiny.backbone.model
    for row, label in enumerate(labels):
        ids, mask = tiny.tokenize([label])
        length = int(mask.sum())
        with torch.no_grad():
            alone = model(input_ids=ids[:, :length]).last_hidden_state[0]
        torch.testing.assert_close(features[row, :length], alone)
        assert (features[row, length:] == 0).all()


def test_sentence_features_are_the_mean_of_the_tokens(tiny: TextEncoder) -> None:
    features = tiny.sentence_features(LABELS)
    assert tiny.dim == features.shape[1] == 16
    tokens = tiny.token_features(LABELS)
    for row, length in enumerate((3, 5, 3)):  # with [CLS] and [SEP]
        mean = sum(tokens[row, i] for i in range(length)) / length
        assert isinstance(mean, torch.Tensor)
        torch.testing.assert_close(features[row], mean / mean.square().sum().sqrt())


def test_no_labels_give_no_features(tiny: TextEncoder) -> None:
    assert tiny.token_features([]).shape == (0, 6, 16)
    assert tiny.sentence_features([]).shape == (0, 16)


def test_features_ignore_and_keep_training_mode(tiny_folder: Path) -> None:
    encoder = load_text_encoder(TextConfig(encoder=str(tiny_folder), frozen=False))
    expected = encoder.token_features(LABELS)
    encoder.backbone.train()
    torch.testing.assert_close(encoder.token_features(LABELS), expected, rtol=0, atol=0)  # no dropout
    assert encoder.backbone.training


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_decides_over_gradients(tiny_folder: Path, frozen: bool) -> None:
    config = TextConfig(encoder=str(tiny_folder), frozen=frozen)
    encoder = load_text_encoder(config)
    assert {p.requires_grad for p in encoder.backbone.parameters()} == {not frozen}
    assert {p.requires_grad for p in outline_text_backbone(config).parameters()} == {not frozen}


def test_every_trained_parameter_gets_a_gradient(tiny_folder: Path) -> None:
    encoder = load_text_encoder(TextConfig(encoder=str(tiny_folder), frozen=False, max_tokens=6))
    encoder.backbone(*encoder.tokenize(LABELS)).square().sum().backward()
    assert [n for n, p in encoder.backbone.named_parameters() if p.grad is None] == []


def test_architecture_rebuilds_the_same_model(tiny: TextEncoder) -> None:
    rebuilt = TextBackbone.from_architecture(tiny.backbone.architecture())
    rebuilt.load_state_dict(tiny.backbone.state_dict())
    ids, mask = tiny.tokenize(LABELS)
    torch.testing.assert_close(rebuilt.eval()(ids, mask), tiny.backbone.eval()(ids, mask), rtol=0, atol=0)


def test_outline_reads_no_weights(tiny_folder: Path, tmp_path: Path, tiny: TextEncoder) -> None:
    (tmp_path / "config.json").write_bytes((tiny_folder / "config.json").read_bytes())
    outline = outline_text_backbone(TextConfig(encoder=str(tmp_path)))
    assert {p.device.type for p in outline.parameters()} == {"meta"}
    expected = {name: p.shape for name, p in tiny.backbone.named_parameters()}
    assert {name: p.shape for name, p in outline.named_parameters()} == expected


def test_loading_is_silent_and_leaves_settings_alone(
    tiny_folder: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    from transformers.utils import logging as transformers_logging

    before = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    with caplog.at_level(logging.WARNING):
        load_text_encoder(TextConfig(encoder=str(tiny_folder)))
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []
    after = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    assert after == before


def error_of(encoder: str) -> str:
    with pytest.raises(UserError) as caught:
        load_text_encoder(TextConfig(encoder=encoder))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_missing_folder_is_called_so(tmp_path: Path) -> None:
    assert error_of(str(tmp_path / "nowhere")).endswith("no such folder")
    assert error_of("./nowhere").endswith("no such folder")


def test_a_folder_without_a_model_is_called_so(tmp_path: Path) -> None:
    assert "no config.json" in error_of(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", b"{"),
        ("config.json", b'{"model_type": "nonesuch"}'),
        ("model.safetensors", b""),
        ("model.safetensors", b"garbage" * 10),
        ("tokenizer.json", b"{"),
    ],
)
def test_damaged_files_give_one_line(tiny_folder: Path, tmp_path: Path, name: str, content: bytes) -> None:
    for file in tiny_folder.iterdir():
        (tmp_path / file.name).write_bytes(content if file.name == name else file.read_bytes())
    assert f"text.encoder={str(tmp_path)!r} cannot be loaded: " in error_of(str(tmp_path))


def test_pickled_weights_are_not_read(tiny_folder: Path, tmp_path: Path) -> None:
    for file in tiny_folder.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    assert "safetensors" in error_of(str(tmp_path))


def test_missing_weights_are_not_replaced_by_random_ones(tiny_folder: Path, tmp_path: Path) -> None:
    for file in tiny_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    assert "16 weights are missing from its file, the first is encoder.layer.2." in error_of(str(tmp_path))


def test_a_hub_name_out_of_reach_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: list[object] = []

    def unreachable(*names: object, **_: object) -> None:
        asked.extend(names)
        raise OSError("Name or service not known")

    monkeypatch.setattr(huggingface_hub, "model_info", unreachable)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    message = error_of("nobody/never-was")
    assert len(asked) == 1  # nobody waits while it is tried again
    assert "not on this machine" in message
    assert "does not give it (Name or service not known)" in message


def test_the_offline_package_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "OFFLINE_PACKAGE", "no_such_package")
    assert "install langpose-dist[offline-text]" in error_of("offline")


def test_changed_offline_weights_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "altered_package"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('must not be imported')")
    (package / "model" / "model.safetensors").write_bytes(b"altered")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(hub, "OFFLINE_PACKAGE", "altered_package")
    digest = hashlib.sha256(b"altered").hexdigest()
    assert f"has SHA-256 {digest[:12]}..., expected 53aa51172d14..." in error_of("offline")


def test_offline_default_knows_that_walking_is_closer_to_walking(offline: TextEncoder) -> None:
    features = offline.sentence_features(["walk", "walk slowly forward", "a person dances", "dancing"])
    cosine = features @ features.T
    assert cosine[0, 1] > cosine[0, 2] + 0.2
    assert cosine[2, 3] > cosine[1, 3] + 0.2
    assert offline.dim == 384
