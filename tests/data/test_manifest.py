import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from langpose_dist.data.manifest import Manifest
from langpose_dist.data.sample import DataError, Sample, Span
from langpose_dist.datasets.statistics import StatisticsAccumulator


def edit(dataset: Path, **changes: Any) -> None:
    path = dataset / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_counts_and_shards_per_split(dataset: Path) -> None:
    manifest = Manifest.load(dataset)
    assert [(index, shard.name) for index, shard in manifest.shards_of("train")] == [
        (0, "train-000000.tar"),
        (1, "train-000001.tar"),
    ]
    assert manifest.splits["train"].num_frames == 5 + 6 + 7 + 8 + 9 + 10
    assert manifest.label_counts("train") == {"wave left hand": 3, "walk": 3}
    assert manifest.label_counts("validation") == {"wave left hand": 1}
    assert manifest.shards[0].num_samples == 3
    assert manifest.shards[0].num_frames == 5 + 6 + 7
    with pytest.raises(DataError, match="no split 'test'; there are train, validation"):
        manifest.shards_of("test")


def test_statistics_are_those_of_the_pelvis_relative_training_frames(
    dataset: Path, samples: list[Sample]
) -> None:
    frames = np.concatenate([sample.poses_3d.astype(np.float64) for sample in samples[:-1]])
    relative = frames - frames[:, :1]
    statistics = Manifest.load(dataset).statistics
    assert statistics is not None
    assert statistics.num_frames == 45
    np.testing.assert_allclose(statistics.mean, relative.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(statistics.std, relative.std(axis=0), atol=1e-12)
    np.testing.assert_array_equal(statistics.min, relative.min(axis=0))
    np.testing.assert_array_equal(statistics.max, relative.max(axis=0))


def test_no_training_frames_no_statistics() -> None:
    assert StatisticsAccumulator().result() is None


def test_a_missing_manifest_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"does not exist.*langpose data build"):
        Manifest.load(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        Manifest.load(tmp_path / "nowhere")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": "other"}', "[" * 100_000, "\x00\x01"])
def test_what_is_no_manifest_is_refused(dataset: Path, content: str) -> None:
    (dataset / "manifest.json").write_text(content)
    with pytest.raises(DataError, match=r"not JSON|not a manifest"):
        Manifest.load(dataset)


def test_a_newer_version_asks_for_an_upgrade(dataset: Path) -> None:
    edit(dataset, version=2, shards="packed")
    with pytest.raises(DataError, match="version 2, this package reads up to 1; upgrade"):
        Manifest.load(dataset)


def test_a_truncated_manifest_is_refused(dataset: Path) -> None:
    path = dataset / "manifest.json"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="not JSON"):
        Manifest.load(dataset)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"fps": 60.0}, "fingerprint"),
        ({"fps": -1.0}, "fps"),
        ({"unit": "inch"}, "unit"),
        ({"extra": 1}, "extra"),
        ({"statistics": None}, "fingerprint"),
        ({"splits": {}}, "counts per split"),
        ({"shards": []}, "counts per split"),
    ],
)
def test_an_edited_manifest_is_refused_in_one_line(
    dataset: Path, changes: dict[str, Any], problem: str
) -> None:
    edit(dataset, **changes)
    with pytest.raises(DataError, match=problem) as caught:
        Manifest.load(dataset)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["../train-000000.tar", "/etc/passwd.tar", "a/b.tar", "pipe:ls.tar", "x.zip"]
)
def test_a_shard_cannot_lie_outside_the_folder(dataset: Path, name: str) -> None:
    shards = json.loads((dataset / "manifest.json").read_text())["shards"]
    shards[0]["name"] = name
    edit(dataset, shards=shards)
    with pytest.raises(DataError, match=r"shards\.0\.name"):
        Manifest.load(dataset)


def test_the_index_must_be_consistent(dataset: Path) -> None:
    shards = json.loads((dataset / "manifest.json").read_text())["shards"]
    entry = shards[0]["samples"][0]
    for broken, problem in (
        (entry | {"spans": [{"label": "walk", "start": 0, "end": 6}]}, "outside 0..5"),
        (entry | {"members": {}}, r"no poses_3d\.npy"),
        (entry | {"members": {"poses_3d.npy": [10**9, 10]}}, "beyond the shard's end"),
        (entry | {"key": "clip_1"}, "'clip_1' is listed twice"),
    ):
        edit(dataset, shards=[shards[0] | {"samples": [broken, *shards[0]["samples"][1:]]}, *shards[1:]])
        with pytest.raises(DataError, match=problem):
            Manifest.load(dataset)


def test_the_fingerprint_is_of_the_data_and_not_of_how_they_were_made(dataset: Path) -> None:
    manifest = Manifest.load(dataset)
    other = manifest.model_copy(update={"tool_version": "9", "build": {"label": "style"}, "num_ignored": 4})
    assert other.compute_fingerprint() == manifest.fingerprint
    sample = manifest.shards[0].samples[0].model_copy(update={"spans": (Span("run", 0, 5),)})
    shard = manifest.shards[0].model_copy(update={"samples": (sample, *manifest.shards[0].samples[1:])})
    assert manifest.model_copy(update={"shards": (shard,)}).compute_fingerprint() != manifest.fingerprint
