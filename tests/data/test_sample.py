import io
import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from langpose_dist.data.sample import DataError, Sample, Span, decode_sample, encode_sample, make_key


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def test_members_come_back_as_they_went_in(samples: list[Sample]) -> None:
    members = encode_sample(samples[0])
    assert sorted(members) == ["labels.json", "meta.json", "poses_3d.npy"]
    np.testing.assert_array_equal(np.load(io.BytesIO(members["poses_3d.npy"])), samples[0].poses_3d)
    assert json.loads(members["labels.json"]) == [{"label": "wave left hand", "start": 0, "end": 5}]
    decoded = decode_sample("clip_0", members)
    np.testing.assert_array_equal(decoded.poses_3d, samples[0].poses_3d)
    assert (decoded.key, decoded.spans, decoded.meta) == ("clip_0", samples[0].spans, samples[0].meta)


def test_keypoints_come_back_where_there_are_some(samples: list[Sample]) -> None:
    keypoints = np.random.default_rng(0).random((len(samples[0].poses_3d), 17, 3), np.float32)
    members = encode_sample(replace(samples[0], keypoints_2d=keypoints))
    assert list(members) == ["labels.json", "meta.json", "poses_3d.npy", "keypoints_2d.npy"]
    decoded = decode_sample("clip_0", members)
    assert decoded.keypoints_2d is not None
    np.testing.assert_array_equal(decoded.keypoints_2d, keypoints)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda keypoints: keypoints[1:], "not float32 6 x 17 x 3"),
        (lambda keypoints: keypoints + np.float32(0.5), "confidences from 1.5 to 1.5, outside"),
        (lambda keypoints: keypoints * np.float32("nan"), "not finite"),
    ],
)
def test_keypoints_that_break_the_contract_are_refused(
    samples: list[Sample], change: Callable[[np.ndarray], np.ndarray], problem: str
) -> None:
    sample = replace(samples[0], poses_3d=GOOD)
    keypoints = np.ones((6, 17, 3), np.float32)
    if len(change(keypoints)) == len(keypoints):  # else the annotations refuse it
        with pytest.raises(DataError, match=problem):
            encode_sample(replace(sample, keypoints_2d=change(keypoints)))
    members = encode_sample(sample) | {"keypoints_2d.npy": npy(change(keypoints))}
    with pytest.raises(DataError, match=problem):
        decode_sample("clip_0", members)


def test_a_pickle_beside_the_members_is_never_opened(samples: list[Sample]) -> None:
    members = encode_sample(samples[0]) | {"extra.pkl": b"\x80\x04cos\nsystem\n"}
    assert decode_sample("clip_0", members).spans == samples[0].spans


GOOD = np.zeros((6, 17, 3), np.float32)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (npy(GOOD.astype(np.float64)), "float64"),
        (npy(np.zeros((6, 16, 3), np.float32)), r"shape \(6, 16, 3\)"),
        (npy(np.zeros((0, 17, 3), np.float32)), r"shape \(0, 17, 3\)"),
        (npy(np.asfortranarray(GOOD)), "F order"),
        (npy(GOOD.astype(">f4")), ">f4"),
        (npy(np.array([{"run": "code"}], dtype=object)), "object"),
        (npy(np.full_like(GOOD, np.nan)), "NaN"),
        (npy(GOOD)[:-1], "bytes of data"),
        (npy(GOOD) + b"\0", "bytes of data"),
        (npy(GOOD)[:40], "npy header"),
        (b"", "npy header"),
        (b"\x80\x04cos\nsystem\n", "npy header"),
    ],
)
def test_poses_that_break_the_contract_are_refused(
    samples: list[Sample], content: bytes, problem: str
) -> None:
    members = encode_sample(replace(samples[0], poses_3d=GOOD)) | {"poses_3d.npy": content}
    with pytest.raises(DataError, match=problem):
        decode_sample("clip_0", members)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"{}", "list of label"),
        (b'[{"label": "walk", "start": 0}]', "list of label"),
        (b'[{"label": 3, "start": 0, "end": 1}]', "list of label"),
        (b'[{"label": "walk", "start": true, "end": 1}]', "list of label"),
        (b'[{"label": "walk", "start": 0, "end": 6}]', "outside 0..5"),
        (b'[{"label": "walk", "start": 3, "end": 3}]', "outside 0..5"),
        (b'[{"label": "walk", "start": -1, "end": 3}]', "outside 0..5"),
        (b'[{"label": "", "start": 0, "end": 3}]', "empty"),
    ],
)
def test_labels_that_break_the_contract_are_refused(
    samples: list[Sample], content: bytes, problem: str
) -> None:
    with pytest.raises(DataError, match=problem):
        decode_sample("clip_0", encode_sample(samples[0]) | {"labels.json": content})


def test_a_missing_member_is_named(samples: list[Sample]) -> None:
    members = encode_sample(samples[0])
    del members["meta.json"]
    with pytest.raises(DataError, match=r"meta\.json is missing"):
        decode_sample("clip_0", members)


def test_what_could_not_be_read_back_is_not_written(samples: list[Sample]) -> None:
    for broken in (
        replace(samples[0], key="a.b"),
        replace(samples[0], poses_3d=np.full((3, 17, 3), np.inf, np.float32)),
        replace(samples[0], spans=(Span("walk", 0, 99),)),
    ):
        with pytest.raises(DataError):
            encode_sample(broken)


def test_keys_survive_the_tar_reader() -> None:
    assert make_key("dataset-1_walk_001") == "dataset-1_walk_001"
    assert make_key("S1/Walking 1.60457274") == "S1/Walking_1_60457274"
    assert make_key("__meta__/../x") == "meta/x"
    with pytest.raises(DataError, match="clip key"):
        make_key("...")
