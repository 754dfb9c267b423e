"""Made-up people in the layout of HumanML3D and KIT-ML; expected positions are worked out by hand."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from langpose_dist.data.sample import DataError, Sample, Span, decode_sample, encode_sample
from langpose_dist.datasets.clip import Clip
from langpose_dist.datasets.humanml3d import clips as humanml3d
from langpose_dist.datasets.humanml3d.clips import Humanml3dClip, find_clips
from langpose_dist.datasets.humanml3d.motion import LAYOUTS
from langpose_dist.skeleton import H36M17

# Metres, x to the person's left, y up, z forward; right joints are mirror images.
PERSON: dict[str, tuple[float, float, float]] = {
    "pelvis": (0, 0.95, 0),
    "left_hip": (0.1, 0.9, 0),
    "left_knee": (0.1, 0.5, 0),
    "left_ankle": (0.1, 0.1, 0),
    "left_foot": (0.1, 0, 0.12),
    "spine1": (0, 1.05, 0),
    "spine2": (0, 1.2, 0),
    "spine3": (0, 1.3, 0),
    "neck": (0, 1.5, 0),
    "head": (0, 1.57, 0.05),
    "left_collar": (0.06, 1.42, 0),
    "left_shoulder": (0.18, 1.44, 0),
    "left_elbow": (0.45, 1.44, 0),
    "left_wrist": (0.7, 1.44, 0),
}

# Thousandths of the body height, in the order of the files: x to the right, y up, z forward, so the axes
# are left-handed and the left hip, which is LH, has a negative x.
MMM = (
    *((0, 530, 0), (0, 610, 0), (0, 730, 0), (0, 774, 0), (0, 804, 0)),  # root BP BT BLN BUN
    *((-110, 774, 0), (-110, 586, 0), (-110, 441, 0)),  # LS LE LW
    *((110, 774, 0), (110, 586, 0), (110, 441, 0)),  # RS RE RW
    *((-52, 530, 0), (-52, 285, 0), (-52, 39, 0), (-52, 20, 24), (-52, 0, 78)),  # LH LK LA LMrot LF
    *((52, 530, 0), (52, 285, 0), (52, 39, 0), (52, 20, 24), (52, 0, 78)),  # RH RK RA RMrot RF
)
RIGHT_WRISTS = {"humanml3d": 21, "kit-ml": 10}


def person(num_frames: int = 2) -> np.ndarray:
    rows = [
        PERSON[name] if name in PERSON else np.multiply(PERSON[name.replace("right_", "left_")], (-1, 1, 1))
        for name in LAYOUTS["humanml3d"].joints
    ]
    return np.repeat(np.array([rows], dtype=np.float32), num_frames, axis=0)


def mmm(num_frames: int = 2) -> np.ndarray:
    return np.repeat(np.array([MMM], dtype=np.float32), num_frames, axis=0)


FIGURES = {"humanml3d": person, "kit-ml": mmm}


def dataset_of(joints: np.ndarray) -> str:
    return "kit-ml" if joints.shape[1] == 21 else "humanml3d"


def write(folder: Path, name: str, joints: np.ndarray, captions: str | bytes | None = None) -> None:
    (folder / "new_joints").mkdir(parents=True, exist_ok=True)
    (folder / "texts").mkdir(exist_ok=True)
    np.save(folder / "new_joints" / f"{name}.npy", joints)
    if captions is not None:
        content = captions.encode() if isinstance(captions, str) else captions
        (folder / "texts" / f"{name}.txt").write_bytes(content)


def load(folder: Path, joints: np.ndarray, captions: str | bytes | None = None, fps: float = 30.0) -> Sample:
    write(folder, "000001", joints, captions)
    (clip,) = find_clips(folder, fps=fps, dataset=dataset_of(joints)).clips
    return clip.load()


def check(poses: np.ndarray, expected: dict[str, tuple[float, float, float]]) -> None:
    for joint, position in expected.items():
        np.testing.assert_allclose(poses[H36M17.index(joint)], position, atol=1e-6, err_msg=joint)


def test_a_person_of_humanml3d_stands_upright_in_metres(tmp_path: Path) -> None:
    poses = load(tmp_path, person()).poses_3d
    expected = {
        "pelvis": (0, 0, 0.9),
        "right_hip": (-0.1, 0, 0.9),
        "right_ankle": (-0.1, 0, 0.1),
        "left_knee": (0.1, 0, 0.5),
        "spine": (0, 0, 1.155),  # 0.3 of 1.05 and 0.7 of 1.2
        "thorax": (0, 0, 1.5),
        "neck": (0, -0.07, 1.598),  # 1.4 of the way up and forward from neck to head
        "head": (0, -0.0375, 1.7325),
        "left_wrist": (0.7, 0, 1.44),
        "right_wrist": (-0.7, 0, 1.44),
    }
    check(poses[0], expected)


def test_a_person_of_kit_ml_is_not_the_mirror_image(tmp_path: Path) -> None:
    # Forward is +y now, so the left side is at negative x.
    poses = load(tmp_path, mmm()).poses_3d
    expected = {
        "pelvis": (0, 0, 0.9275),
        "left_hip": (-0.091, 0, 0.9275),
        "right_knee": (0.091, 0, 0.49875),
        "spine": (0, 0, 1.141),  # 0.65 of 610 and 0.35 of 730, times 1.75
        "thorax": (0, 0, 1.3545),
        "neck": (0, 0, 1.4763),
        "head": (0, 0, 1.59411),
        "left_shoulder": (-0.1925, 0, 1.3545),
        "right_wrist": (0.1925, 0, 0.77175),
    }
    check(poses[0], expected)


def test_axes_of_the_other_hand_are_recognised(tmp_path: Path) -> None:
    flip = np.array((-1, 1, 1), dtype=np.float32)
    sample = load(tmp_path / "kit", mmm() * flip)
    # Forward is -y, as in HumanML3D, so the left side is at positive x.
    check(sample.poses_3d[0], {"left_hip": (0.091, 0, 0.9275), "right_wrist": (-0.1925, 0, 0.77175)})
    assert sample.meta["original_axes"] == "y up, right-handed"
    sample = load(tmp_path / "humanml3d", person() * flip)
    check(sample.poses_3d[0], {"left_hip": (-0.1, 0, 0.9), "head": (0, 0.0375, 1.7325)})
    assert sample.meta["original_axes"] == "y up, left-handed"


@pytest.mark.parametrize("dataset", LAYOUTS)
@pytest.mark.parametrize("flip", [1, -1])
def test_only_the_right_wrist_moves_when_the_right_hand_is_raised(
    tmp_path: Path, dataset: str, flip: int
) -> None:
    joints = FIGURES[dataset]()
    joints[1, RIGHT_WRISTS[dataset], 1] += np.ptp(joints[0, :, 1]) / 2
    write(tmp_path, "000001", joints * np.array((flip, 1, 1), dtype=np.float32))
    (clip,) = find_clips(tmp_path, fps=LAYOUTS[dataset].fps, dataset=dataset).clips
    poses = clip.read().poses_3d  # no arm reaches so far
    moved = np.abs(poses[1] - poses[0]).max(axis=1) > 1e-4
    assert np.flatnonzero(moved).tolist() == [16] == [H36M17.index("right_wrist")]
    assert poses[1, 16, 2] > poses[0, 16, 2] + 0.5


def test_a_standing_foot_stays_where_it_is_while_the_root_of_kit_ml_moves(tmp_path: Path) -> None:
    joints = mmm()
    joints[1, :, 2] += 100  # millimetres
    for foot in range(13, 16):
        joints[1, foot, 2] -= 100 / 1.75  # thousandths of 1.75 m
    poses = load(tmp_path, joints, fps=12.5).poses_3d
    np.testing.assert_allclose(poses[1, 0] - poses[0, 0], (0, 0.1, 0), atol=1e-6)
    np.testing.assert_allclose(
        poses[1] - poses[0], [(0, 0 if joint == 6 else 0.1, 0) for joint in range(17)], atol=1e-6
    )


@pytest.mark.parametrize("dataset", LAYOUTS)
def test_a_clip_whose_sides_contradict_the_others_is_skipped(tmp_path: Path, dataset: str) -> None:
    figure = FIGURES[dataset](5)
    names = LAYOUTS[dataset].joints
    exchanged = {"L": "R", "R": "L", "left": "right", "right": "left"}
    order = [
        names.index("_".join(exchanged.get(part, part) for part in name.split("_")))
        if dataset == "humanml3d"
        else names.index(exchanged.get(name[0], name[0]) + name[1:])
        for name in names
    ]
    for name in ("000001", "000002"):
        write(tmp_path, name, figure)
    wrong = figure.copy()
    wrong[:3] = figure[:3, order]
    write(tmp_path, "000003", wrong)
    write(tmp_path, "000004", np.concatenate((figure, wrong)))  # 3 of 10 frames
    clips = find_clips(tmp_path, fps=20.0, dataset=dataset_of(figure)).clips
    for clip in (*clips[:2], clips[3]):
        clip.load()
    with pytest.raises(DataError, match=r"^left and right look swapped: .* in 3 of 5 frames$"):
        clips[2].load()


def test_kneeling_is_not_taken_for_swapped_sides(tmp_path: Path) -> None:
    # On the knees, shins level, toes pointing back and down.
    kneeling = person()
    kneeling[..., 1] -= 0.44
    names = LAYOUTS["humanml3d"].joints
    for joint, height, forward in (("knee", 0.06, 0), ("ankle", 0.1, -0.4), ("foot", 0, -0.5)):
        for side in ("left", "right"):
            kneeling[:, names.index(f"{side}_{joint}"), 1:] = height, forward
    write(tmp_path, "000001", person())
    write(tmp_path, "000002", kneeling)
    clip = find_clips(tmp_path, fps=20.0, dataset="humanml3d").clips[1]
    check(clip.load().poses_3d[0], {"right_ankle": (-0.1, 0.4, 0.1), "right_knee": (-0.1, 0, 0.06)})


@pytest.mark.parametrize(("dataset", "num_frames"), [("humanml3d", 41), ("kit-ml", 26)])
def test_two_seconds_become_sixty_one_frames_at_30_hz(tmp_path: Path, dataset: str, num_frames: int) -> None:
    joints = FIGURES[dataset](num_frames)
    unit = 1 if dataset == "humanml3d" else 1000
    joints[..., 2] += np.linspace(0, 2 * unit, num_frames, dtype=np.float32)[:, None]  # 1 m/s
    sample = load(tmp_path, joints, "a person walks.#a/DET#0.5#1.0\n")
    way = np.abs(sample.poses_3d[:, 0, 1])
    np.testing.assert_allclose(way, np.arange(61) / 30, atol=1e-5)
    assert sample.captions == (Span("a person walks.", 15, 30, words="a/DET"),)


def test_captions_and_what_was_left_out(tmp_path: Path) -> None:
    lines = [
        "A person  walks.#a/DET person/NOUN walk/VERB#0.0#0.0",
        "kicks#kick/VERB#nan#nan",
        "#a/DET#0.0#0.0",
        "no times",
        "",
        "turns #1#turn/VERB 1/NUM#0.25#nan",
        "lifts dumbbell #2#lift/VERB dumbbell/NOUN#0.0#0.0",
        "waves#wave/VERB#0.5#1.5",
        "sits#sit/VERB#3.0#4.0",
        "jumps#jump/VERB#one#two",
        "runs#run/VERB#inf#inf",
        "starts#start/VERB#0.0#0.5",
    ]
    content = "\n".join(lines).encode() + b"\nna\xefve#x#0.0#0.0\r\n na\xc3\xafve #x#0.0#0.0\r\n"
    sample = load(tmp_path, person(21), content, fps=20.0)
    assert sample.captions == (
        Span("a person walks.", 0, 21, words="a/DET person/NOUN walk/VERB"),
        Span("kicks", 0, 21, words="kick/VERB"),
        Span("lifts dumbbell #2", 0, 21, words="lift/VERB dumbbell/NOUN"),
        Span("waves", 10, 21, words="wave/VERB"),
        Span("starts", 0, 10, words="start/VERB"),
        Span("naïve", 0, 21, words="x"),
    )
    assert sample.spans == ()
    assert sample.meta == {
        "mirrored": "no",
        "recording": "000001",
        "dataset": "humanml3d",
        "source": "new_joints/000001.npy",
        "fps": 20.0,
        "original_fps": 20.0,
        "original_fps_is": "nominal",
        "original_axes": "y up, right-handed",
    }
    assert sample.left_out == tuple(
        f"caption left out: {problem}"
        for problem in (
            "line 3: empty caption",
            "line 4: not of the form caption#words#start#end",
            "line 6: from 0.25 s to 0 s there is nothing of the clip",
            "line 9: from 3 s to 4 s there is nothing of the clip",
            "line 10: start and end are not numbers",
            "line 11: from inf s to inf s there is nothing of the clip",
            "line 13: not UTF-8",
        )
    )


def test_captions_are_labels_where_the_builder_is_told(tmp_path: Path) -> None:
    write(tmp_path, "000001", person(), "walks#walk/VERB#0#0\nwalks#walks/VERB#0#0\nkicks#kick/VERB#0.5#1")
    (clip,) = find_clips(tmp_path, fps=2.0, dataset="humanml3d", captions_as_labels=True).clips
    sample = clip.load()
    assert len(sample.captions) == 2  # of 0.1 s, so nothing is left of the kick
    assert sample.spans == (Span("walks", 0, 1),)
    assert decode_sample(sample.key, encode_sample(sample)).spans == sample.spans


def test_captions_that_read_the_same_are_one(tmp_path: Path) -> None:
    lines = ["A person walks.", "a  person\u200b WALKS.", "a person walks"]
    sample = load(tmp_path, person(), "\n".join(f"{line}#x#0#0" for line in lines))
    assert [span.label for span in sample.captions] == ["a person walks.", "a person walks"]
    assert sample.left_out == ()


def test_a_thousand_captions_are_enough(tmp_path: Path) -> None:
    sample = load(tmp_path, person(), "\n".join(f"walk {number}#x#0#0" for number in range(1002)))
    assert len(sample.captions) == 1000
    assert sample.left_out == ("caption left out: 2 lines beyond the first 1000",)


@pytest.mark.parametrize(
    ("captions", "problem"),
    [(None, "no file texts/000001.txt"), ("", "the file is empty"), ("#a#0#0", "line 1: empty caption")],
)
def test_clips_without_a_caption_are_kept(tmp_path: Path, captions: str | None, problem: str) -> None:
    sample = load(tmp_path, person(), captions)
    assert sample.captions == ()
    assert sample.left_out == (f"caption left out: {problem}",)


def test_splits_come_from_the_lists(tmp_path: Path) -> None:
    for name in ("000001", "M000001", "000002", "000003", "000004", "000005"):
        write(tmp_path, name, person())
    (tmp_path / "train.txt").write_text("M000001\n000001\n000004\n000009\n")
    (tmp_path / "val.txt").write_text("000002\n")
    (tmp_path / "test.txt").write_text("000004")
    (tmp_path / "all.txt").write_text("000001\r\nM000001\r\n000002\r\n000003\r\n000004\r\n000009\r\n")
    (tmp_path / "new_joints" / "notes.md").write_text("")
    found = find_clips(tmp_path, fps=30.0, dataset="humanml3d")
    assert [
        (clip.key, clip.split, clip.fields["recording"], clip.fields["mirrored"]) for clip in found.clips
    ] == [
        ("000001", "train", "000001", "no"),
        ("000002", "validation", "000002", "no"),
        ("M000001", "train", "000001", "yes"),
    ]
    assert [(item.source, item.reason) for item in found.skipped] == [
        ("new_joints/000003.npy", "in no split: none of the lists names it"),
        ("new_joints/000004.npy", "in more than one split: train, test"),
        ("new_joints/000005.npy", "in no split: none of the lists names it"),
        ("new_joints/000009.npy", "no motion file: listed in train.txt, all.txt"),
    ]
    assert found.num_ignored == 1
    dropped = find_clips(tmp_path, fps=30.0, dataset="humanml3d", mirrored="drop")
    assert [clip.key for clip in dropped.clips] == ["000001", "000002"]
    assert ("new_joints/M000001.npy", "mirrored clip: left out by option") in [
        (item.source, item.reason) for item in dropped.skipped
    ]
    (tmp_path / "test.txt").unlink()
    with pytest.raises(DataError, match=r"has no test\.txt, whose clips would become part of training"):
        find_clips(tmp_path, fps=30.0, dataset="humanml3d")


def test_clips_travel_to_other_processes(tmp_path: Path) -> None:
    write(tmp_path, "000001", person(), "walks#walk/VERB#0.0#0.0")
    (clip,) = find_clips(tmp_path, fps=30.0, dataset="humanml3d").clips
    copy = pickle.loads(pickle.dumps(clip))  # noqa: S301
    assert isinstance(copy, Clip)
    assert copy == clip
    assert copy.load().captions == clip.load().captions


def test_a_broken_link_is_named_by_its_place_in_the_input(tmp_path: Path) -> None:
    write(tmp_path, "000001", person(), "walks#x#0#0")
    (tmp_path / "new_joints" / "000002.npy").symlink_to("nowhere.npy")
    found = find_clips(tmp_path, fps=30.0, dataset="humanml3d")
    assert [(item.source, item.reason) for item in found.skipped] == [
        ("new_joints/000002.npy", "broken link: to nowhere.npy")
    ]


def test_few_files_are_opened_to_find_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(100):
        write(tmp_path, f"{number:06}", mmm())
    opened: set[Path] = set()

    def spy(path: Path, num_joints: int) -> np.ndarray:
        opened.add(path)
        return read(path, num_joints)

    read = humanml3d.read_joints
    monkeypatch.setattr(humanml3d, "read_joints", spy)
    found = find_clips(tmp_path, fps=30.0, dataset="kit-ml")
    assert len(found.clips) == 100
    assert len(opened) == humanml3d.VOTERS
    assert max(opened).stem > "000080"  # from all over the folder


def _good_and(folder: Path, name: str, content: bytes | np.ndarray) -> Humanml3dClip:
    write(folder, "000000", person())
    write(folder, name, person())
    path = folder / "new_joints" / f"{name}.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content, allow_pickle=True)
    clips = {clip.key: clip for clip in find_clips(folder, fps=30.0, dataset="humanml3d").clips}
    clips["000000"].load()
    return clips[name]


def _with_nan() -> np.ndarray:
    joints = person(84)
    joints[10:14, 3] = np.nan
    joints[20, 0, 0] = -np.inf
    return joints


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (_with_nan(), "NaN or infinity: in 5 of 84 frames"),
        (person() * np.float32(1e30), "NaN or infinity: in 2 of 2 frames"),
        (person(1), "too short: 1 frames"),
        (person(0), "too short: 0 frames"),
        (person()[0], r"wrong shape: \(22, 3\), not T x 22 x 3"),
        (np.zeros((5, 52, 3), np.float32), r"wrong shape: \(5, 52, 3\), not T x 22 x 3"),
        (mmm(), r"wrong shape: \(2, 21, 3\), not T x 22 x 3"),
        (np.full((5, 22, 3), "x"), "wrong type: <U1, not numbers"),
        (np.array([{"a": 1}], dtype=object), "not a whole npy file of numbers: .*Python objects"),
        (b"", "not a whole npy file of numbers: "),
        (b"\x93NUMPY\x01\x00v\x00{'descr': '<f4'", "not a whole npy file of numbers: "),
        (pickle.dumps([1]), "not a whole npy file of numbers: "),
        (person() * np.float32(0.001), "implausible size: 0.001.. m from ankle to crown, not 0.9 to 2.3; "),
        (person() * np.float32(3), "implausible size: "),
    ],
)
def test_what_is_no_motion_is_skipped(tmp_path: Path, content: bytes | np.ndarray, reason: str) -> None:
    with pytest.raises(DataError, match=f"^{reason}") as caught:
        _good_and(tmp_path, "007975", content).load()
    assert "\n" not in str(caught.value)


def test_a_file_that_was_cut_is_skipped(tmp_path: Path) -> None:
    np.save(tmp_path / "whole.npy", person(50))
    content = (tmp_path / "whole.npy").read_bytes()
    folder = tmp_path / "data"
    with pytest.raises(DataError, match=r"^not a whole npy file of numbers: "):
        _good_and(folder, "000001", content[:-1]).load()
    huge = content.replace(b"(50, 22, 3)", b"(5000000000000, 22, 3)")
    with pytest.raises(DataError, match=r"^not a whole npy file of numbers: "):
        _good_and(folder, "000001", huge).load()


def test_names_that_are_no_keys_are_skipped(tmp_path: Path) -> None:
    for name in ("000001", "a.b", "a_b", "((("):
        write(tmp_path, name, person())
    found = find_clips(tmp_path, fps=30.0, dataset="humanml3d")
    assert [clip.key for clip in found.clips] == ["000001", "a_b"]
    assert [(item.source, item.reason.partition(":")[0]) for item in found.skipped] == [
        ("new_joints/(((.npy", "bad clip key"),
        ("new_joints/a_b.npy", "duplicate clip"),
    ]


def test_what_is_no_data_set_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder new_joints; give the one that holds it"):
        find_clips(tmp_path, fps=30.0, dataset="humanml3d")
    (tmp_path / "new_joints").mkdir()
    (tmp_path / "new_joints" / "a.txt").write_text("")
    with pytest.raises(DataError, match=r"has no \.npy file \(1 files of other endings\)"):
        find_clips(tmp_path, fps=30.0, dataset="humanml3d")
    write(tmp_path, "a", np.zeros((5, 52, 3)))
    with pytest.raises(DataError, match=r"none of the 1 .npy files is T x 22 x 3 \(humanml3d\)"):
        find_clips(tmp_path, fps=30.0, dataset="humanml3d")
    write(tmp_path, "b", person())
    with pytest.raises(DataError, match=r"none of the 2 .npy files is T x 21 x 3 \(kit-ml\)"):
        find_clips(tmp_path, fps=30.0, dataset="kit-ml")
    assert len(find_clips(tmp_path, fps=30.0, dataset="humanml3d").clips) == 2
    (tmp_path / "val.txt").write_bytes(b"\xff\xfe0\x00")
    with pytest.raises(DataError, match=r"val\.txt cannot be read as a list of names"):
        find_clips(tmp_path, fps=30.0, dataset="humanml3d")
