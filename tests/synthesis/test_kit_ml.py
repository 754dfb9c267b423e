"""Synthetic KIT-ML, read back by the project's own reader."""

from pathlib import Path

import numpy as np
import pytest
import torch

from langpose_dist.datasets.humanml3d.clips import find_clips
from langpose_dist.geometry import flip_pose
from langpose_dist.skeleton import H36M17
from langpose_dist.synthesis.body import pose_keypoints
from langpose_dist.synthesis.kit_ml import tag_words, write_kit_ml
from langpose_dist.synthesis.recordings import draw_recording

HOURS = 0.025


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kit") / "made"
    write_kit_ml(folder, hours=HOURS, seed=1)
    return folder


def test_the_reader_gives_the_performers_joints_back(folder: Path) -> None:
    clips = {clip.key: clip for clip in find_clips(folder, fps=12.5, dataset="kit-ml").clips}
    recording = draw_recording(1, 3, 2)
    poses, trans = recording.sequence.sample(12.5)
    expected = pose_keypoints(recording.gender, recording.betas, poses, trans)
    found = clips["00003"].load().poses_3d
    np.testing.assert_allclose(found - found[:, :1], expected - expected[:, :1], atol=1e-5)
    np.testing.assert_allclose(np.ptp(found[:, 0], axis=0), np.ptp(expected[:, 0], axis=0), atol=1e-5)


def test_mirror_images_show_and_say_the_other_side(folder: Path) -> None:
    clips = {clip.key: clip for clip in find_clips(folder, fps=12.5, dataset="kit-ml").clips}
    one, other = (clips[key].load() for key in ("00003", "M00003"))
    assert (one.meta["mirrored"], other.meta["mirrored"]) == ("no", "yes")
    flipped = flip_pose(torch.from_numpy(one.poses_3d)[None], H36M17)[0].numpy()
    np.testing.assert_allclose(other.poses_3d, flipped, atol=1e-5)
    exchange = {"left": "right", "right": "left"}
    for mine, theirs in zip(one.captions, other.captions, strict=True):
        words = [exchange.get(word, word) for word in mine.label.split()]
        assert theirs.label.split() == words


def test_every_clip_has_two_to_four_captions_and_the_split_of_its_mirror_image(folder: Path) -> None:
    found = find_clips(folder, fps=12.5, dataset="kit-ml")
    assert found.skipped == ()
    samples = [clip.load() for clip in found.clips]
    assert all(2 <= len(sample.captions) <= 4 for sample in samples)
    assert all(sample.spans == () and sample.left_out == () for sample in samples)
    splits = {clip.key: clip.split for clip in found.clips}
    assert set(splits.values()) == {"train", "validation"}
    originals = [key for key in splits if not key.startswith("M")]
    assert all(splits[f"M{key}"] == splits[key] for key in originals)
    texts = [caption.label for sample in samples for caption in sample.captions]
    assert len(set(texts)) < len(texts)  # some describe several clips


def test_words_are_lemmas_with_their_kinds() -> None:
    caption = "a person touches the toes and then is hopping on left foot"
    assert " ".join(map("/".join, tag_words(caption))) == (
        "a/DET person/NOUN touch/VERB the/DET toe/NOUN and/CCONJ then/ADV is/AUX hop/VERB on/ADP left/ADJ "
        "foot/NOUN"
    )


def test_equal_seeds_give_equal_bytes(folder: Path, tmp_path: Path) -> None:
    write_kit_ml(tmp_path / "again", hours=HOURS, seed=1)
    write_kit_ml(tmp_path / "other", hours=HOURS, seed=2)
    again, made, other = (
        {path.relative_to(place): path.read_bytes() for path in place.rglob("*") if path.is_file()}
        for place in (tmp_path / "again", folder, tmp_path / "other")
    )
    assert again == made
    assert other != made
