"""AMASS files to keypoints, on a body whose vertices sit on its joints: positions are worked out by hand."""

import json
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest

from langpose_dist.data.sample import DataError, Sample, Span, encode_sample
from langpose_dist.datasets.amass.clips import AmassClip, find_clips
from langpose_dist.datasets.amass.names import Motion
from langpose_dist.datasets.clip import Clip, Found, reason_of
from langpose_dist.datasets.smplh import KeypointBody
from langpose_dist.skeleton import H36M17

# SMPL+H's joints in order, as far as they matter here; the fingers (22 to 51) stay at the wrists. At rest x
# is to the person's left, y up, z forward.
PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, *(20,) * 15, *(21,) * 15)
REST = {
    0: (0.0, 0.0, 0.0),
    1: (0.1, -0.1, 0.0),
    2: (-0.1, -0.1, 0.0),
    3: (0.0, 0.1, 0.0),
    4: (0.1, -0.5, 0.0),
    5: (-0.1, -0.5, 0.0),
    6: (0.0, 0.25, 0.0),
    7: (0.1, -0.9, 0.0),
    8: (-0.1, -0.9, 0.0),
    9: (0.0, 0.3, 0.0),
    10: (0.1, -0.95, 0.1),
    11: (-0.1, -0.95, 0.1),
    12: (0.0, 0.5, 0.0),
    13: (0.05, 0.45, 0.0),
    14: (-0.05, 0.45, 0.0),
    15: (0.0, 0.6, 0.05),
    16: (0.2, 0.45, 0.0),
    17: (-0.2, 0.45, 0.0),
    18: (0.45, 0.45, 0.0),
    19: (-0.45, 0.45, 0.0),
    20: (0.7, 0.45, 0.0),
    21: (-0.7, 0.45, 0.0),
}
CROWN, CROWN_VERTEX = (0.0, 0.8, 0.05), 52
VERTICES = {
    "pelvis": 0,
    "right_hip": 2,
    "right_knee": 5,
    "right_ankle": 8,
    "left_hip": 1,
    "left_knee": 4,
    "left_ankle": 7,
    "spine": 3,
    "thorax": 12,
    "neck": 15,
    "head": CROWN_VERTEX,
    "left_shoulder": 16,
    "left_elbow": 18,
    "left_wrist": 20,
    "right_shoulder": 17,
    "right_elbow": 19,
    "right_wrist": 21,
}
RIGHT_ELBOW = slice(19 * 3, 20 * 3)
UPRIGHT = (np.pi / 2, 0.0, 0.0)
"""Root rotation that turns the body's y, up, into the world's z."""

FEMALE_SIZE = 0.8


def write_body(path: Path, size: float) -> None:
    joints = np.array([REST.get(index, REST[20 if index < 37 else 21]) for index in range(52)])
    template, weights, regressor = np.zeros((6890, 3)), np.zeros((6890, 52)), np.zeros((52, 6890))
    template[:52], template[CROWN_VERTEX] = joints * size, np.array(CROWN) * size
    weights[:, 0] = 1
    weights[:52] = regressor[:, :52] = np.eye(52)
    weights[CROWN_VERTEX] = np.eye(52)[15]
    shapes = np.zeros((6890, 3, 16))
    shapes[..., 0] = template  # the first shape parameter is the share by which the person is larger
    path.parent.mkdir(parents=True)
    np.savez_compressed(
        path,
        v_template=template,
        weights=weights,
        J_regressor=regressor,
        shapedirs=shapes,
        posedirs=np.zeros((6890, 3, 459), np.float32),
        kintree_table=np.array([PARENTS, range(52)], np.int64),
        f=np.zeros((13776, 3), np.uint32),
    )


@pytest.fixture(scope="module")
def bodies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Body models of a man and a woman half his size, and the regressor."""
    folder = tmp_path_factory.mktemp("bodies")
    write_body(folder / "smplh" / "male" / "model.npz", 1.0)
    write_body(folder / "smplh" / "female" / "model.npz", FEMALE_SIZE)
    regressor = np.zeros((17, 6890))
    for joint, vertex in VERTICES.items():
        regressor[H36M17.index(joint), vertex] = 1
    np.save(folder / "regressor.npy", regressor)
    return folder


def motion(num_frames: int = 8, fps: float = 120.0, **changes: Any) -> dict[str, Any]:
    """A man in T-pose who walks to the world's x, a metre per second; without what is changed to ``None``."""
    poses = np.zeros((num_frames, 156))
    poses[:, :3] = UPRIGHT
    trans = np.zeros((num_frames, 3))
    trans[:, 0] = np.arange(num_frames) / fps
    content = {"poses": poses, "trans": trans, "betas": np.zeros(16), "dmpls": np.zeros((num_frames, 8))}
    content |= {"gender": np.array("male"), "mocap_framerate": np.array(fps)} | changes
    return {name: value for name, value in content.items() if value is not None}


