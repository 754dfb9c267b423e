"""The files of a synthetic corpus: exact layout, the same bytes for the same seed."""

import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from langpose_dist.data.sample import DataError
from langpose_dist.synthesis.body import shaped_rest_joints
from langpose_dist.synthesis.corpus import synthesize, write_sequence
from langpose_dist.synthesis.figure import JOINTS, pose_joints
from langpose_dist.synthesis.motion import SOLE_HEIGHT_M
from langpose_dist.synthesis.recordings import SUBJECTS, SUBSETS, draw_recording, recordings

HOURS, SEED = 0.02, 3


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus") / "made"
    synthesize(folder, hours=HOURS, seed=SEED)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def entries(corpus: Path) -> dict[str, dict[str, dict]]:
    files = sorted((corpus / "babel").iterdir())
    assert [path.name for path in files] == sorted(
        ["train.json", "val.json", "test.json", "extra_train.json", "extra_val.json"]
    )
    return {path.stem: json.loads(path.read_bytes()) for path in files}


def test_motion_files_have_amass_s_names_and_arrays(corpus: Path) -> None:
    files = [path for path in (corpus / "amass").rglob("*") if path.is_file()]
    with_dmpls = 0
    for path in files:
        subset, _, name = path.relative_to(corpus / "amass").parts
        assert subset in SUBSETS
        assert name.endswith("_poses.npz")
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
        num_frames = len(arrays["poses"])
        shapes = {
            "poses": (num_frames, 156),
            "trans": (num_frames, 3),
            "betas": (16,),
            "gender": (),
            "mocap_framerate": (),
        }
        if "dmpls" in arrays:
            with_dmpls += 1
            shapes["dmpls"] = (num_frames, 8)
        assert {key: array.shape for key, array in arrays.items()} == shapes, path
        assert arrays["poses"].dtype == arrays["trans"].dtype == np.float64
        assert str(arrays["gender"]) in ("male", "female", "neutral")
        assert float(arrays["mocap_framerate"]) in (59.94, 60, 100, 120, 250)
        assert all(np.isfinite(array).all() for key, array in arrays.items() if key != "gender")
    assert 0 < with_dmpls < len(files)


def test_annotations_have_babel_s_keys_and_name_their_files(corpus: Path) -> None:
    for name, items in entries(corpus).items():
        extra = name.startswith("extra")
        for sid, entry in items.items():
            kinds = {"seq_anns", "frame_anns"} if extra else {"seq_ann", "frame_ann"}
            assert set(entry) == {"babel_sid", "url", "feat_p", "dur"} | kinds
            assert str(entry["babel_sid"]) == sid
            release, _, rest = entry["feat_p"].partition("/")
            assert rest.split("/")[0] == release
            with np.load(corpus / "amass" / rest) as archive:
                seconds = len(archive["poses"]) / float(archive["mocap_framerate"])
            assert entry["dur"] == pytest.approx(seconds, abs=0.006)
            whole = entry["seq_anns"] if extra else [entry["seq_ann"]]
            dense = (entry["frame_anns"] if extra else [entry["frame_ann"]]) or []
            for annotation in [*whole, *filter(None, dense)]:
                assert set(annotation) == {"babel_lid", "anntr_id", "mul_act", "labels"}
                timed = {"start_t", "end_t"} if annotation not in whole else set()
                for label in annotation["labels"]:
                    assert set(label) == {"raw_label", "proc_label", "act_cat", "seg_id"} | timed
                    assert (label["proc_label"] is None) == (name == "test")
            for annotation in filter(None, dense):
                times = [(label["start_t"], label["end_t"]) for label in annotation["labels"]]
                assert times[0][0] == 0.0
                assert [start for start, _ in times[1:]] == [end for _, end in times[:-1]]
                assert times[-1][1] == pytest.approx(seconds, abs=0.001)
                assert all(start < end for start, end in times)


def test_splits_go_by_subject_and_some_recordings_have_no_annotation() -> None:
    split_of: dict[tuple[str, str], set[str]] = {}
    kinds: Counter[str] = Counter()
    for number in range(400):
        recording = draw_recording(0, number)
        name = "none" if recording.babel is None else recording.babel[0]
        kinds[name] += 1
        # What has no annotation is trained on.
        split = "train" if name == "none" else name.removeprefix("extra_")
        split_of.setdefault((recording.subset, recording.subject), set()).add(split)
    assert len(split_of) == len(SUBSETS) * SUBJECTS
    assert all(len(splits) == 1 for splits in split_of.values())
    assert 0.06 < (kinds["val"] + kinds["extra_val"]) / 400 < 0.14
    assert min(kinds[name] for name in ("train", "val", "test", "extra_train", "extra_val", "none")) > 0


