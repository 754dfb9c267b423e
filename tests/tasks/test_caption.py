"""The captioning task: its loss, its evaluation on N ranks, its export and its registered model."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from langpose_dist.batch import WindowBatch
from langpose_dist.config import RunConfig
from langpose_dist.data.corpus import Corpus
from langpose_dist.data.sample import Sample, Span
from langpose_dist.geometry import observe
from langpose_dist.models.captioner import Captioner
from langpose_dist.models.lifter import Lifter
from langpose_dist.models.weights import weights_header, write_weights
from langpose_dist.models.words import UNKNOWN
from langpose_dist.tasks.caption import CaptionTask
from langpose_dist.tasks.exported import load_exported
from langpose_dist.train.distributed.processes import Processes
from langpose_dist.train.evaluate import Evaluator, write_captions
from tests.captions import build_captions, caption_config
from tests.corpus import build_samples, swing

ALONE = Processes(rank=0, world_size=1, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("captions")
    build_captions(folder)
    return folder


def setting(root: Path, **changes: Any) -> tuple[CaptionTask, WindowBatch, Corpus]:
    config = caption_config(root, **changes)
    corpus = CaptionTask.open(config)
    batch = corpus.training_set[[(0, number) for number in range(min(5, len(corpus.training_set)))]]
    assert isinstance(batch, WindowBatch)
    return CaptionTask.build(config, corpus), batch, corpus


def part(batch: WindowBatch, rows: slice) -> WindowBatch:
    cut = batch._map(lambda tensor: tensor[rows])
    texts = {name: getattr(batch, name)[rows] for name in ("keys", "captions", "drawn_captions")}
    return replace(cut, **texts)


def test_each_window_weighs_the_same_however_batches_are_cut(root: Path) -> None:
    task, batch, _ = setting(root)
    together = task.eval()(batch)["loss_caption"]
    apart = torch.cat([task(part(batch, slice(row, row + 1)))["loss_caption"] for row in range(5)])
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-5)


def test_the_loss_is_that_of_the_drawn_caption(root: Path) -> None:
    task, batch, _ = setting(root)
    texts = zip(batch.captions, batch.drawn_captions, strict=True)
    only = replace(batch, captions=tuple((own[place],) for own, place in texts), drawn_captions=(0,) * 5)
    torch.testing.assert_close(task.eval()(batch), task(only))
    others = replace(batch, drawn_captions=tuple(1 - place for place in batch.drawn_captions))
    assert not torch.allclose(task(batch)["loss_caption"], task(others)["loss_caption"])


def test_3d_input_is_relative_to_the_pelvis_and_level(root: Path) -> None:
    task, batch, _ = setting(root, camera={"elevation": [0, 0]})
    motion = task.motion(batch)
    assert (motion[:, :, 0] == 0).all()
    # The standing figure's head is 0.8 m above its pelvis; y points down.
    torch.testing.assert_close(motion[:, :, 10, 1], torch.full((5, 40), -0.8))
    # The camera's turn changes x and z, and no length.
    world = batch.poses_3d[:, :, 14] - batch.poses_3d[:, :, 0]
    torch.testing.assert_close(motion[:, :, 14].norm(dim=-1), world.norm(dim=-1))


def test_2d_input_is_that_of_pretraining_with_a_confidence_of_1(root: Path) -> None:
    task, batch, _ = setting(root, caption={"input": "projected_2d"})
    motion = task.motion(batch)
    expected = observe(batch, task.config.camera, task.config.noise).keypoints_2d
    assert torch.equal(motion, expected)
    assert (motion[..., 2] == 1).all()


def test_words_are_those_of_unmirrored_training_clips(root: Path) -> None:
    task, _, corpus = setting(root, caption={"min_count": 3})
    words = task.model.tokenizer
    # Seven originals: waving with the left and with the right hand twice each, kicking twice, standing once.
    assert words.encode(["left"])[0, 1] == UNKNOWN  # said of two originals, and of two mirrored copies
    assert words.encode(["wave hand person"]).ne(UNKNOWN).all()
    (note,) = CaptionTask.notes(task.config, corpus)
    # Of their 55 words "left" and "someone" are twice there, "stand" twice and "still" once.
    assert note == (
        "8 different captions in training, mirrored motions left out, as caption.text_form=words; 12.7% of "
        "their words are unknown, as caption.min_count=3 says"
    )


def test_models_are_compared_without_label_smoothing(root: Path) -> None:
    plain, batch, _ = setting(root)
    smooth, _, _ = setting(root, caption={"label_smoothing": 0.3})
    smooth.load_state_dict(plain.state_dict())
    with torch.no_grad():
        one, other = (
            {name: column.values for name, column in task.eval().scorer()(batch).columns.items()}
            for task in (plain, smooth)
        )
        assert torch.equal(one["nats_per_word"], other["nats_per_word"])
        assert torch.equal(one["loss_caption"], one["nats_per_word"])
        assert torch.equal(other["loss_caption"], smooth(batch)["loss_caption"])
        assert not torch.allclose(other["loss_caption"], one["loss_caption"])


def test_an_evaluation_writes_each_motion_once_in_the_order_of_the_data(root: Path, tmp_path: Path) -> None:
    task, _, corpus = setting(root, evaluation={"batch_size": 4})  # 6 motions: the last batch has 2 fillers
    evaluation = Evaluator(corpus, task.config, ALONE).run(task)
    assert evaluation.captions is not None
    write_captions(tmp_path / "captions.jsonl", evaluation.captions)
    lines = [json.loads(line) for line in (tmp_path / "captions.jsonl").read_text().splitlines()]
    assert [line["clip"] for line in lines] == [f"validation{number:02d}" for number in range(6)]
    assert lines[3]["frames"] == [0, 23]
    assert lines[2]["references"] == ["someone wave the right hand", "the person wave right hand"]
    assert lines[3]["references"] == ["someone wave the left hand", "the person wave left hand"]
    assert {line["text_form"] for line in lines} == {"words"}
    known = set(json.loads(task.header()["tokenizer"])["model"]["vocab"])
    assert all(set(line["generated"].split()) <= known - {"[pad]", "[sos]", "[unk]"} for line in lines)
    assert Evaluator(corpus, task.config, ALONE).run(task, with_captions=False).captions is None
    assert evaluation.facts["decoding"] == "2 beams, length penalty 0.7, at most 30 words"


def test_a_described_part_of_a_clip_is_named_by_its_frames(tmp_path: Path) -> None:
    captions = (Span("all", 0, 30, words="all/X"), Span("end", 12, 28, words="end/X"))
    build_samples(tmp_path, [Sample("clip", swing(None, 30), (), captions=captions)])
    task, _, corpus = setting(tmp_path)
    found = Evaluator(corpus, task.config, ALONE).run(task).captions or ()
    assert [(one.frames, one.references) for one in found] == [((0, 30), ("all",)), ((12, 28), ("end",))]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"validation_split": "test"}}, "would choose the checkpoint"),
        ({"train": {"zero_stage": 3}}, "use 0, 1 or 2"),
        ({"noise": {"enabled": True}}, "with caption.input=joints_3d set noise.enabled=false"),
        ({"evaluation": {"conditions": ["noisy"]}}, "evaluation.conditions=[clean]"),
    ],
)
def test_options_that_contradict_are_refused(root: Path, changes: dict[str, Any], message: str) -> None:
    config = caption_config(root, **changes)
    (found,) = CaptionTask.problems(config, CaptionTask.open(config))
    assert message in found


def export(task: CaptionTask, path: Path) -> Path:
    header = weights_header(task.header(), task.config, {"fps": "30.0"})
    write_weights(path, task.model.state_dict(), header)
    return path


def test_an_export_answers_in_words_as_the_model_did(root: Path, tmp_path: Path) -> None:
    task, batch, _ = setting(root, camera={"yaw": [0, 0], "elevation": [0, 0]})
    task.eval()
    exported = load_exported(export(task, tmp_path / "model.safetensors"))
    captions = task.scorer()(batch).captions
    assert captions is not None
    expected = [caption.generated for caption in captions()]
    motion = task.motion(batch).numpy()
    for row, length in enumerate(batch.frame_mask.sum(dim=1).tolist()):
        (text,) = exported.predict(motion[row : row + 1, :length])
        assert text == expected[row]
    assert exported.predict(motion).dtype.kind == "U"


def test_a_short_motion_repeats_its_last_frame_as_in_training(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, _, _ = setting(root)
    seen = []

    def generate(self: Captioner, *inputs: torch.Tensor, **search: Any) -> list[str]:
        seen.extend(inputs)
        return ["a person"]

    monkeypatch.setattr(Captioner, "generate", generate)
    motion = np.random.default_rng(0).normal(size=(1, 9, 17, 3)).astype(np.float32)
    CaptionTask.predict(task.model, task.config, motion)
    shown, mask = seen
    np.testing.assert_array_equal(shown, motion[:, [*range(9), *[8] * 31]])
    assert mask.tolist() == [[True] * 9 + [False] * 31]


@pytest.mark.parametrize(
    ("shape", "message"),
    [((1, 41, 17, 3), r"1 to 40 frames"), ((1, 0, 17, 3), r"1 to 40"), ((9, 17, 3), r"\(9, 17, 3\)")],
)
def test_what_is_no_motion_is_refused(root: Path, shape: tuple[int, ...], message: str) -> None:
    task, _, _ = setting(root)
    with pytest.raises(ValueError, match=message):
        CaptionTask.predict(task.model, task.config, np.zeros(shape, np.float32))
    with pytest.raises(ValueError, match="NaN"):
        CaptionTask.predict(task.model, task.config, np.full((1, 4, 17, 3), np.nan, np.float32))


def test_a_captioner_is_counted_before_there_are_words(root: Path) -> None:
    model = CaptionTask.rebuild(caption_config(root), {})
    assert isinstance(model, Captioner)
    assert all(parameter.is_meta for parameter in model.parameters())


def test_weights_without_a_pooling_are_named(root: Path, tmp_path: Path) -> None:
    config: RunConfig = caption_config(root).model_copy(update={"task": "finetune"})
    path = tmp_path / "model.safetensors"
    write_weights(path, Lifter(config).state_dict(), weights_header({}, config, {"fps": "20.0"}))
    task, _, corpus = setting(root, model={"initial_weights": str(path)})
    notes = list(CaptionTask.notes(task.config, corpus))
    assert [note for note in notes if "saw 20 frames per second, the data have 30" in note]
    assert [note for note in notes if "no pose pooling" in note]
