import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from langpose_dist.data.manifest import GROUPS, Manifest, groups_of
from langpose_dist.data.sample import DataError, Sample, Span
from langpose_dist.data.windows import cut_windows
from langpose_dist.datasets.statistics import StatisticsAccumulator
from tests.made import write_dataset


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


def test_spellings_of_a_label_are_counted_together_and_unseen_ones_not_at_all(
    tmp_path: Path, samples: list[Sample]
) -> None:
    # Shards of old builds hold labels as they came.
    labels = ["Walk", "walk ", "wa\u00adlk", "\u200b", "run", " "]
    spelled = [
        replace(sample, spans=(Span(label, 0, 5),))
        for sample, label in zip(samples, [*labels, "\ufeff"], strict=True)
    ]
    manifest = write_dataset(tmp_path, spelled)
    assert manifest.label_counts("train") == {"run": 1, "walk": 3}
    assert manifest.label_counts("validation") == {}


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
    edit(dataset, version=3, shards="packed")
    with pytest.raises(DataError, match="version 3, this package reads up to 2; upgrade"):
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
        ({"tool_version": "9"}, "checksum"),
        ({"checksum": None}, "checksum"),
        ({"version": 1}, "version 1 has no fields to group by"),
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
        (entry | {"members": {"poses_3d.npy": [10**9, 5 * 17 * 12]}}, "beyond the shard's end"),
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


def as_version_1(dataset: Path) -> None:
    """Rewrite a manifest as the previous version of the package wrote it."""
    content = json.loads((dataset / "manifest.json").read_text())
    del content["checksum"]
    for shard in content["shards"]:
        for sample in shard["samples"]:
            for field in GROUPS:
                sample.pop(field, None)
    (dataset / "manifest.json").write_text(json.dumps(content | {"version": 1}))


def test_a_manifest_of_version_1_is_read_with_empty_fields(dataset: Path) -> None:
    before = Manifest.load(dataset)
    assert before.shards[0].samples[0].groups != {}
    as_version_1(dataset)
    manifest = Manifest.load(dataset)
    assert manifest.version == 1
    assert manifest.fingerprint == before.fingerprint
    assert all(sample.groups == {} for shard in manifest.shards for sample in shard.samples)
    assert manifest.group_counts("train", "action") == {}
    assert Manifest.parse(manifest.to_json(), "here") == manifest


def test_the_fields_to_group_by_come_from_the_samples_meta(dataset: Path) -> None:
    manifest = Manifest.load(dataset)
    assert manifest.version == 2
    assert manifest.group_counts("train", "subject") == {"s1": 6}
    assert manifest.group_counts("train", "action") == {"jogging": 6}
    assert manifest.shards[0].samples[0].groups == {
        "subject": "s1",
        "action": "jogging",
        "subaction": "jogging 2",
        "camera": "left",
        "valid_frames": ((0, 2), (3, 5)),
    }
    text = (dataset / "manifest.json").read_text()
    assert "source_split" not in text, "absent fields are not written"
    assert "act_cat" not in text


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ({}, {}),
        ({"subject": "s1", "take": "2"}, {"subject": "s1"}),
        ({"subject": "s1", "recording": "s1 seq1"}, {"subject": "s1"}),  # of no action
        ({"action": "walk", "camera": {"name": "4", "rotation": []}}, {"action": "walk", "camera": "4"}),
        ({"camera": "front"}, {"camera": "front"}),
        ({"subject": 1, "action": ["x"], "camera": 3.0, "valid_frames": "all"}, {}),
        ({"valid_frames": []}, {"valid_frames": ()}),
        ({"remark": "drifting"}, {"remark": "drifting"}),
        ({"remark": ["drifting"]}, {}),
    ],
)
def test_groups_of(meta: dict[str, Any], expected: dict[str, Any]) -> None:
    assert groups_of(meta) == expected


def test_valid_frames_lie_within_the_clip(dataset: Path) -> None:
    shards = json.loads((dataset / "manifest.json").read_text())["shards"]
    shards[0]["samples"][0]["valid_frames"] = [[3, 6]]
    edit(dataset, shards=shards)
    with pytest.raises(DataError, match=r"valid frames 3\.\.6 are outside 0\.\.5"):
        Manifest.load(dataset)


def test_categories_are_kept_in_the_manifest(tmp_path: Path, samples: list[Sample]) -> None:
    categories = ("walk", "backwards movement")
    labelled = replace(samples[0], spans=(Span("walk backward", 0, 5, categories),))
    plain = write_dataset(tmp_path, [replace(labelled, spans=(Span("walk backward", 0, 5),)), *samples[1:]])
    manifest = write_dataset(tmp_path, [labelled, *samples[1:]])
    loaded = Manifest.load(tmp_path)
    assert loaded == manifest
    assert loaded.shards[0].samples[0].spans[0].act_cat == categories
    assert loaded.fingerprint == plain.fingerprint
    (window, *_) = cut_windows(loaded, "train", num_frames=4, stride=4)
    assert window.spans == (Span("walk backward", 0, 4, categories),)
    assert (window.key, window.entry.subject, window.entry.action) == ("clip_0", "s1", "jogging")
