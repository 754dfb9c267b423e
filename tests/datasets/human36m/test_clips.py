"""A made-up person, filmed by a forward model of its own, in both layouts of the data set."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from langpose_dist.data.manifest import Manifest
from langpose_dist.data.sample import DataError, Span, decode_sample, encode_sample
from langpose_dist.datasets.build import build_shards
from langpose_dist.datasets.human36m import motionbert as human36m_motionbert
from langpose_dist.datasets.human36m.cameras import CAMERAS, SUBJECTS, find_camera
from langpose_dist.datasets.human36m.clips import find_clips
from langpose_dist.datasets.verify import verify
from langpose_dist.skeleton import H36M17

T = 12
SIDES = [[4, 5, 6, 11, 12, 13], [1, 2, 3, 14, 15, 16]]


def move(seed: int, num_frames: int = T) -> np.ndarray:
    """T x 17 x 3 metres: a person at a random place who walks a little, the right wrist going up."""
    rng = np.random.default_rng(seed)
    person = {
        "pelvis": (0, 0, 0.9),
        "right_hip": (0.13, 0, 0.9),
        "right_knee": (0.13, 0.05, 0.45),
        "right_ankle": (0.13, 0, 0.05),
        "left_hip": (-0.13, 0, 0.9),
        "left_knee": (-0.13, 0.05, 0.45),
        "left_ankle": (-0.13, 0, 0.05),
        "spine": (0, 0, 1.13),
        "thorax": (0, 0, 1.38),
        "neck": (0, 0.08, 1.48),
        "head": (0, 0.05, 1.6),
        "left_shoulder": (-0.15, 0, 1.35),
        "left_elbow": (-0.2, 0, 1.08),
        "left_wrist": (-0.2, 0.1, 0.85),
        "right_shoulder": (0.15, 0, 1.35),
        "right_elbow": (0.2, 0, 1.08),
        "right_wrist": (0.2, 0.1, 0.85),
    }
    poses = np.tile([person[joint] for joint in H36M17.joints], (num_frames, 1, 1)).astype(np.float64)
    frames = np.arange(num_frames)[:, None]
    poses += rng.uniform((-1, -1, 0), (1, 1, 0)) + frames[..., None] * np.array([0.01, -0.02, 0.001])
    poses[:, 16, 2] += 0.05 * frames[:, 0]
    return poses


def film(poses: np.ndarray, subject: str, camera: str) -> tuple[np.ndarray, np.ndarray]:
    """``joint3d_image`` and ``2.5d_factor``, point by point, the way the annotations were once made."""
    parameters = find_camera(subject, camera)
    w, x, y, z = parameters.orientation
    image, factors = np.zeros(poses.shape), np.zeros(len(poses))

    def to_camera(point: np.ndarray) -> np.ndarray:
        # conj(q) v q, by cross products: the orientation turns the camera's axes into the world's.
        axis, vector = -np.array([x, y, z]), 1000 * point - parameters.position
        twice = 2 * np.cross(axis, vector)
        return vector + w * twice + np.cross(axis, twice)

    def project(point: np.ndarray) -> np.ndarray:
        (fx, fy), (cx, cy) = parameters.focal_length, parameters.center
        return np.array([fx * point[0] / point[2] + cx, fy * point[1] / point[2] + cy])

    for frame, pose in enumerate(poses):
        points = [to_camera(joint) for joint in pose]
        left, right = (project(points[0] + (side, side, 0)) for side in (-1000.0, 1000.0))
        ratio = (right[0] - left[0] + 1) / 2000
        factors[frame] = 1 / ratio
        for joint, point in enumerate(points):
            image[frame, joint, :2] = project(point)
            image[frame, joint, 2] = ratio * (point[2] - points[0][2])
    return image, factors


def add_rows(
    table: dict[str, list[Any]], source: str, image: np.ndarray, camera: str, factor: np.ndarray | None
) -> None:
    count = len(image)
    table.setdefault("joint3d_image", []).append(image.astype(np.float32))
    # The detector is 3 pixels to the right of the truth and sure of it, but not of wrists.
    table.setdefault("joint_2d", []).append(image[..., :2] + (3, 0))
    confidence = np.full((count, 17, 1), 0.75)
    confidence[:, 16] = 1.02
    table.setdefault("confidence", []).append(confidence)
    table.setdefault("source", []).extend([source] * count)
    table.setdefault("camera_name", []).extend([camera] * count)
    if factor is not None:
        table.setdefault("2.5d_factor", []).extend(factor.tolist())


def write_pickle(folder: Path, parts: dict[str, dict[str, list[Any]]], **changes: Any) -> Path:
    numbers = ("joint3d_image", "joint_2d", "confidence")
    content = {
        part: {name: np.concatenate(rows) if name in numbers else rows for name, rows in table.items()}
        for part, table in parts.items()
    }
    for name, value in changes.items():
        content["train"][name] = value
    path = folder / "h36m_sh_conf_cam_source_final.pkl"
    path.write_bytes(pickle.dumps(content, 4))
    return path


def record(
    subjects: dict[str, list[tuple[int, int]]], cameras: tuple[str, ...] = CAMERAS
) -> dict[str, dict[str, list[Any]]]:
    """Tables of subjects' (action, take) recordings; each recording moves by its own seed."""
    parts: dict[str, dict[str, list[Any]]] = {"train": {}, "test": {}}
    for subject, recordings in subjects.items():
        part = "test" if subject in ("S9", "S11") else "train"
        for action, number in recordings:
            for camera in cameras:
                image, factor = film(move(100 * action + number), subject, camera)
                take = f"_subact_{number:02}_ca" if part == "test" else "_cam"
                source = f"s_{int(subject[1:]):02}_act_{action:02}{take}_{CAMERAS.index(camera) + 1:02}"
                add_rows(parts[part], source, image, camera, factor if part == "test" else None)
    return parts