def write(folder: Path, name: str = "CMU/01/01_01_poses.npz", **content: Any) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **(content or motion()))
    return path


Find = Callable[..., Found[AmassClip]]


@pytest.fixture
def find(bodies: Path, tmp_path: Path) -> Find:
    """``find_clips`` in ``tmp_path / "amass"``."""

    def run(folder: Path = tmp_path / "amass", **options: Any) -> Found[AmassClip]:
        files = {"babel": None, "smplh": bodies, "regressor": bodies / "regressor.npy", "fps": 30.0}
        return find_clips(folder, **(files | options))

    return run


@pytest.fixture
def load(find: Find, tmp_path: Path) -> Callable[..., Sample]:
    """The sample of one file."""

    def run(content: dict[str, Any], **options: Any) -> Sample:
        write(tmp_path / "amass", **content)
        (clip,) = find(**options).clips
        assert isinstance(clip, Clip)
        sample = clip.load()
        encode_sample(sample)  # keeps the contract
        return sample

    return run


def write_babel(folder: Path, **files: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def annotated(path: str, *labels: tuple[str, float, float], dur: float | None = None) -> dict[str, Any]:
    segments = [
        {"proc_label": text, "raw_label": f"raw {text}", "act_cat": None, "start_t": start, "end_t": end}
        for text, start, end in labels
    ]
    return {"feat_p": path, "dur": dur, "frame_ann": {"labels": segments}, "seq_ann": None}


def at(poses: np.ndarray, joint: str) -> np.ndarray:
    return poses[:, H36M17.index(joint)]


def test_a_man_in_t_pose_stands_upright_in_metres(load: Callable[..., Sample]) -> None:
    poses = load(motion(trans=np.tile((5.0, 6.0, 1.0), (8, 1)))).poses_3d - (5, 6, 1)
    # The root turns y to z and z to -y: he faces the world's -y, and left stays at x.
    for joint, vertex in VERTICES.items():
        x, y, z = CROWN if vertex == CROWN_VERTEX else REST[vertex]
        np.testing.assert_allclose(at(poses, joint), [(x, -z, y)] * 2, atol=1e-6, err_msg=joint)


def test_only_the_right_wrist_moves_when_the_right_elbow_bends(load: Callable[..., Sample]) -> None:
    content = motion(5, trans=np.zeros((5, 3)))
    # About the body's z, which points forward, by -90 degrees: the forearm goes from (-0.25, 0) to (0, 0.25).
    content["poses"][-1, RIGHT_ELBOW] = (0, 0, -np.pi / 2)
    poses = load(content).poses_3d
    moved = np.abs(poses - poses[:1]).max(axis=(0, 2)) > 1e-6
    assert np.flatnonzero(moved).tolist() == [16] == [H36M17.index("right_wrist")]
    np.testing.assert_allclose(at(poses, "right_wrist")[-1], (-0.45, 0, 0.7), atol=1e-6)


@pytest.mark.parametrize(("num_betas", "stored"), [(16, np.float64), (10, np.float32)])
def test_the_body_has_the_shape_and_gender_of_the_file(
    load: Callable[..., Sample], num_betas: int, stored: type
) -> None:
    betas = np.zeros(num_betas, stored)
    betas[0] = 0.25
    for gender, size in (("male", 1.0), (b"female", FEMALE_SIZE), (np.array("Female", object), FEMALE_SIZE)):
        sample = load(motion(betas=betas, gender=gender))
        ankle = at(sample.poses_3d, "left_ankle")[0]
        np.testing.assert_allclose(ankle, np.array((0.1, 0, -0.9)) * size * 1.25, atol=1e-6)
        assert sample.meta["gender"] == ("male" if size == 1 else "female")


def test_one_body_may_be_given_to_all(load: Callable[..., Sample]) -> None:
    for gender in ("male", "other", None):
        sample = load(motion(gender=gender), gender="female")
        np.testing.assert_allclose(at(sample.poses_3d, "head")[0, 2], 0.8 * FEMALE_SIZE, atol=1e-6)
        assert sample.meta["gender"] == "female"


# 30 frames at 59.94 Hz last to 29/59.94 = 0.484 s, which is 14.5 frames of 1/30 s: 15 with the first.
@pytest.mark.parametrize(
    ("fps", "num_frames", "expected"),
    [(120.0, 41, 11), (59.94, 30, 15), (250.0, 26, 4), (100.0, 11, 4), (30.0, 7, 7), (25.0, 6, 7)],
)
def test_frames_are_at_the_target_rate_by_time(
    load: Callable[..., Sample], fps: float, num_frames: int, expected: int
) -> None:
    for name in ("mocap_framerate", "mocap_frame_rate"):
        content = motion(num_frames, fps)
        content[name] = content.pop("mocap_framerate")
        sample = load(content)
        # He has gone as many metres as seconds have passed.
        np.testing.assert_allclose(
            at(sample.poses_3d, "pelvis")[:, 0], np.arange(expected) / 30, rtol=0, atol=1e-6
        )
        assert (sample.meta["original_fps"], sample.meta["fps"]) == (fps, 30.0)


def test_frames_that_are_not_used_cost_nothing(
    load: Callable[..., Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    keypoints = KeypointBody.keypoints

    def count(body: KeypointBody, poses: Any, trans: Any, betas: Any) -> Any:
        seen.append(len(poses))
        return keypoints(body, poses, trans, betas)

    monkeypatch.setattr(KeypointBody, "keypoints", count)
    load(motion(41, 120.0))
    assert seen == [11]


def test_meta_says_where_a_clip_comes_from(find: Find, tmp_path: Path) -> None:
    write(tmp_path / "amass", "MPI_mosh/50020/salsa 1_poses.npz")
    entry = annotated("MPImosh/MPI_mosh/50020/salsa 1_poses.npz", ("dance", 0.0, 0.05))
    (clip,) = find(babel=write_babel(tmp_path / "babel", extra_val={"812": entry})).clips
    assert (clip.key, clip.source, clip.split) == (
        "MoSh/50020/salsa_1",
        "MPI_mosh/50020/salsa 1_poses.npz",
        "validation",
    )
    assert clip.fields == {"subset": "mosh", "subject": "50020", "babel": "extra val"}
    assert clip.load().meta == {
        "dataset": "amass",
        "subset": "MoSh",
        "subject": "50020",
        "source": "MPI_mosh/50020/salsa 1_poses.npz",
        "fps": 30.0,
        "original_fps": 120.0,
        "gender": "male",
        "babel": "extra_val",
        "babel_sid": "812",
        "annotation": "frame",
    }


def test_labels_become_spans_of_the_target_rate(load: Callable[..., Sample], tmp_path: Path) -> None:
    path = "CMU/CMU/01/01_01_poses.npz"
    labels = [
        ("Walk", 0.0, 0.5),
        ("turn", 0.1, 0.201),
        ("turn", 0.1, 0.199),  # the same frames
        ("stand", 0.5, 1.2),  # the file ends at 1 s
        ("sit", 1.05, 1.2),  # after the file, within BABEL's duration
    ]
    babel = write_babel(tmp_path / "babel", train={"1": annotated(path, *labels, dur=1.2)})
    content = motion(121, 120.0)
    sample = load(content, babel=babel)
    assert sample.spans == (Span("walk", 0, 15), Span("turn", 3, 6), Span("stand", 15, 31))
    assert sample.left_out == ("label beyond the clip: 'sit' from 1.05 s to 1.2 s",)
    sequence = {"feat_p": path, "dur": 1.0, "seq_ann": {"labels": [{"proc_label": "walk"}]}}
    write_babel(tmp_path / "babel", train={"1": sequence})
    sample = load(content, babel=babel)
    assert (sample.spans, sample.meta["annotation"]) == ((Span("walk", 0, 31),), "sequence")


def test_labels_of_the_same_frames_are_one_span_with_all_their_categories(
    load: Callable[..., Sample], tmp_path: Path
) -> None:
    entry = annotated("CMU/CMU/01/01_01_poses.npz", ("turn", 0.1, 0.201), ("turn", 0.1, 0.199), dur=1.0)
    for label, categories in zip(entry["frame_ann"]["labels"], (["turn", "spin"], ["turn"]), strict=True):
        label["act_cat"] = categories
    babel = write_babel(tmp_path / "babel", train={"1": entry})
    assert load(motion(121, 120.0), babel=babel).spans == (Span("turn", 3, 6, ("turn", "spin")),)


def test_the_label_field_is_chosen(load: Callable[..., Sample], tmp_path: Path) -> None:
    entry = annotated("CMU/01/01_01_poses.npz", ("walk", 0.0, 0.05))
    babel = write_babel(tmp_path / "babel", train={"1": entry})
    assert load(motion(), babel=babel, label="raw_label").spans == (Span("raw walk", 0, 2),)
    assert load(motion(), babel=babel, label="act_cat").spans == ()


@pytest.mark.parametrize(
    ("file", "feat_p"),
    [
        # BABEL's paths are as its authors publish them (featp_2_fps.json).
        (
            "BioMotionLab_NTroje/rub055/0020_lifting_heavy2_poses.npz",
            "BMLrub/BioMotionLab_NTroje/rub055/0020_lifting_heavy2_poses.npz",
        ),
        (
            "BMLrub/rub055/0020_lifting_heavy2_stageii.npz",
            "BMLrub/BioMotionLab_NTroje/rub055/0020_lifting_heavy2_poses.npz",
        ),
        (
            "ACCAD/Male2Walking_c3d/B14_-__Walk_turn_right_45_t2_stageii.npz",
            "ACCAD/ACCAD/Male2Walking_c3d/B14 -  Walk turn right 45 t2_poses.npz",
        ),
        (
            "EyesJapanDataset/aita/turn-05-turn-aita_stageii.npz",
            "EyesJapanDataset/Eyes_Japan_Dataset/aita/turn-05-turn-aita_poses.npz",
        ),
        ("MoSh/50022/stretch_poses_stageii.npz", "MPImosh/MPI_mosh/50022/stretch_poses_poses.npz"),
        ("HDM05/dg/HDM_dg_03-11_03_120_stageii.npz", "MPIHDM05/MPI_HDM05/dg/HDM_dg_03-11_03_120_poses.npz"),
        ("DFaust/50002/50002_hips_poses.npz", "DFaust67/DFaust_67/50002/50002_hips_poses.npz"),
        ("PosePrior/03101/ulr5_stageii.npz", "MPILimits/MPI_Limits/03101/ulr5_poses.npz"),
        ("TCDHands/E/writing001_2_stageii.npz", "TCDhandMocap/TCD_handMocap/E/writing001_2_poses.npz"),
        ("SSM/20160330_03333/a_stageii.npz", "SSMsynced/SSM_synced/20160330_03333/a_poses.npz"),
        ("Transitions/mazen_c3d/a_poses.npz", "Transitionsmocap/Transitions_mocap/mazen_c3d/a_poses.npz"),
        ("KIT/KIT/3/walking_upstairs06_poses.npz", "KIT/KIT/3/walking_upstairs06_poses.npz"),
    ],
)
def test_files_of_every_release_find_their_annotation(
    find: Find, tmp_path: Path, file: str, feat_p: str
) -> None:
    write(tmp_path / "amass", file)
    entries = {
        "7": annotated(feat_p, ("walk", 0.0, 0.05)),
        "8": annotated(f"other_{feat_p}", ("a", 0.0, 1.0)),
    }
    found = find(babel=write_babel(tmp_path / "babel", train=entries))
    (annotation,) = [clip.annotation for clip in found.clips]
    assert annotation is not None
    assert annotation.sid == "7"


def test_annotations_without_a_file_or_of_an_annotated_motion_are_listed(find: Find, tmp_path: Path) -> None:
    write(tmp_path / "amass")
    mine = "CMU/CMU/01/01_01_poses.npz"
    babel = write_babel(
        tmp_path / "babel",
        train={"1": annotated(mine, ("walk", 0.0, 0.05))},
        val={"2": annotated("CMU/CMU/02/02_01_poses.npz"), "3": annotated("somewhere")},
        extra_train={"1": annotated(mine, ("stroll", 0.0, 0.05)), "9": {"dur": 1}},
    )
    found = find(babel=babel)
    (clip,) = found.clips
    assert clip.load().spans == (Span("walk", 0, 2),)
    assert {item.source: item.reason for item in found.skipped} == {
        "extra_train.json#9": "malformed annotation: feat_p: Field required",
        "val.json#3": "malformed annotation: feat_p is no AMASS path: somewhere",
        "extra_train.json#1": "annotated twice: train.json#1 is taken",
        "val.json#2": "annotation without a motion file: CMU/CMU/02/02_01_poses.npz",
    }


def test_labels_of_another_motion_are_not_used(find: Find, tmp_path: Path) -> None:
    write(tmp_path / "amass", **motion(120, 120.0))
    entry = annotated("CMU/01/01_01_poses.npz", ("walk", 0.0, 0.5))
    for duration, matches in ((1.5, True), (0.5, True), (None, True), (1.52, False), (0.48, False)):
        babel = write_babel(tmp_path / "babel", train={"1": entry | {"dur": duration}})
        (clip,) = find(babel=babel).clips
        if matches:
            assert clip.load().spans == (Span("walk", 0, 15),)
        else:
            with pytest.raises(DataError, match=r"^not the annotated motion: it lasts 1\.00 s, and "):
                clip.load()


def test_motions_without_labels_are_kept(find: Find, tmp_path: Path) -> None:
    for number in range(4):
        write(tmp_path / "amass", f"CMU/01/01_0{number}_poses.npz")
    babel = write_babel(
        tmp_path / "babel",
        train={"0": annotated("CMU/01/01_00_poses.npz", ("walk", 0.0, 0.05))},
        test={"1": {"feat_p": "CMU/01/01_01_poses.npz", "dur": 0.07}},
        val={"2": annotated("CMU/01/01_02_poses.npz", ("walk", 0.3, 0.4), dur=0.5)},
    )
    kept = find(babel=babel)
    assert [clip.split for clip in kept.clips] == ["train", "test", "validation", None]
    assert [len(clip.load().spans) for clip in kept.clips] == [1, 0, 0, 0]
    assert [clip.split for clip in find().clips] == [None] * 4


def test_files_are_found_in_order_once_and_unopened(find: Find, tmp_path: Path) -> None:
    folder = tmp_path / "amass"
    names = [
        "BMLrub/rub001/b_stageii.npz",
        "BMLrub/BioMotionLab_NTroje/rub001/b_poses.npz",
        "ACCAD/s1/A_poses.npz",
        "ACCAD/s1/A(1)_poses.npz",
        "ACCAD/s1/shape.npz",
        "ACCAD/s1/female_stagei.npz",
        "ACCAD/s1/notes.npz",
        "ACCAD/LICENSE.txt",
    ]
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    found = find()
    assert [(clip.key, clip.source) for clip in found.clips] == [
        ("ACCAD/s1/A_1", "ACCAD/s1/A(1)_poses.npz"),
        ("ACCAD/s1/A", "ACCAD/s1/A_poses.npz"),
        # The earlier release's file, which is SMPL+H.
        ("BMLrub/rub001/b", "BMLrub/BioMotionLab_NTroje/rub001/b_poses.npz"),
    ]
    assert {item.source: item.reason.partition(":")[0] for item in found.skipped} == {
        "ACCAD/s1/notes.npz": "name is not AMASS's",
        "BMLrub/rub001/b_stageii.npz": "duplicate clip",
    }
    assert found.num_ignored == 3


def test_a_subset_may_be_the_input(find: Find, tmp_path: Path) -> None:
    write(tmp_path / "amass")
    assert find(tmp_path / "amass" / "CMU").clips[0].key == "CMU/01/01_01"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"mocap_framerate": None}, "no frame rate: neither mocap_framerate nor mocap_frame_rate"),
        ({"mocap_frame_rate": 60.0}, "contradicting frame rates: mocap_framerate is "),
        ({"mocap_framerate": np.nan}, "unusable frame rate: nan Hz"),
        ({"mocap_framerate": 0.0}, "unusable frame rate: 0 Hz"),
        ({"mocap_framerate": -120}, "unusable frame rate: -120 Hz"),
        ({"mocap_framerate": 1e-9}, "unusable frame rate: 1e-09 Hz"),
        ({"mocap_framerate": "fast"}, "unusable frame rate: mocap_framerate is <U4"),
        ({"mocap_framerate": [120, 60]}, r"unusable frame rate: mocap_framerate is int64 \(2,\)"),
        ({"poses": None}, "no poses: the file has betas, dmpls, gender, mocap_framerate, trans"),
        ({"poses": np.zeros((8, 165))}, r"SMPL-X motion: poses is \(8, 165\); download the subset as SMPL"),
        ({"surface_model_type": "smplx"}, "SMPL-X motion: "),
        ({"poses": np.zeros((8, 72))}, r"not SMPL\+H: poses is \(8, 72\)"),
        ({"poses": np.zeros(156)}, r"not SMPL\+H: poses is \(156,\)"),
        ({"poses": np.full((8, 156), np.nan)}, "NaN or infinity: in poses"),
        ({"poses": np.zeros((7, 156))}, "different lengths: 7 frames of poses and 8 of trans"),
        ({"poses": np.zeros((0, 156)), "trans": np.zeros((0, 3))}, "no frames: poses is empty"),
        ({"poses": np.full((8, 156), "a")}, "no numbers: poses is <U1"),
        ({"trans": None}, "no trans: the file has"),
        ({"trans": np.zeros((8, 2))}, r"wrong shape: trans is \(8, 2\)"),
        ({"trans": np.full((8, 3), np.inf)}, "NaN or infinity: in trans"),
        ({"trans": np.full((8, 3), 1e300)}, "NaN or infinity: positions beyond float32"),
        ({"betas": np.zeros(300)}, r"wrong shape: betas is \(300,\)"),
        ({"betas": None}, "no betas: the file has"),
        ({"gender": "neutral"}, "no body model: for gender neutral; there are female, male"),
        ({"gender": None}, "no body model: for gender unknown"),
    ],
)
def test_an_unusable_file_is_skipped_with_its_reason(
    load: Callable[..., Sample], changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(DataError, match=f"^{reason}") as caught:
        load(motion(**changes))
    assert "\n" not in str(caught.value)


def test_less_than_two_frames_are_no_motion(load: Callable[..., Sample]) -> None:
    assert len(load(motion(5)).poses_3d) == 2
    with pytest.raises(DataError, match=r"^too short: 0\.0333 s is 1 frame at 30 Hz"):
        load(motion(4))


class _Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_damaged_and_malicious_files_are_skipped(find: Find, tmp_path: Path) -> None:
    path = write(tmp_path / "amass")
    (clip,) = find().clips
    whole = path.read_bytes()
    middle = len(whole) // 3
    damaged = {
        "empty": b"",
        "cut": whole[:-100],
        "flipped": whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :],
        "other": b"not a zip file" * 100,
    }
    for name, content in damaged.items():
        path.write_bytes(content)
        with pytest.raises(DataError) as caught:
            clip.load()
        assert re.match("unreadable file: .*copy (it|the file) again$", reason_of(caught.value, path)), name
    trap = tmp_path / "executed"
    write(tmp_path / "amass", **motion(poses=np.array([_Payload(trap)], object)))
    with pytest.raises(DataError, match="nothing in it was executed"):
        clip.load()
    assert not trap.exists()


