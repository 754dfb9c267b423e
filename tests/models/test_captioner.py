"""The captioner against slow plain versions of itself."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from langpose_dist.config import RunConfig, UserError
from langpose_dist.models.captioner import Captioner
from langpose_dist.models.langpose import LangPose
from langpose_dist.models.weights import weights_header, write_weights
from langpose_dist.models.words import END, PAD, START, UNKNOWN, WordTokenizer
from tests.captions import caption_config

pytestmark = pytest.mark.filterwarnings("ignore:.*nested tensors:UserWarning")

CAPTIONS = ["a person walks forward", "someone waves", "a person jumps up and down", "he sits"]
WORDS = WordTokenizer.train(CAPTIONS, min_count=1, max_words=20)


def config(**changes: Any) -> RunConfig:
    return caption_config(Path("data"), **changes)


def build(**changes: Any) -> Captioner:
    torch.manual_seed(0)
    return Captioner.build(config(**changes), WORDS).eval()


def motions(count: int = 3) -> tuple[Tensor, Tensor]:
    motion = torch.randn(count, 12, 17, 3, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(count, 12, dtype=torch.bool)
    mask[1, 5:] = False
    return motion, mask


def test_the_decoder_is_the_transformer_of_2017() -> None:
    """Against torch's own layers, with the same weights."""
    model = build(caption={"num_layers": 2})
    state = {name: value.detach() for name, value in model.decoder.named_parameters()}
    dim, heads = 16, 2
    plain = nn.TransformerDecoder(
        nn.TransformerDecoderLayer(dim, heads, 4 * dim, 0.0, "relu", batch_first=True), num_layers=2
    ).eval()
    for number, layer in enumerate(plain.layers):
        place = f"model.decoder.layers.{number}"
        for ours, name in (("self_attn", "self_attn"), ("multihead_attn", "encoder_attn")):
            attention = getattr(layer, ours)
            for kind in ("weight", "bias"):
                parts = [state[f"{place}.{name}.{part}_proj.{kind}"] for part in "qkv"]
                getattr(attention, f"in_proj_{kind}").data = torch.cat(parts)
                getattr(attention.out_proj, kind).data = state[f"{place}.{name}.out_proj.{kind}"]
        pairs = (
            *(("linear1", "fc1"), ("linear2", "fc2"), ("norm1", "self_attn_layer_norm")),
            *(("norm2", "encoder_attn_layer_norm"), ("norm3", "final_layer_norm")),
        )
        for ours, name in pairs:
            for kind in ("weight", "bias"):
                getattr(getattr(layer, ours), kind).data = state[f"{place}.{name}.{kind}"]
    motion, mask = motions()
    ids = WORDS.encode(CAPTIONS[:3])
    with torch.inference_mode():
        memory = model.pose_pooling.frame_features(model.encoder(motion))
        embedding = state["model.shared.weight"]
        length = ids.shape[1] - 1
        x = embedding[ids[:, :-1]] * dim**0.5 + state["model.decoder.embed_positions.weight"][:length]
        causal = nn.Transformer.generate_square_subsequent_mask(length)
        expected = plain(x, memory, tgt_mask=causal, memory_key_padding_mask=~mask) @ embedding.T
        torch.testing.assert_close(model(motion, mask, ids), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("layers", [0, 2])
def test_padded_frames_say_nothing_to_the_decoder(layers: int) -> None:
    model = build(caption={"memory_layers": layers})
    assert len(model.over_frames) == layers
    motion, mask = motions()
    ids = WORDS.encode(CAPTIONS[:3])
    with torch.inference_mode():
        logits = model(motion, mask, ids)
        features = model.pose_pooling.frame_features(model.encoder(motion))
        features[1, 5:] = 100.0
        other = model.next_words(features, mask, ids)
    torch.testing.assert_close(other, logits)


def beam_search(
    model: Captioner, motion: Tensor, mask: Tensor, *, beams: int, penalty: float, limit: int
) -> str:
    """One motion, without a cache: every step computes all words again."""
    alive: list[tuple[float, list[int]]] = [(0.0, [START])]
    finished: list[tuple[float, list[int]]] = []
    for _ in range(limit):
        grown: list[tuple[float, list[int]]] = []
        for total, ids in alive:
            # The last column is dropped by the model, so any number stands there.
            logits = model(motion[None], mask[None], torch.tensor([[*ids, END]]))[0, -1]
            scores = logits.log_softmax(dim=-1)
            scores[[PAD, START, UNKNOWN]] = -torch.inf
            grown += [(total + float(score), [*ids, word]) for word, score in enumerate(scores)]
        grown.sort(key=lambda one: -one[0])
        finished += [
            (total / (len(ids) - 1) ** penalty, ids) for total, ids in grown[:beams] if ids[-1] == END
        ]
        alive = [one for one in grown if one[1][-1] != END][:beams]
        if len(finished) >= beams:
            break
    else:
        finished += [(total / (len(ids) - 1) ** penalty, ids) for total, ids in alive]
    best = max(finished, key=lambda one: one[0])
    return WORDS.decode(torch.tensor([best[1]]))[0]


def trained(steps: int = 60) -> Captioner:
    """A model that ends its sentences."""
    model = build().train()
    motion, mask = motions(4)
    ids = WORDS.encode(CAPTIONS)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 5e-3)
    for _ in range(steps):
        logits = model(motion, mask, ids)
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), ignore_index=PAD)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def test_generation_with_a_cache_is_a_plain_beam_search() -> None:
    for steps in (10, 60):
        model = trained(steps)
        motion, mask = motions(4)
        with torch.inference_mode():
            for beams in (1, 2):
                found = model.generate(motion, mask, num_beams=beams, length_penalty=0.7, max_words=9)
                expected = [
                    beam_search(model, one, own, beams=beams, penalty=0.7, limit=9)
                    for one, own in zip(motion, mask, strict=True)
                ]
                assert found == expected, (steps, beams)
    assert found == CAPTIONS