SUBJECT_TAKES = {"S1": [(14, 1), (14, 2), (10, 1)], "S9": [(5, 1), (5, 2), (15, 1)]}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with MotionBERT's pickle."""
    folder = tmp_path_factory.mktemp("motionbert")
    write_pickle(folder, record(SUBJECT_TAKES))
    return folder


def test_cameras_are_those_of_the_data_set() -> None:
    # The rotation of camera 54138969 for S1 as other public code lists it: as a matrix, not a quaternion.
    expected = [
        (-0.9153617321513369, 0.40180836633680234, 0.02574754463350265),
        (0.051548117060134555, 0.1803735689384521, -0.9822464900705729),
        (-0.399319034032262, -0.8977836111057917, -0.185819527201491),
    ]
    np.testing.assert_allclose(find_camera("S1", "54138969").rotation, expected, atol=2e-7)


@pytest.mark.parametrize("name", CAMERAS)
@pytest.mark.parametrize("subject", SUBJECTS)
def test_cameras_stand_upright_around_the_room_and_look_into_it(subject: str, name: str) -> None:
    camera = find_camera(subject, name)
    np.testing.assert_allclose(camera.rotation @ camera.rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(camera.rotation) == pytest.approx(1)
    assert camera.rotation[1, 2] < -0.95, "down is down"
    x, y, depth = camera.to_camera(np.array([0.0, 0.0, 1.0]))
    assert 4 < depth < 6
    assert abs(x / depth) < 0.2
    assert abs(y / depth) < 0.2
    np.testing.assert_allclose(camera.to_world(np.array([x, y, depth])), (0, 0, 1), atol=1e-12)
    assert camera.image_size == (1000, 1002 if name in ("54138969", "60457274") else 1000)


def test_world_poses_come_back_from_the_pickle(prepared: Path) -> None:
    found = find_clips(prepared, fps=50.0)
    assert len(found.clips) == (3 + 3) * 4
    seeds = {"walking": 1400, "sitting down": 1000, "greeting": 500, "walking dog": 1500}
    for clip in found.clips:
        sample = clip.load()
        expected = move(seeds[clip.fields["action"]] + int(clip.fields["take"]))
        # float32 pixels: 3e-5 of them at 1000, that is 0.15 micrometres per pixel and metre of distance.
        np.testing.assert_allclose(sample.poses_3d, expected, atol=2e-5, err_msg=clip.key)
        assert sample.spans == (Span(clip.fields["action"], 0, T),)
        assert sample.meta["distance_from"] == "views of other cameras"
        encode_sample(sample)


def test_names_and_splits_of_the_pickle(prepared: Path) -> None:
    found = find_clips(prepared, fps=50.0)
    keys = [clip.key for clip in found.clips]
    assert keys[:5] == [f"S1_walking_1_{camera}" for camera in CAMERAS] + ["S1_walking_2_54138969"]
    assert keys[-1] == "S9_walking_dog_1_60457274"
    assert len(set(keys)) == len(keys)
    assert {(clip.fields["subject"], clip.split) for clip in found.clips} == {("s1", "train"), ("s9", "test")}
    clip = found.clips[4]
    assert clip.source == "h36m_sh_conf_cam_source_final.pkl#train/s_01_act_14_cam_01/2"
    assert clip.fields == {
        "subject": "s1",
        "action": "walking",
        "take": "2",
        "camera": "54138969",
        "recording": "s1 walking 2",
    }
    assert found.skipped == ()
    assert pickle.loads(pickle.dumps(clip)) == clip  # noqa: S301


def test_the_camera_and_its_keypoints_belong_together(prepared: Path) -> None:
    for clip in find_clips(prepared, fps=50.0).clips:
        sample = clip.load()
        camera = sample.meta["camera"]
        assert camera["name"] == clip.fields["camera"]
        offset = sample.poses_3d - np.array(camera["translation"])
        x, y, z = np.moveaxis(offset @ np.array(camera["rotation"]).T, -1, 0)
        width, height = camera["image_size"]
        u = camera["focal_length"][0] * x / z + camera["center"][0] + 3
        v = camera["focal_length"][1] * y / z + camera["center"][1]
        assert sample.keypoints_2d is not None
        np.testing.assert_allclose(sample.keypoints_2d[..., 0], (u - width / 2) / (width / 2), atol=1e-4)
        np.testing.assert_allclose(sample.keypoints_2d[..., 1], (v - height / 2) / (width / 2), atol=1e-4)
        assert np.unique(sample.keypoints_2d[..., :16, 2]).tolist() == [0.75]
        assert (sample.keypoints_2d[:, 16, 2] == 1).all()


def test_the_raised_right_wrist_is_the_right_wrist(prepared: Path) -> None:
    for clip in find_clips(prepared, fps=50.0).clips[::7]:
        poses = clip.load().poses_3d
        rise = (poses - poses[:, :1])[-1, :, 2] - (poses - poses[:, :1])[0, :, 2]
        assert np.flatnonzero(np.abs(rise) > 0.01).tolist() == [H36M17.index("right_wrist")]
        # The nose is in front: left x up points forward for a person whose left hip is left.
        left = poses[0, H36M17.index("left_hip")] - poses[0, H36M17.index("right_hip")]
        nose = poses[0, H36M17.index("neck")] - poses[0, H36M17.index("thorax")]
        assert np.cross(left, (0, 0, 1)) @ nose > 0


def test_one_camera_alone_needs_the_factor(tmp_path: Path) -> None:
    write_pickle(tmp_path, record({"S5": [(2, 1)], "S11": [(2, 1)]}, CAMERAS[2:3]))
    alone, with_factor = find_clips(tmp_path, fps=50.0).clips
    with pytest.raises(DataError, match=r"no distance from the camera: neither 2\.5d_factor nor another"):
        alone.load()
    sample = with_factor.load()
    np.testing.assert_allclose(sample.poses_3d, move(201), atol=5e-4)
    assert sample.meta["distance_from"] == "2.5d_factor"


def test_names_of_cameras_that_change_within_a_clip_are_not_believed(tmp_path: Path) -> None:
    parts = record({"S1": [(2, 1)], "S9": [(2, 1)]})
    names = parts["test"]["camera_name"]
    parts["test"]["camera_name"] = [names[(7 * row) % len(names)] for row in range(len(names))]
    write_pickle(tmp_path, parts)
    clips = find_clips(tmp_path, fps=50.0).clips
    assert [clip.fields["camera"] for clip in clips] == [*CAMERAS, *CAMERAS]
    np.testing.assert_allclose(clips[-1].load().poses_3d, move(201), atol=2e-5)


def test_cameras_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    parts = record({"S1": [(2, 1)], "S9": [(2, 1)]})
    swapped = {CAMERAS[0]: CAMERAS[1], CAMERAS[1]: CAMERAS[0]}
    parts["train"]["camera_name"] = [swapped.get(name, name) for name in parts["train"]["camera_name"]]
    write_pickle(tmp_path, parts)
    for clip in find_clips(tmp_path, fps=50.0).clips[:4]:
        with pytest.raises(DataError, match=r"cameras contradict each other: their rays .* miss by up to"):
            clip.load()


def test_a_shorter_view_uses_the_first_frames_of_longer_ones(tmp_path: Path) -> None:
    parts = record({"S1": [(2, 1)], "S9": [(2, 1)]})
    for name in ("joint3d_image", "joint_2d", "confidence"):
        parts["train"][name][0] = parts["train"][name][0][:5]
    for name in ("source", "camera_name"):
        del parts["train"][name][5:T]
    write_pickle(tmp_path, parts)
    short, full = find_clips(tmp_path, fps=50.0).clips[:2]
    np.testing.assert_allclose(short.load().poses_3d, move(201)[:5], atol=2e-5)
    np.testing.assert_allclose(full.load().poses_3d, move(201), atol=2e-5)
    assert isinstance(full, human36m_motionbert.MotionBertPickleClip)
    assert [view.camera for view in full.others] == list(CAMERAS[2:])


def test_the_rate_is_changed_by_time(prepared: Path) -> None:
    sample = find_clips(prepared, fps=25.0).clips[0].load()
    assert len(sample.poses_3d) == 6
    np.testing.assert_allclose(sample.poses_3d, move(1401)[::2], atol=2e-5)
    assert sample.spans == (Span("walking", 0, 6),)
    assert (sample.meta["fps"], sample.meta["original_fps"]) == (25.0, 50.0)
    assert sample.keypoints_2d is not None
    assert len(sample.keypoints_2d) == 6


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"joint3d_image": np.zeros((48, 16, 3))}, "wrong shape: joint3d_image"),
        ({"joint3d_image": np.full((48, 17, 3), np.nan)}, "NaN or infinity: in joint3d_image"),
        ({"joint3d_image": np.full((48, 17, 3), 1e29)}, "cameras contradict each other"),
        ({"confidence": np.full((48, 17), np.inf)}, "NaN or infinity: in confidence"),
        ({"joint_2d": np.full((48, 17, 2), "x")}, "array missing: no numbers under 'joint_2d'"),
    ],
)
def test_a_clip_with_wrong_arrays_is_skipped_with_its_reason(
    tmp_path: Path, changes: dict[str, np.ndarray], reason: str
) -> None:
    write_pickle(tmp_path, record({"S1": [(2, 1)], "S9": [(2, 1)]}), **changes)
    clips = find_clips(tmp_path, fps=50.0).clips
    with pytest.raises(DataError, match=reason):
        clips[0].load()
    assert len(clips[-1].load().poses_3d) == T


