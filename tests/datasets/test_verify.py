"""Every kind of damage, with the manifest as it was and with a manifest that was written anew for it."""

import io
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from langpose_dist.data.manifest import Manifest
from langpose_dist.data.sample import Sample, encode_sample
from langpose_dist.data.shards import tar_members
from langpose_dist.datasets.shard_writer import write_manifest
from langpose_dist.datasets.verify import verify
from langpose_dist.host.atomic import hash_file
from tests.made import write_dataset


def problems(dataset: Path) -> list[str]:
    return verify(dataset, train_split="train")


def shard(dataset: Path) -> Path:
    return dataset / "train-000000.tar"


def rewrite_tar(path: Path, changes: dict[str, bytes | None]) -> None:
    """Replace, add (bytes) or drop (None) members."""
    with tarfile.open(path) as tar:
        content: dict[str, bytes | None] = {}
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            content[member.name] = file.read()
    with tarfile.open(path, "w") as tar:
        for name, data in sorted((content | changes).items()):
            if data is not None:
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def sign(dataset: Path, **changes: object) -> None:
    """A manifest for the first shard as it is now: right hash, size, index and fingerprint."""
    manifest = Manifest.load(dataset)
    path = shard(dataset)
    places = tar_members(path)
    samples = tuple(
        entry.model_copy(update={"members": places.get(entry.key, entry.members)})
        for entry in manifest.shards[0].samples
    )
    first = manifest.shards[0].model_copy(
        update={"sha256": hash_file(path), "num_bytes": path.stat().st_size, "samples": samples}
    )
    manifest = manifest.model_copy(update={"shards": (first, *manifest.shards[1:]), **changes})
    write_manifest(manifest.model_copy(update={"fingerprint": manifest.compute_fingerprint()}), dataset)


def test_a_whole_data_set_has_no_problem(dataset: Path) -> None:
    assert problems(dataset) == []


def test_one_flipped_byte_is_found(dataset: Path) -> None:
    content = bytearray(shard(dataset).read_bytes())
    offset, size = Manifest.load(dataset).shards[0].samples[1].poses
    content[offset + size - 1] ^= 1
    shard(dataset).write_bytes(content)
    (problem,) = problems(dataset)
    assert "train-000000.tar is damaged: its SHA-256 is not the manifest's" in problem


def test_cut_short_in_a_member_or_between_members(dataset: Path) -> None:
    whole = shard(dataset).read_bytes()
    offset, _ = Manifest.load(dataset).shards[0].samples[1].members["labels.json"]
    for length in (offset - 512, offset + 100, 1, 0):  # the header of a member lies 512 bytes before it
        shard(dataset).write_bytes(whole[:length])
        (problem,) = problems(dataset)
        assert f"has {length} bytes, the manifest says {len(whole)}" in problem


def test_all_zero(dataset: Path) -> None:
    shard(dataset).write_bytes(bytes(shard(dataset).stat().st_size))
    assert len(problems(dataset)) == 1
    sign(dataset)
    assert (
        problems(dataset)[-1] == "train-000000.tar: the tar reader finds other clips than the manifest lists"
    )


def test_missing_and_extra_shards(dataset: Path) -> None:
    shard(dataset).rename(dataset / "train-000009.tar")
    (dataset / "train-000010.tar.partial").touch()
    assert problems(dataset) == [
        "train-000009.tar is not listed in the manifest; remove it",
        "train-000010.tar.partial is not listed in the manifest; remove it",
        "train-000000.tar is missing; build or copy it again",
    ]


def test_an_edited_manifest(dataset: Path) -> None:
    path = dataset / "manifest.json"
    path.write_text(
        path.read_text().replace('"wave left hand", "start": 0, "end": 5', '"run", "start": 0, "end": 5')
    )
    (problem,) = problems(dataset)
    assert "manifest.json" in problem
    path.unlink()
    (problem,) = problems(dataset)
    assert "does not exist" in problem


def test_every_problem_has_its_line(dataset: Path) -> None:
    for name in ("train-000000.tar", "train-000001.tar", "validation-000000.tar"):
        (dataset / name).write_bytes(b"")
    assert [problem.split()[0] for problem in problems(dataset)] == [
        "train-000000.tar",
        "train-000001.tar",
        "validation-000000.tar",
    ]


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return open, (str(self.path), "w")


