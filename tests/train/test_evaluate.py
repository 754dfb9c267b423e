"""The evaluator against plain loops over the same windows."""

from pathlib import Path

import numpy as np
import pytest
import torch

from langpose_dist.batch import WindowBatch
from langpose_dist.data.corpus import Corpus
from langpose_dist.data.dataset import Augmentation
from langpose_dist.data.draws import EVALUATION_EPOCH
from langpose_dist.datasets.build import build_shards
from langpose_dist.geometry import observe
from langpose_dist.models.langpose import LangPose
from langpose_dist.models.text import load_text_encoder
from langpose_dist.tasks.labels import LabelTable
from langpose_dist.tasks.pretrain import PretrainTask
from langpose_dist.train.distributed.processes import Processes
from langpose_dist.train.evaluate import Evaluation, Evaluator
from tests.corpus import MadeClip, open_corpus, tiny_config

ALONE = Processes(rank=0, world_size=1, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return open_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def task(corpus: Corpus) -> PretrainTask:
    return PretrainTask.build(corpus.config, corpus)


@pytest.fixture(scope="module")
def evaluation(corpus: Corpus, task: PretrainTask) -> Evaluation:
    return Evaluator(corpus, corpus.config, ALONE).run(task)


def observed(corpus: Corpus, split: str, augmentation: Augmentation):
    """Window by window: what the model sees, and the window."""
    dataset = corpus.dataset(corpus.windows(split, stride=9), augmentation)
    for number in range(len(dataset)):
        window = dataset[[(EVALUATION_EPOCH, number)]]
        assert isinstance(window, WindowBatch)
        yield window, observe(window, corpus.config.camera, corpus.config.noise)


@pytest.mark.parametrize("condition", ["clean", "noisy", "masked"])
def test_mpjpe_is_the_mean_over_all_valid_frames(
    corpus: Corpus, task: PretrainTask, evaluation: Evaluation, condition: str
) -> None:
    task.eval()
    errors = []
    for _, batch in observed(corpus, "validation", Augmentation.evaluation(condition)):
        with torch.no_grad():
            predicted = task.model(batch.keypoints_2d, batch.span_mask).poses_3d
        for frame in np.flatnonzero(batch.frame_mask[0]):
            difference = predicted[0, frame].numpy() - batch.poses_3d[0, frame].numpy()
            errors.append(np.sqrt((difference**2).sum(axis=-1)).mean())
    assert len(errors) == evaluation.num_frames
    assert evaluation.conditions[condition]["mpjpe_mm"] == pytest.approx(1000 * np.mean(errors), rel=1e-4)


def test_the_mean_pose_is_that_of_the_training_targets(corpus: Corpus, evaluation: Evaluation) -> None:
    mirrored = Augmentation(noise=False, masking=False, flip_probability=0.5)
    targets = np.concatenate(
        [batch.poses_3d[batch.frame_mask].numpy() for _, batch in observed(corpus, "train", mirrored)]
    )
    errors = [
        np.linalg.norm(targets.mean(axis=0) - pose, axis=-1).mean()
        for _, batch in observed(corpus, "validation", Augmentation.evaluation("clean"))
        for pose in batch.poses_3d[batch.frame_mask].numpy()
    ]
    assert evaluation.baselines["mean_pose"]["mpjpe_mm"] == pytest.approx(1000 * np.mean(errors), rel=1e-4)


def test_retrieval_counts_labelled_windows_among_all_labels(
    corpus: Corpus, task: PretrainTask, evaluation: Evaluation
) -> None:
    task.eval()
    ranks = []
    with torch.no_grad():
        texts = task.text_features().numpy()
        for window, batch in observed(corpus, "validation", Augmentation.evaluation("clean")):
            own = int(window.label_candidates[0, 0])
            if own < 0:
                continue
            motion = task.model(batch.keypoints_2d, batch.span_mask).motion_features
            assert motion is not None
            likeness = texts @ motion[0].numpy()
            ranks.append(1 + int((likeness > likeness[own]).sum()))
    found = evaluation.conditions["clean"]
    assert evaluation.facts["num_labelled_windows"] == len(ranks) < evaluation.num_windows
    assert evaluation.facts["num_labels"] == len(corpus.vocabulary) == 4
    assert found["r_at_1"] == pytest.approx(np.mean(np.array(ranks) <= 1))
    assert (found["any_r_at_1"], found["any_r_at_3"]) == (found["r_at_1"], found["r_at_3"])
    assert found["r_at_3"] == pytest.approx(np.mean(np.array(ranks) <= 3))
    assert found["median_rank"] == pytest.approx(np.median(ranks))
    frequent = corpus.vocabulary.labels[int(np.argmax(corpus.vocabulary.counts))]
    windows = [w.spans[0].label for w in corpus.windows("validation", stride=9) if w.spans]
    share = windows.count(frequent) / len(windows)
    assert 0 < share < 1
    assert evaluation.baselines["chance"] == pytest.approx(
        {
            "r_at_1": 0.25,
            "any_r_at_1": 0.25,
            "r_at_3": 0.75,
            "any_r_at_3": 0.75,
            "median_rank": 2.5,
            "most_frequent_r_at_1": share,
        }
    )


def test_conditions_differ_and_the_report_carries_its_origin(evaluation: Evaluation) -> None:
    values = {name: found["mpjpe_mm"] for name, found in evaluation.conditions.items()}
    assert len(set(values.values())) == 3
    report = evaluation.report(commit="abc")
    assert report["commit"] == "abc"
    assert "mpjpe_mm" in report["protocol"]
    assert report["source_2d"].startswith("synthetic")
    assert evaluation.metrics()["validation/clean/mpjpe_mm"] == values["clean"]


def test_without_a_contrastive_term_there_is_no_retrieval(tmp_path: Path) -> None:
    corpus = open_corpus(tmp_path, loss={"contrastive": "none"}, evaluation={"max_windows": 3})
    task = PretrainTask.build(corpus.config, corpus)
    evaluation = Evaluator(corpus, corpus.config, ALONE).run(task)
    assert evaluation.num_windows == 3
    assert not {"r_at_1", "loss_con"} & set(evaluation.conditions["clean"])


def test_data_without_labels_and_training_split_is_evaluated(tmp_path: Path) -> None:
    clips = [("validation", MadeClip(f"clip{number}", None, 12)) for number in range(3)]
    build_shards(clips, tmp_path, dataset="x", source="x", fps=30.0, options={}, shard_size=4)
    config = tiny_config(tmp_path, loss={"contrastive": "none"})
    corpus = Corpus.open(config)
    encoder = load_text_encoder(config.text)
    labels = LabelTable.compute(encoder, ("walk",), frozen=True)
    task = PretrainTask(LangPose.build(config, encoder.dim), labels, corpus.vocabulary, config, 30.0)
    evaluation = Evaluator(corpus, config, ALONE).run(task)
    assert evaluation.conditions["clean"]["mpjpe_mm"] > 0
    assert "mean_pose" not in evaluation.baselines
    assert not evaluation.baselines.get("chance")


def test_evaluating_leaves_the_task_in_its_mode(corpus: Corpus, task: PretrainTask) -> None:
    for mode in (True, False):
        task.train(mode)
        Evaluator(corpus, corpus.config, ALONE).run(task)
        assert task.training is mode