def test_a_wrong_factor_is_refused(tmp_path: Path) -> None:
    for factor in (0.0, 2000.0, -3.0):
        parts = record({"S1": [(2, 1)], "S11": [(2, 1)]}, CAMERAS[:1])
        parts["test"]["2.5d_factor"][3] = factor
        write_pickle(tmp_path, parts)
        with pytest.raises(DataError, match="no distance from the camera: the pelvis is behind it"):
            find_clips(tmp_path, fps=50.0).clips[-1].load()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"source": ["x"] * 3}, "train/source has another number of frames"),
        ({"joint3d_image": [[1], [1, 2]]}, "train/joint3d_image is no column of a table"),
        ({"joint_2d": np.float32(3)}, "train/joint_2d is no column of a table"),
    ],
)
def test_another_layout_is_one_line(tmp_path: Path, changes: dict[str, Any], problem: str) -> None:
    write_pickle(tmp_path, record({"S1": [(2, 1)], "S9": [(2, 1)]}), **changes)
    with pytest.raises(DataError, match=problem) as caught:
        find_clips(tmp_path, fps=50.0)
    assert "\n" not in str(caught.value)


def test_unknown_names_are_skipped_and_nothing_else(tmp_path: Path) -> None:
    parts = record({"S1": [(2, 1)], "S9": [(2, 1)]})
    for row in range(T):
        parts["train"]["source"][row] = "s_01_act_02"
        parts["train"]["source"][T + row] = "s_02_act_02_cam_02"
        parts["train"]["camera_name"][2 * T + row] = "99"
    # A second run of a test source would be the same clip again.
    parts["test"]["source"][3 * T :] = ["s_09_act_02_subact_01_ca_01"] * T
    write_pickle(tmp_path, parts)
    found = find_clips(tmp_path, fps=50.0)
    assert [item.reason for item in found.skipped[:3]] == [
        "unknown name: 's_01_act_02' is not like 's_09_act_05_subact_02_ca_01'",
        "unknown name: 's_02_act_02_cam_02' has a subject, action or camera that Human3.6M has not",
        f"unknown camera: '99' is none of {', '.join(CAMERAS)}",
    ]
    assert len(found.clips) + len(found.skipped) == 8