def test_a_pickle_is_reported_and_never_decoded(dataset: Path, tmp_path: Path) -> None:
    import pickle

    trap = pickle.dumps(Trap(tmp_path / "sprung")).ljust(9999)
    rewrite_tar(shard(dataset), {"clip_0.extra.pkl": trap, "clip_1.__code__.pyd": trap})
    assert len(problems(dataset)) == 1  # the size
    manifest = Manifest.load(dataset)
    sign(dataset)
    found = problems(dataset)
    assert "train-000000.tar: clip_0 has a foreign member 'extra.pkl'; it is never decoded" in found
    assert "train-000000.tar: clip_1 has a foreign member '__code__.pyd'; it is never decoded" in found
    assert not (tmp_path / "sprung").exists()
    # In place of the poses it is refused too.
    write_manifest(manifest, dataset)
    rewrite_tar(
        shard(dataset),
        {"clip_0.extra.pkl": None, "clip_1.__code__.pyd": None, "clip_0.poses_3d.npy": trap.ljust(9999)},
    )
    sign(dataset)
    assert any(
        "clip_0: poses_3d.npy does not begin with an npy header" in problem for problem in problems(dataset)
    )
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"clip_1.labels.json": b"[]"}, "clip_1: labels.json and the manifest disagree"),
        ({"clip_1.meta.json": b'{"dataset": "made", "fps": 60.0}'}, "clip_1: 60.0 frames per second"),
        ({"clip_1.meta.json": b'{"dataset": "x", "fps": 30.0}'}, "clip_1: data set 'x'"),
        (
            {"clip_1.meta.json": b'{"dataset": "made", "fps": 30.0, "action": "sleeping"}'},
            "clip_1: action is 'sleeping' in meta.json, the manifest says 'jogging'",
        ),
        (
            {"clip_1.meta.json": b'{"dataset": "made", "fps": 30.0}'},
            "clip_1: valid_frames is None in meta.json, the manifest says ((0, 2), (3, 5))",
        ),
        ({"clip_1.meta.json": b"{"}, "clip_1: meta.json is not JSON"),
        ({"clip_1.meta.json": None}, "clip_1 lies elsewhere"),
        ({"clip_9.meta.json": b"{}"}, "clip_9 is not listed in the manifest"),
        ({"clip_1.labels.json": None, "clip_1.meta.json": None, "clip_1.poses_3d.npy": None}, "other clips"),
    ],
)
def test_a_manifest_that_fits_the_file_but_not_its_content(
    dataset: Path, changes: dict[str, bytes | None], problem: str
) -> None:
    rewrite_tar(shard(dataset), changes)
    sign(dataset)
    assert any(problem in found for found in problems(dataset))


def test_other_poses_change_the_statistics(dataset: Path, samples: list[Sample]) -> None:
    moved = Sample("clip_0", samples[0].poses_3d * np.float32(1.01), samples[0].spans, samples[0].meta)
    rewrite_tar(shard(dataset), {"clip_0.poses_3d.npy": encode_sample(moved)["poses_3d.npy"]})
    sign(dataset)
    assert problems(dataset) == ["manifest.json: the statistics are not those of the train split's frames"]
    sign(dataset, statistics=None)
    assert problems(dataset) == ["manifest.json: the statistics are not those of the train split's frames"]


def test_poses_of_another_length(dataset: Path, samples: list[Sample]) -> None:
    longer = Sample("clip_0", samples[3].poses_3d, samples[0].spans, samples[0].meta)
    rewrite_tar(shard(dataset), {"clip_0.poses_3d.npy": encode_sample(longer)["poses_3d.npy"]})
    sign(dataset)
    assert any("clip_0: 8 frames, the manifest says 5" in found for found in problems(dataset))


def test_an_index_that_leads_elsewhere(dataset: Path) -> None:
    sign(dataset)  # the same
    assert problems(dataset) == []
    manifest = Manifest.load(dataset)
    first, second, third = manifest.shards[0].samples
    swapped = first.model_copy(update={"members": third.members | {"poses_3d.npy": first.poses}})
    entry = manifest.shards[0].model_copy(update={"samples": (swapped, second, third)})
    manifest = manifest.model_copy(update={"shards": (entry, *manifest.shards[1:])})
    write_manifest(manifest.model_copy(update={"fingerprint": manifest.compute_fingerprint()}), dataset)
    assert problems(dataset) == ["train-000000.tar: clip_0 lies elsewhere than the manifest says"]


def test_data_with_2d_joints_have_no_problem_until_one_changes(tmp_path: Path, samples: list[Sample]) -> None:
    keypoints = np.full((5, 17, 3), 0.5, np.float32)
    seen = [replace(samples[0], keypoints_2d=keypoints), *samples[1:]]
    manifest = write_dataset(tmp_path, seen)
    assert problems(tmp_path) == []
    first, *others = manifest.shards[0].samples
    members = dict(first.members)
    del members["keypoints_2d.npy"]
    entry = manifest.shards[0].model_copy(
        update={"samples": (first.model_copy(update={"members": members}), *others)}
    )
    manifest = manifest.model_copy(update={"shards": (entry, *manifest.shards[1:])})
    write_manifest(manifest.model_copy(update={"fingerprint": manifest.compute_fingerprint()}), tmp_path)
    assert problems(tmp_path) == ["train-000000.tar: clip_0 lies elsewhere than the manifest says"]


def test_a_joint_that_never_moves_does_not_trouble_the_statistics(tmp_path: Path) -> None:
    poses = np.broadcast_to(np.linspace(0.1, 1.3, 51).reshape(17, 3), (200, 17, 3)).astype(np.float32)
    noise = np.random.default_rng(0).normal(size=(7, 1, 1, 3)).astype(np.float32)
    write_dataset(
        tmp_path,
        [
            Sample(f"clip_{number}", poses + noise[number], (), {"dataset": "made", "fps": 30.0})
            for number in range(7)
        ],
    )
    assert problems(tmp_path) == []