def test_raw_labels_vary_where_processed_ones_do_not() -> None:
    raw: dict[str, set[str]] = {}
    for number in range(120):
        found = draw_recording(0, number).babel
        if found is not None and found[0] == "train":
            for label in found[1]["seq_ann"]["labels"]:
                raw.setdefault(label["proc_label"], set()).add(label["raw_label"])
    assert len(raw["walk"]) > 1


def test_a_seed_gives_the_same_bytes_and_another_gives_others(corpus: Path, tmp_path: Path) -> None:
    synthesize(tmp_path / "again", hours=HOURS, seed=SEED)
    assert contents(tmp_path / "again") == contents(corpus)
    other = next(recordings(HOURS, SEED + 1))
    assert not np.array_equal(other.betas, next(recordings(HOURS, SEED)).betas)


def digest(corpus: Path, part: str) -> str:
    """SHA-256 of a part of a corpus, of every tenth row of its arrays, numbers rounded to 1e-5.

    Rounded, as the last bits may differ between processors; rows are left out so that hardly any number lies
    where that decides which way it is rounded.
    """
    total = hashlib.sha256()
    for path in sorted(path for path in (corpus / part).rglob("*") if path.is_file()):
        total.update(path.relative_to(corpus).as_posix().encode())
        if path.suffix != ".npz":
            total.update(path.read_bytes())
            continue
        with np.load(path, allow_pickle=False) as archive:
            for name in archive.files:
                array = archive[name]
                total.update(f"{name} {array.dtype} {array.shape}".encode())
                if array.dtype.kind == "f":
                    array = np.rint(np.atleast_1d(array)[::10] * 1e5).astype(np.int64)
                total.update(array.tobytes())
    return total.hexdigest()


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("amass", "135ea7c183128cd6f554b6064a4ed8b35ea223985217411fac04423596887f93"),
        ("babel", "aa976debb13edbe607d928fc321ccde0b9b11c763b59712285964ca86071d137"),
        ("smplh", "9971692affa19be5ccdae197f44b6363f2224e49f1bb17226fc0a45fc9a2f94e"),
    ],
)
def test_a_corpus_stays_as_it_is(corpus: Path, part: str, expected: str) -> None:
    """If the motion is changed on purpose, the new digests belong here."""
    assert digest(corpus, part) == expected


def test_a_recording_does_not_depend_on_the_others(corpus: Path, tmp_path: Path) -> None:
    for number in (4, 1):
        path = write_sequence(tmp_path, draw_recording(SEED, number))
        assert path.read_bytes() == (corpus / "amass" / path.relative_to(tmp_path)).read_bytes()
    few, many = list(recordings(HOURS / 3, SEED)), list(recordings(HOURS, SEED))
    assert [item.path for item in many[: len(few)]] == [item.path for item in few]
    assert sum(item.duration for item in many) >= HOURS * 3600 > sum(item.duration for item in many[:-1])


def test_other_folders_are_refused(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not an empty folder"):
        synthesize(corpus, hours=HOURS, seed=4)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="not an empty folder"):
        synthesize(foreign, hours=HOURS, seed=SEED)
    assert [path.name for path in foreign.iterdir()] == ["thesis.txt"]
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="not an empty folder"):
        synthesize(tmp_path / "file", hours=HOURS, seed=SEED)


def test_a_shaped_body_stands_on_the_floor(tmp_path: Path) -> None:
    recording = draw_recording(SEED, 2)
    with np.load(write_sequence(tmp_path, recording)) as archive:
        rest = shaped_rest_joints(recording.gender, archive["betas"])
        joints = pose_joints(archive["poses"], archive["trans"], rest)
    balls = joints[:, [JOINTS.index("left_foot"), JOINTS.index("right_foot")], 2]
    assert abs(recording.betas[0]) > 0.1
    assert balls[0] == pytest.approx(SOLE_HEIGHT_M, abs=1e-6)
    assert balls.min() > SOLE_HEIGHT_M - 0.01