def test_a_pickle_that_calls_code_is_refused(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {tmp_path / 'witness'}",)

    (tmp_path / "h36m.pkl").write_bytes(pickle.dumps({"train": Payload(), "test": {}}))
    with pytest.raises(DataError, match=r"h36m\.pkl refers to 'posix\.system'.*nothing in it was executed"):
        find_clips(tmp_path, fps=50.0)
    assert not (tmp_path / "witness").exists()


# VideoPose3D's form


def to_32(poses: np.ndarray) -> np.ndarray:
    """The data set's 32 joints by its own names; those that are no joint of the 17 lie far away."""
    text = """Hips RightUpLeg RightLeg RightFoot RightToeBase Site LeftUpLeg LeftLeg LeftFoot LeftToeBase Site
        Spine Spine1 Neck Head Site-head LeftShoulder LeftArm LeftForeArm LeftHand LeftHandThumb Site
        L_Wrist_End Site RightShoulder RightArm RightForeArm RightHand RightHandThumb Site R_Wrist_End Site"""
    joints = {
        "Hips": "pelvis",
        "RightUpLeg": "right_hip",
        "RightLeg": "right_knee",
        "RightFoot": "right_ankle",
        "LeftUpLeg": "left_hip",
        "LeftLeg": "left_knee",
        "LeftFoot": "left_ankle",
        "Spine1": "spine",
        "Neck": "thorax",
        "Head": "neck",
        "Site-head": "head",
        "LeftArm": "left_shoulder",
        "LeftForeArm": "left_elbow",
        "LeftHand": "left_wrist",
        "RightArm": "right_shoulder",
        "RightForeArm": "right_elbow",
        "RightHand": "right_wrist",
    }
    result = np.full((len(poses), 32, 3), 77, np.float32)
    for place, name in enumerate(text.split()):
        if name in joints:
            result[:, place] = poses[:, H36M17.index(joints[name])]
    return result


RECORDINGS = {
    "S1": {"Walking 1": move(1401), "Walking": move(1402), "SittingDown 2": move(1001)},
    "S9": {"WalkDog 1": move(1501), "Greeting": move(502), "Greeting 1": move(501)},
}


def write_npz(folder: Path, *, keypoints: bool = True, extra: int = 3) -> Path:
    positions = {
        subject: {name: to_32(poses) for name, poses in takes.items()}
        for subject, takes in RECORDINGS.items()
    }
    np.savez_compressed(folder / "data_3d_h36m.npz", positions_3d=np.array(positions))
    if keypoints:
        views = {
            subject: {
                name: [
                    # Videos continue after the 3D has ended.
                    np.pad(
                        film(poses, subject, camera)[0][..., :2] + (3, 0),
                        ((0, extra if extra > 0 else 0), (0, 0), (0, 0)),
                    )[: T + extra].astype(np.float32)
                    for camera in CAMERAS
                ]
                for name, poses in takes.items()
            }
            for subject, takes in RECORDINGS.items()
        }
        views["S2"] = {"Walking": views["S1"]["Walking"]}
        metadata = {"layout_name": "h36m", "num_joints": 17, "keypoints_symmetry": SIDES}
        np.savez_compressed(
            folder / "data_2d_h36m_cpn_ft_h36m_dbb.npz",
            positions_2d=np.array(views),
            metadata=np.array(metadata),
        )
    return folder


def test_both_forms_give_the_same_samples(prepared: Path, tmp_path: Path) -> None:
    write_npz(tmp_path)
    names = {"Walking 1": "1", "Walking": "2", "SittingDown 2": "1", "WalkDog 1": "1"}
    names |= {"Greeting 1": "1", "Greeting": "2"}
    ours = {
        (
            clip.fields["subject"],
            clip.fields["action"],
            clip.fields["take"],
            clip.fields["camera"],
        ): clip.load()
        for clip in find_clips(prepared, fps=50.0).clips
    }
    clips = find_clips(tmp_path, fps=50.0, detections="cpn_ft_h36m_dbb").clips
    assert len(clips) == len(ours) == 24
    for clip in clips:
        take = names[clip.source.split("/")[1]]
        fields = clip.fields
        sample, other = (
            clip.load(),
            ours[fields["subject"], fields["action"], take, fields["camera"]],
        )
        np.testing.assert_allclose(sample.poses_3d, other.poses_3d, atol=2e-5)
        assert sample.keypoints_2d is not None
        assert other.keypoints_2d is not None
        np.testing.assert_allclose(sample.keypoints_2d[..., :2], other.keypoints_2d[..., :2], atol=1e-6)
        assert (sample.keypoints_2d[..., 2] == 1).all()
        assert sample.meta["camera"] == other.meta["camera"]
        assert sample.spans == other.spans
        assert sample.meta.get("remark") == other.meta.get("remark")
        assert decode_sample(sample.key, encode_sample(sample)).meta == sample.meta


def test_names_and_splits_of_the_npz(tmp_path: Path) -> None:
    write_npz(tmp_path)
    (tmp_path / "data_2d_h36m_gt.npz").write_bytes(b"other")
    found = find_clips(tmp_path, fps=50.0, detections="cpn_ft_h36m_dbb")
    assert [clip.key for clip in found.clips][:2] == [
        "S1_SittingDown_2_54138969",
        "S1_SittingDown_2_55011271",
    ]
    assert found.clips[-1].key == "S9_WalkDog_1_60457274"
    assert found.clips[-1].fields == {
        "subject": "s9",
        "action": "walking dog",
        "take": "walkdog 1",
        "recording": "s9 walkdog 1",
        "camera": "60457274",
    }
    assert {(clip.fields["subject"], clip.split) for clip in found.clips} == {("s1", "train"), ("s9", "test")}
    assert [(item.source, item.reason.partition(":")[0]) for item in found.skipped] == [
        ("data_3d_h36m.npz#S2/Walking", "no 3D positions"),
    ]
    assert found.num_ignored == 1


def test_3d_alone_has_no_camera(tmp_path: Path) -> None:
    write_npz(tmp_path, keypoints=False)
    clips = find_clips(tmp_path, fps=50.0).clips
    assert len(clips) == 6
    for clip in clips:
        sample = clip.load()
        assert sample.keypoints_2d is None
        assert "camera" not in sample.meta
    write_npz(tmp_path)
    assert len(find_clips(tmp_path, fps=50.0, detections="none").clips) == 6


def test_the_32_joints_become_the_17(tmp_path: Path) -> None:
    write_npz(tmp_path, keypoints=False)
    clip = next(clip for clip in find_clips(tmp_path, fps=50.0).clips if clip.key == "S1_Walking_1")
    np.testing.assert_allclose(clip.load().poses_3d, move(1401), atol=1e-6)


def test_keypoints_that_end_early_are_refused(tmp_path: Path) -> None:
    write_npz(tmp_path, extra=-1)
    clips = find_clips(tmp_path, fps=50.0, detections="cpn_ft_h36m_dbb").clips
    with pytest.raises(DataError, match="different lengths: 12 frames in 3D and 11 in 2D"):
        clips[0].load()


@pytest.mark.parametrize(("views", "num_found"), [([0, 1, 2], 3), ([], 0), (None, 0)])
def test_a_recording_that_lacks_a_video_is_skipped_once(tmp_path: Path, views: Any, num_found: int) -> None:
    write_npz(tmp_path)
    path = tmp_path / "data_2d_h36m_cpn_ft_h36m_dbb.npz"
    with np.load(path, allow_pickle=True) as archive:
        arrays = {name: archive[name] for name in archive.files}
    takes = arrays["positions_2d"].item()["S1"]
    takes["Walking"] = views and [takes["Walking"][number] for number in views]
    np.savez_compressed(path, **arrays)
    found = find_clips(tmp_path, fps=50.0, detections="cpn_ft_h36m_dbb")
    assert len(found.clips) == 5 * 4
    assert (found.skipped[0].source, found.skipped[0].reason) == (
        "data_3d_h36m.npz#S1/Walking",
        f"cameras missing: there are 2D keypoints of {num_found}, not 4",
    )


@pytest.mark.parametrize(
    ("action", "take", "drifts"), [(5, 2, True), (10, 2, True), (13, 1, True), (5, 1, False), (13, 2, False)]
)
def test_three_recordings_of_s9_carry_a_remark(tmp_path: Path, action: int, take: int, drifts: bool) -> None:
    write_pickle(tmp_path, record({"S1": [(action, take)], "S9": [(action, take)]}, CAMERAS[:2]))
    by_s1, _, by_s9, _ = find_clips(tmp_path, fps=50.0).clips
    assert "remark" not in by_s1.load().meta
    assert by_s9.load().meta.get("remark") == ("drifting" if drifts else None)
    assert by_s9.fields.get("remark") == ("drifting" if drifts else None)


def test_keypoints_of_another_skeleton_are_refused(tmp_path: Path) -> None:
    write_npz(tmp_path)
    coco = {
        "num_joints": 17,
        "keypoints_symmetry": [[1, 3, 5, 7, 9, 11, 13, 15], [2, 4, 6, 8, 10, 12, 14, 16]],
    }
    np.savez(
        tmp_path / "data_2d_h36m_detectron_pt_coco.npz",
        positions_2d=np.array({"S1": {}}),
        metadata=np.array(coco),
    )
    with pytest.raises(DataError, match=r"detectron_pt_coco\.npz has keypoints of another skeleton"):
        find_clips(tmp_path, fps=50.0, detections="detectron_pt_coco")


def test_what_is_ambiguous_or_missing_is_refused_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"does not exist; give Human3\.6M's folder"):
        find_clips(tmp_path / "none", fps=50.0)
    with pytest.raises(DataError, match=r"neither .* nor data_3d_h36m\.npz; give the folder"):
        find_clips(tmp_path, fps=50.0)
    (tmp_path / "h36m_sh_conf_cam_source_final.pkl.zip").touch()
    with pytest.raises(DataError, match=r"; unpack h36m_sh_conf_cam_source_final\.pkl\.zip"):
        find_clips(tmp_path, fps=50.0)
    write_npz(tmp_path)
    with pytest.raises(
        DataError, match=r"2D keypoints in .*: cpn_ft_h36m_dbb; choose one as detections, or none"
    ):
        find_clips(tmp_path, fps=50.0)
    with pytest.raises(DataError, match=r"no 2D keypoints 'gt' .*; there are cpn_ft_h36m_dbb"):
        find_clips(tmp_path, fps=50.0, detections="gt")
    write_pickle(tmp_path, record({"S1": [(2, 1)], "S9": [(2, 1)]}))
    with pytest.raises(DataError, match="give one of the files"):
        find_clips(tmp_path, fps=50.0)
    pickle = tmp_path / "h36m_sh_conf_cam_source_final.pkl"
    assert len(find_clips(pickle, fps=50.0).clips) == 8
    assert len(find_clips(tmp_path / "data_3d_h36m.npz", fps=50.0, detections="none").clips) == 6
    with pytest.raises(DataError, match=r"MotionBERT's form brings its own"):
        find_clips(pickle, fps=50.0, detections="gt")
    (tmp_path / "data_3d_h36m.npz").unlink()
    (tmp_path / "h36m_second.pkl").touch()
    with pytest.raises(DataError, match=r"give the file .* itself"):
        find_clips(tmp_path, fps=50.0)


