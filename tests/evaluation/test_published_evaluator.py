import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from langpose_dist.config import CaptionConfig, RunConfig, UserError
from langpose_dist.data.manifest import Manifest
from langpose_dist.evaluation.caption_evaluator import CaptionedClip
from langpose_dist.evaluation.published_evaluator import KINDS, PublishedEvaluator
from tests.captions import build_captions, caption_config
from tests.guo import LENGTHS, write_dataset, write_files


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    write_files(folder)
    return folder


@pytest.fixture(scope="module")
def evaluator(files: Path, tmp_path_factory: pytest.TempPathFactory) -> PublishedEvaluator:
    dataset = tmp_path_factory.mktemp("kit")
    write_dataset(dataset)
    return PublishedEvaluator.load(files, dataset)


def clip_of(key: str, start: int = 0, stop: int | None = None) -> CaptionedClip:
    stop = LENGTHS[key] if stop is None else stop
    motion = np.zeros((1, 102), np.float32)
    return CaptionedClip(key, key, (start, stop), motion, ("x",))


CLIPS = [clip_of("00001"), clip_of("00002"), clip_of("00003", 20, 60)]
CAPTIONS = ["a person walk", "a person slowly cartwheel", f"{'a person then ' * 7}walk"]


def test_distances_are_those_of_tm2ts_evaluation(evaluator: PublishedEvaluator) -> None:
    # From TM2T (https://github.com/EricGuo5513/TM2T, a8adb6f), run on these files: its Motion2TextEvalDataset
    # with each motion's last caption, WordVectorizerV2, EvaluatorModelWrapper and euclidean_distance_matrix.
    # 230 frames are cut to 196, 20 words to 20, a part of a motion is taken and a word is unknown.
    found = torch.cdist(evaluator.embed_motions(CLIPS), evaluator.embed_texts(CAPTIONS))
    expected = [
        [5.84348738, 5.85653771, 5.80975041],
        [5.86914411, 5.92935768, 5.84675116],
        [5.84056707, 5.85813981, 5.79525902],
    ]
    np.testing.assert_allclose(found.numpy(), expected, rtol=3e-6)


def test_hits_count_the_nearest_captions_and_ties_against_the_motion(evaluator: PublishedEvaluator) -> None:
    # By the distances above the third caption is the nearest of all three motions, then the first.
    clips = [*CLIPS, *(clip_of("00002", start, start + 20) for start in range(29))]
    hits = evaluator.hits(clips, [*CAPTIONS, *[CAPTIONS[1]] * 29], top=3)
    assert hits[:3].tolist() == [[0, 1, 1], [0, 0, 0], [1, 1, 1]]
    assert hits[3:].max() == 0
    assert evaluator.hits(clips, ["a person walk"] * 32).max() == 0


def kinds_of(evaluator: PublishedEvaluator, words: str) -> list[str]:
    vocabulary = evaluator.vocabulary
    return [KINDS[int(vocabulary.kinds[row].argmax())] for row in vocabulary.rows(words)[1:-1]]


def test_words_get_a_published_kind_or_their_most_frequent_one(
    files: Path, evaluator: PublishedEvaluator, tmp_path: Path
) -> None:
    assert kinds_of(evaluator, "walk slowly up") == ["Act_VIP", "Desc_VIP", "Loc_VIP"]
    assert kinds_of(evaluator, "a person unk cartwheel") == ["DET", "NOUN", "OTHER", "OTHER"]
    write_dataset(tmp_path)
    texts = "x#then/NOUN then/NOUN person/PROPN#0.0#0.0\nx#then/ADV person/PROPN person/PROPN#0.0#0.0\n"
    for path in (tmp_path / "texts").iterdir():
        path.write_text(texts)
    assert kinds_of(PublishedEvaluator.load(files, tmp_path), "then person") == ["NOUN", "OTHER"]


def test_facts_name_the_data_and_what_differs(evaluator: PublishedEvaluator) -> None:
    assert evaluator.facts["dataset"] == "kit-ml"
    assert evaluator.facts["text_form"] == "words"
    assert "not spaCy" in evaluator.facts["kinds_of_words"]
    assert len(evaluator.facts["fingerprint"]) == len(evaluator.sha256) == 64


def test_frames_are_counted_at_the_rate_of_the_shards(evaluator: PublishedEvaluator, tmp_path: Path) -> None:
    build_captions(tmp_path)
    assert evaluator.for_data(caption_config(tmp_path)).fps == Manifest.load(tmp_path).fps != evaluator.fps
    fast = replace(evaluator, fps=50.0)
    found = fast.read_motion("00003", (80, 241))
    np.testing.assert_array_equal(found, evaluator.read_motion("00003", (20, 60)))


def test_clips_of_another_name_or_too_few_frames_or_raw_text_are_refused(
    evaluator: PublishedEvaluator,
) -> None:
    with pytest.raises(UserError, match=r"00009.npy cannot be read: No such file"):
        evaluator.embed_motions([clip_of("00009", 0, 30)])
    with pytest.raises(UserError, match=r"2 frames from 48 to 60, the evaluator needs 4"):
        evaluator.embed_motions([clip_of("00002", 48, 60)])
    raw = RunConfig(caption=CaptionConfig(text_form="raw"))
    with pytest.raises(
        UserError, match=r"the model writes raw captions; train one with caption.text_form=words"
    ):
        evaluator.for_data(raw)


def remove_vocabulary(files: Path, _: Path) -> None:
    (files / "our_vab_idx.pkl").unlink()


def take_another_vocabulary(files: Path, _: Path) -> None:
    (files / "our_vab_words.pkl").write_bytes(pickle.dumps(["other"]))


def take_statistics_of_humanml3d(files: Path, _: Path) -> None:
    np.save(files / "mean.npy", np.zeros(263))


def take_motions_of_humanml3d(_: Path, dataset: Path) -> None:
    for name in LENGTHS:
        np.save(dataset / "new_joint_vecs" / f"{name}.npy", np.zeros((9, 263)))


def remove_motions(_: Path, dataset: Path) -> None:
    shutil.rmtree(dataset / "new_joint_vecs")


def remove_texts(_: Path, dataset: Path) -> None:
    shutil.rmtree(dataset / "texts")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (remove_vocabulary, r"has no our_vab_idx.pkl, .*: see https://github.com/EricGuo5513/text-to-motion"),
        (take_another_vocabulary, "our_vab_idx.pkl are of different vocabularies"),
        (take_statistics_of_humanml3d, r"mean.npy has shape \(263,\), the published evaluator needs 251"),
        (take_motions_of_humanml3d, r".npy has shape \(9, 263\), the published evaluator needs 251"),
        (remove_motions, "has no new_joint_vecs"),
        (remove_texts, r"has no \*.txt with processed words"),
    ],
)
def test_files_of_something_else_are_named(
    spoil: Callable[[Path, Path], None], message: str, files: Path, tmp_path: Path
) -> None:
    (tmp_path / "files").mkdir()
    for path in files.iterdir():
        if path.suffix == ".tar":
            (tmp_path / "files" / path.name).symlink_to(path)
        else:
            shutil.copy(path, tmp_path / "files")
    write_dataset(tmp_path / "data")
    spoil(tmp_path / "files", tmp_path / "data")
    with pytest.raises(UserError, match=message):
        PublishedEvaluator.load(tmp_path / "files", tmp_path / "data")
