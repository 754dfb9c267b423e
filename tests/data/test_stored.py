"""Stored 2D joints from the reader's sample through the shard and the loader to the model's input."""

from collections.abc import Mapping
from dataclasses import fields, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from langpose_dist.batch import MotionBatch, WindowBatch
from langpose_dist.data.corpus import Corpus
from langpose_dist.data.dataset import Augmentation
from langpose_dist.data.draws import EVALUATION_EPOCH
from langpose_dist.data.loader import load_batches
from langpose_dist.data.manifest import Manifest
from langpose_dist.data.sample import DataError, Sample, encode_sample, recorded_rotation
from langpose_dist.data.streaming import StreamingWindows
from langpose_dist.datasets.build import build_shards
from langpose_dist.datasets.shard_writer import write_manifest
from langpose_dist.geometry import flip_pose, observe
from langpose_dist.skeleton import H36M17
from tests.corpus import FRONT, MadeClip, build_corpus, open_corpus, tiny_config


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus whose clips were seen by a camera."""
    path = tmp_path_factory.mktemp("recorded")
    build_corpus(path, is_recorded=True)
    return path


def load(
    folder: Path, requests: list[tuple[int, int]], augmentation: Augmentation | None = None, **data: Any
) -> tuple[Corpus, WindowBatch]:
    corpus = open_corpus(folder, data=data)
    dataset = corpus.training_set
    if augmentation is not None:
        dataset = corpus.dataset(dataset.windows, augmentation)
    batch = dataset[requests]
    assert isinstance(batch, WindowBatch), batch
    return corpus, batch


def observed(corpus: Corpus, batch: WindowBatch) -> MotionBatch:
    return observe(batch, corpus.config.camera, corpus.config.noise)


def test_the_model_gets_the_joints_of_the_shard_and_the_pose_in_their_cameras_axes(folder: Path) -> None:
    config: Mapping[str, Any] = {"observation": "stored", "flip_probability": 0.0}
    plain = Augmentation(noise=True, masking=False, flip_probability=0.0)
    corpus, batch = load(folder, [(0, number) for number in range(6)], plain, **config)
    seen = observed(corpus, batch)
    for row in range(6):
        window = corpus.training_set.windows[row]
        sample = MadeClip(window.key, window.entry.action, window.entry.num_frames, is_recorded=True).load()
        assert sample.keypoints_2d is not None
        valid = window.stop - window.start
        np.testing.assert_array_equal(
            seen.keypoints_2d[row, :valid], sample.keypoints_2d[window.start : window.stop]
        )
        assert (seen.keypoints_2d[row, valid:] == seen.keypoints_2d[row, valid - 1]).all()
        # World x is right, y forward, z up; in the camera's axes y is down and z forward.
        relative = (sample.poses_3d - sample.poses_3d[:, :1])[window.start : window.stop]
        expected = np.stack((relative[..., 0], -relative[..., 2], relative[..., 1]), axis=-1)
        np.testing.assert_allclose(seen.poses_3d[row, :valid], expected, atol=1e-6)


def test_by_hand(folder: Path) -> None:
    plain = Augmentation(noise=False, masking=False, flip_probability=0.0)
    corpus, batch = load(folder, [(0, 0)], plain, observation="stored")
    seen = observed(corpus, batch)
    wrist = H36M17.index("right_wrist")
    # In the first frame the wrist is at (-0.2, 0, 0.9): 5 m from the camera, 0.1 m below it, focal length 2.
    assert seen.keypoints_2d[0, 0, wrist].tolist() == pytest.approx([-0.08 + 0.01, 0.04, 0.75])
    assert seen.poses_3d[0, 0, wrist].tolist() == pytest.approx([-0.2, 0.0, 0.0], abs=1e-6)


def test_batches_have_the_types_shapes_and_draws_of_the_virtual_cameras(folder: Path) -> None:
    requests = [(epoch, number) for epoch in range(3) for number in range(5)]
    corpus, camera = load(folder, requests, observation="camera")
    _, stored = load(folder, requests, observation="stored")
    for name in ("poses_3d", "frame_mask", "span_mask", "label_candidates", "flip", "joint_mask"):
        assert getattr(camera, name).equal(getattr(stored, name)), name
    assert 0 < stored.flip.sum() < len(requests)
    assert not stored.noise_keyframes.any(), "stored joints get no synthetic error"
    assert not stored.noise_jitter.any()
    one, other = observed(corpus, camera), observed(corpus, stored)
    for field in fields(MotionBatch):
        first, second = getattr(one, field.name), getattr(other, field.name)
        assert (first.dtype, first.shape) == (second.dtype, second.shape), field.name
    assert (other.poses_3d[:, :, 0] == 0).all()
    hidden = stored.joint_mask[..., None].expand_as(other.keypoints_2d)
    assert hidden.any()
    assert not other.keypoints_2d[hidden].any()


def test_a_mirrored_window_has_mirrored_joints(folder: Path) -> None:
    always = Augmentation(noise=False, masking=False, flip_probability=1.0)
    corpus, mirrored = load(folder, [(0, 3)], always, observation="stored")
    plain = replace(mirrored, flip=torch.zeros_like(mirrored.flip))
    seen, expected = observed(corpus, mirrored), observed(corpus, plain)
    assert seen.poses_3d.equal(flip_pose(expected.poses_3d, H36M17))
    assert seen.keypoints_2d.equal(flip_pose(expected.keypoints_2d, H36M17))


def test_clean_and_noisy_are_the_same_stored_input(folder: Path) -> None:
    requests = [(EVALUATION_EPOCH, number) for number in range(8)]
    seen = {}
    for condition in ("clean", "noisy", "masked"):
        augmentation = Augmentation.evaluation(condition)
        seen[condition] = observed(*load(folder, requests, augmentation, observation="stored")).keypoints_2d
    assert seen["clean"].equal(seen["noisy"])
    assert not seen["clean"].equal(seen["masked"])


def test_the_inexact_stream_gives_the_same_windows(folder: Path) -> None:
    dataset = open_corpus(folder, data={"observation": "stored"}).training_set
    stream = StreamingWindows(
        dataset, seed=0, position=0, micro_batch_size=4, shuffle_buffer=8, rank=0, world_size=1
    )
    for batch in islice(load_batches(stream, None, num_workers=0), 3):
        for row, number in enumerate(batch.positions.tolist()):
            exact = dataset[[(0, number)]]
            assert isinstance(exact, WindowBatch)
            for name in ("keypoints_2d", "rotation", "poses_3d"):
                assert getattr(batch, name)[row].equal(getattr(exact, name)[0]), name


def test_clips_without_2d_joints_are_refused_by_name(tmp_path: Path) -> None:
    clips = [MadeClip(f"clip{number}", "kick", 12, is_recorded=number == 2) for number in range(6)]
    pairs = [("train", clip) for clip in clips] + [("validation", replace(clips[2], key="seen"))]
    build_shards(pairs, tmp_path, dataset="made-up", source="memory", fps=30.0, options={}, shard_size=4)
    corpus = Corpus.open(tiny_config(tmp_path, data={"observation": "stored"}))
    with pytest.raises(DataError) as caught:
        corpus.windows("train", stride=4)
    assert str(caught.value) == (
        f"{tmp_path}: data.observation=stored needs each clip's own 2D joints and camera, which 5 of 6 "
        "clips of split 'train' lack (clip0, clip1, clip3, ...); set data.observation=camera, or build data "
        "that have them"
    )
    assert corpus.windows("validation", stride=4), "a split is judged by its own clips"
    assert Corpus.open(tiny_config(tmp_path)).windows("train", stride=4)


def test_a_manifest_without_cameras_asks_for_a_new_build(folder: Path, tmp_path: Path) -> None:
    manifest = build_corpus(tmp_path, is_recorded=True)
    shards = tuple(
        shard.model_copy(
            update={
                "samples": tuple(
                    entry.model_copy(update=dict.fromkeys(entry.groups)) for entry in shard.samples
                )
            }
        )
        for shard in manifest.shards
    )
    write_manifest(manifest.model_copy(update={"version": 1, "shards": shards}), tmp_path)
    assert Manifest.load(tmp_path).version == 1
    corpus = Corpus.open(tiny_config(tmp_path, data={"observation": "stored"}))
    with pytest.raises(DataError, match=r"needs a manifest of version 2, .* build the data again"):
        corpus.windows("train", stride=4)


def test_a_camera_without_a_rotation_is_refused() -> None:
    sample = MadeClip("clip", "kick", 12, is_recorded=True).load()
    np.testing.assert_array_equal(recorded_rotation("clip", sample.meta), np.array(FRONT, np.float32))
    for rotation in (None, [[1.0, 0.0]], "front", [[float("nan")] * 3] * 3, -np.eye(3), 2 * np.eye(3)):
        camera = {"name": "front", "rotation": rotation}
        with pytest.raises(DataError, match="is no rotation matrix; build the data again"):
            encode_sample(Sample("clip", sample.poses_3d, (), {"camera": camera}, sample.keypoints_2d))
    for meta in ({}, {"camera": "front"}, {"camera": {"name": "front"}}):
        with pytest.raises(DataError, match=r"clip: meta\.json has no camera with a rotation"):
            recorded_rotation("clip", meta)