def test_no_mark_is_ever_said_and_no_caption_is_longer_than_asked() -> None:
    model = build()
    with torch.no_grad():
        model.decoder.final_logits_bias[0, [PAD, START, UNKNOWN]] = 50.0
        model.decoder.final_logits_bias[0, END] = -50.0
    motion, mask = motions()
    for text in model.generate(motion, mask, num_beams=2, length_penalty=0.7, max_words=7):
        assert len(text.split()) == 7


def test_a_file_holds_the_embedding_once_and_gives_a_tied_model_back(tmp_path: Path) -> None:
    model = build()
    save_file(model.state_dict(), tmp_path / "model.safetensors")  # refuses weights of two names
    names = load_file(tmp_path / "model.safetensors").keys()
    assert [name for name in names if "embed_tokens" in name or "lm_head" in name] == []
    with torch.device("meta"):
        loaded = Captioner(config(), WORDS)
    loaded.load_state_dict(load_file(tmp_path / "model.safetensors"), assign=True)
    assert loaded.decoder.lm_head.weight is loaded.decoder.model.shared.weight
    motion, mask = motions()
    ids = WORDS.encode(CAPTIONS[:3])
    assert torch.equal(loaded.eval()(motion, mask, ids), model(motion, mask, ids))


def test_every_trained_weight_takes_part_and_a_frozen_encoder_keeps_its_own() -> None:
    for frozen in (False, True):
        model = build(caption={"frozen": frozen, "memory_layers": 1}).train()
        motion, mask = motions()
        model(motion, mask, WORDS.encode(CAPTIONS[:3])).square().sum().backward()
        trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        with_gradient = {name for name, p in model.named_parameters() if p.grad is not None}
        assert trained == with_gradient
        assert any(name.startswith(("encoder.", "pose_pooling.")) for name in trained) != frozen


def test_fresh_matrices_are_drawn_as_tm2t_draws_them() -> None:
    model = build(caption={"memory_layers": 1})
    for parameter in (*model.over_frames.parameters(), *model.decoder.parameters()):
        if parameter.requires_grad and parameter.ndim == 2:
            bound = (6 / sum(parameter.shape)) ** 0.5  # Xavier, uniform
            assert 0.9 * bound < parameter.abs().max() <= bound


def pretrained(folder: Path, **changes: Any) -> Path:
    torch.manual_seed(7)
    settings = config(model={"embed_dim": 16, **changes}).model_copy(update={"task": "pretrain"})
    model = LangPose(settings, text_dim=8)
    path = folder / "model.safetensors"
    write_weights(path, model.state_dict(), weights_header(model.header(), settings, {}))
    return path


def test_it_begins_with_a_pretrained_encoder_and_its_pooling(tmp_path: Path) -> None:
    path = pretrained(tmp_path)
    state, model = load_file(path), build(model={"initial_weights": str(path)})
    for part in ("encoder", "pose_pooling"):
        for name, value in getattr(model, part).state_dict().items():
            assert torch.equal(value, state[f"{part}.{name}"]), name
    assert not torch.equal(build().encoder.joints_embed.weight, model.encoder.joints_embed.weight)


def test_a_pooling_of_other_widths_is_refused(tmp_path: Path) -> None:
    path = pretrained(tmp_path, pool_dim=6)
    with pytest.raises(
        UserError, match=r"does not fit: .*joints\.0\.weight 6x16 instead of 4x16.*model\.pool_dim"
    ):
        build(model={"initial_weights": str(path)})
