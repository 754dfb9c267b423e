import pytest

from langpose_dist.config import RunConfig, UserError, build_config
from langpose_dist.models.summary import ModelSummary, PartSummary, summarize

FULL = RunConfig()
NO_TEXT = "./no-such-folder"


def part(summary: ModelSummary, name: str) -> PartSummary:
    return next(part for part in summary.parts if part.name == name)


def test_full_size_by_hand() -> None:
    summary = summarize(build_config({"text": {"encoder": NO_TEXT}}))
    rows, dim, frames, joints = 243 * 17, 512, 243, 17
    # Per axis: qkv 3, proj 1, fc1 2 and fc2 2 products of rows x dim x dim; two axes, ten blocks.
    linear = 10 * 2 * (3 + 1 + 2 + 2) * rows * dim * dim
    attention = 10 * 2 * rows * dim * (joints + frames)  # q k^T, and its product with v
    fusion = 5 * 2 * rows * 2 * dim / 2  # one logit per row from each stream
    rest = rows * 3 * dim + rows * dim * dim
    encoder = part(summary, "encoder")
    assert encoder.flops_forward == 2 * (linear + attention + fusion + rest)
    # Backward: two products for each of forward's, but none towards the keypoints.
    assert encoder.flops_step == 3 * encoder.flops_forward - 2 * rows * 3 * dim
    assert encoder.parameters + part(summary, "pose head").parameters == 42_466_317

    head = part(summary, "pose head")
    assert (head.parameters, head.flops_forward) == (512 * 3 + 3, 2 * rows * 512 * 3)
    pooling = part(summary, "pose pooling")
    joint_layer = 512 * 64 + 64 + 2 * 64
    frame_layer = 17 * 64 * 512 + 512 + 2 * 512
    assert pooling.parameters == joint_layer + frame_layer + 512
    products = rows * 512 * 64 + frames * 17 * 64 * 512 + 2 * frames * 512  # with scores and their sum
    assert pooling.flops_forward == 2 * products


def test_total_and_batch_size() -> None:
    content = {"text": {"encoder": NO_TEXT}, "model": {"dim": 64, "depth": 2}}
    one, three = summarize(build_config(content)), summarize(build_config(content), batch_size=3)
    assert three.total.flops_step == 3 * one.total.flops_step
    assert three.total.parameters == one.total.parameters == sum(p.parameters for p in one.parts)
    assert [p.name for p in one.parts] == ["encoder", "pose head", "pose pooling", "text pooling"]
    assert "text encoder not counted" in one.notes[0]


def write_bert(folder: str) -> None:
    from transformers import BertConfig

    BertConfig(
        vocab_size=30, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24
    ).save_pretrained(folder)


@pytest.mark.parametrize("frozen", [True, False])
def test_the_text_encoder_is_counted_from_its_configuration(
    tmp_path_factory: pytest.TempPathFactory, frozen: bool
) -> None:
    folder = str(tmp_path_factory.mktemp("bert"))
    write_bert(folder)
    config = build_config({"text": {"encoder": folder, "frozen": frozen}, "model": {"dim": 32, "depth": 1}})
    text = part(summarize(config), "text encoder")
    embeddings = (30 + 512 + 2) * 16 + 2 * 16
    layer = 4 * (16 * 16 + 16) + (16 * 24 + 24) + (24 * 16 + 16) + 2 * 2 * 16
    assert text.parameters == embeddings + 2 * layer
    assert text.trainable == (0 if frozen else text.parameters)
    rows = 17 * 20  # own label and 16 negatives, 20 tokens each
    forward = 2 * 2 * rows * (4 * 16 * 16 + 2 * 16 * 24 + 2 * 16 * 20)
    assert text.flops_forward == (0 if frozen else forward)
    assert text.flops_step == (0 if frozen else 3 * forward)


def test_a_batch_of_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="batch size 0 must be at least 1"):
        summarize(FULL, batch_size=0)


def test_fine_tuning_has_the_encoder_and_its_head_alone() -> None:
    pretraining, finetuning = summarize(RunConfig()), summarize(RunConfig(task="finetune"))
    assert [part.name for part in finetuning.parts] == ["encoder", "pose head"]
    assert finetuning.parts == pretraining.parts[:2]


def test_a_captioner_is_an_encoder_with_tm2ts_decoder() -> None:
    config = build_config({"task": "caption", "window": {"num_frames": 199}})
    summary = summarize(config)
    assert [row.name for row in summary.parts] == ["encoder", "pose pooling", "decoder"]
    # A layer: two attentions of four products, two of the MLP, three norms, all with biases; then the words.
    layer = 2 * 4 * (512 * 512 + 512) + 2 * 512 * 2048 + 2048 + 512 + 3 * 2 * 512
    assert part(summary, "decoder").trainable == 3 * layer + 1404 * 512
    # Products of each word: of the layers' matrices, but for keys and values of frames.
    words, frames = 21, 199
    matrices = (4 + 2 + 2 * 4) * 512 * 512 * words + 2 * 512 * 512 * frames
    attention = 2 * 512 * words * (words + frames)
    expected = 3 * (matrices + attention) + 1404 * 512 * words
    assert part(summary, "decoder").flops_forward == 2 * expected