def test_what_is_missing_is_an_error_before_any_clip(find: Find, bodies: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="amass does not exist"):
        find()
    write(tmp_path / "amass", "CMU/01/shape.npz")
    with pytest.raises(DataError, match=r"has no motion \(\.npz\) file"):
        find()
    write(tmp_path / "amass")
    with pytest.raises(
        DataError, match=r"no SMPL\+H body model for gender neutral .* smplh/neutral/model\.npz"
    ):
        find(gender="neutral")
    with pytest.raises(DataError, match=r"none\.npy cannot be read: No such file"):
        find(regressor=tmp_path / "none.npy")
    np.save(tmp_path / "wrong.npy", np.zeros((14, 6890)))
    with pytest.raises(DataError, match=r"wrong\.npy"):
        find(regressor=tmp_path / "wrong.npy")
    with pytest.raises(DataError, match=r"none of train\.json"):
        find(babel=bodies)


def test_a_motion_is_named_by_the_last_parts_of_a_path() -> None:
    assert Motion.of(PurePosixPath("/data/BMLrub/BioMotionLab NTroje/rub 1/0 a_poses.npz")) == Motion(
        "BMLrub", "rub_1", "0_a"
    )
    for path in ("a_poses.npz", "/s1/a_poses.npz", "CMU/s1/a.npz", "CMU/s1/_poses.npz", ""):
        assert Motion.of(PurePosixPath(path)) is None