def test_skew_rays_meet_half_way() -> None:
    """The x axis, and the line along y through (1, 0, 1)."""
    points, misses = human36m_motionbert.meet(
        np.array([[0.0, 0, 0], [1, 0, 1]]), np.array([[[2.0, 0, 0], [0, 0.5, 0]]])
    )
    np.testing.assert_allclose(points, [[1, 0, 0.5]], atol=1e-12)
    assert misses.tolist() == pytest.approx([0.5])
    with pytest.raises(DataError, match="parallel"):
        human36m_motionbert.meet(np.array([[0.0, 0, 0], [1, 0, 1]]), np.array([[[0.0, 0, 1], [0, 0, 1]]]))


def test_the_manifest_groups_by_what_the_files_say(prepared: Path, tmp_path: Path) -> None:
    clips = find_clips(prepared, fps=50.0).clips
    pairs = [(clip.split, clip) for clip in clips]
    build_shards(pairs, tmp_path, dataset="human3.6m", source="x", fps=50.0, options={}, shard_size=8)
    manifest = Manifest.load(tmp_path)
    entries = {entry.key: entry for shard in manifest.shards for entry in shard.samples}
    assert entries["S1_walking_2_54138969"].groups == {
        "subject": "s1",
        "action": "walking",
        "subaction": "walking 2",
        "camera": "54138969",
        "source_split": "train",
    }
    assert all(entry.has_keypoints for entry in entries.values())
    assert entries["S9_greeting_2_60457274"].groups == {
        "subject": "s9",
        "action": "greeting",
        "subaction": "greeting 2",
        "camera": "60457274",
        "source_split": "test",
        "remark": "drifting",
    }
    assert manifest.group_counts("train", "remark") == {}
    assert manifest.group_counts("test", "remark") == {"drifting": 4}
    assert manifest.group_counts("train", "subaction") == {
        "sitting down 1": 4,
        "walking 1": 4,
        "walking 2": 4,
    }
    assert verify(tmp_path, train_split="train") == []
