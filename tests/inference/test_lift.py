"""A track through a model, to metres."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from langpose_dist.config import UserError
from langpose_dist.inference.assumptions import sentences
from langpose_dist.inference.lift import lift_tracks, used_keypoints
from langpose_dist.inference.options import LiftOptions
from langpose_dist.inference.person import limb_total_of
from langpose_dist.skeleton import H36M17
from langpose_dist.spaces import limb_lengths
from tests.inference.figures import FIGURE, Averaging, Flat, lifting_model, standing, tracks_of


def total_of(poses: np.ndarray) -> float:
    return float(limb_lengths(torch.from_numpy(poses)).sum(dim=-1).mean())


@pytest.mark.parametrize("normalisation", ["image", "box"])
@pytest.mark.parametrize(("video", "model"), [(30.0, 30.0), (60.0, 30.0), (24.0, 30.0), (50.0, 10.0)])
def test_a_figure_comes_out_as_it_stands_in_the_picture(
    normalisation: str, video: float, model: float
) -> None:
    options = LiftOptions(fps=video, normalisation=normalisation, height=1.8)  # pyright: ignore[reportArgumentType]
    (clip,) = lift_tracks(lifting_model(Flat(), fps=model), tracks_of(standing(90)), options)
    assert clip.poses_3d.shape == (90, 17, 3)
    assert total_of(clip.poses_3d) == pytest.approx(limb_total_of(1.8), rel=1e-3)
    flat = np.concatenate((FIGURE, np.zeros((17, 1))), axis=-1)
    flat *= limb_total_of(1.8) / total_of(flat[None])
    np.testing.assert_allclose(clip.poses_3d[:, :16], np.tile(flat[:16], (90, 1, 1)), atol=0.02)
    assert clip.facts["is_resampled"] == (video != model)
    assert clip.facts["scale_source"] == "limb lengths of a person of 1.8 m, as stated"


def test_people_who_come_nearer_do_not_grow() -> None:
    keypoints = standing(120)
    keypoints[..., :2] = (keypoints[..., :2] - 500) * np.linspace(0.5, 2, 120)[:, None, None] + 500
    for normalisation in ("image", "box"):
        options = LiftOptions(height=1.7, normalisation=normalisation)  # pyright: ignore[reportArgumentType]
        (clip,) = lift_tracks(lifting_model(Flat()), tracks_of(keypoints), options)
        assert total_of(clip.poses_3d[100:]) == pytest.approx(total_of(clip.poses_3d[:20]), rel=0.05)


def test_a_clip_that_is_cut_anywhere_has_the_same_middle() -> None:
    model, keypoints = lifting_model(Averaging(), fps=25.0), standing(120)
    (whole,) = lift_tracks(model, tracks_of(keypoints), LiftOptions(height=1.7))
    for cut in (1, 7, 20):
        (later,) = lift_tracks(model, tracks_of(keypoints[cut:], first_frame=cut), LiftOptions(height=1.7))
        np.testing.assert_allclose(later.poses_3d[15:-15], whole.poses_3d[cut + 15 : -15], atol=1e-5)


def test_a_metric_model_keeps_its_metres_unless_a_height_is_stated() -> None:
    model = lifting_model(Flat(), space="camera")
    (own,) = lift_tracks(model, tracks_of(standing(20)), LiftOptions(normalisation="image"))
    np.testing.assert_allclose(own.poses_3d[:, 3], np.tile([-0.13 * 0.8, 0.89 * 0.8, 0], (20, 1)), atol=1e-5)
    assert own.facts["scale_source"].startswith("as the model predicts it")


def test_with_a_focal_length_whoever_stands_aside_is_turned_and_has_a_path() -> None:
    tracks = tracks_of(standing(20, 200, (900, 500)))
    (plain,) = lift_tracks(lifting_model(Flat()), tracks, LiftOptions(height=1.7))
    (turned,) = lift_tracks(lifting_model(Flat()), tracks, LiftOptions(height=1.7, focal_length=400.0))
    assert plain.root is None
    assert turned.root is not None
    assert turned.facts["root"]["is_estimate"] is True
    left = turned.poses_3d[:, H36M17.index("left_hip")]
    # The picture lies across the ray, which goes 45 degrees to the right.
    np.testing.assert_allclose(left[:, 2], -left[:, 0], atol=1e-3)
    assert (turned.root[:, 0] > 0).all()
    assert any("estimate" in line for line in sentences(turned))


def test_joints_that_were_not_seen_are_named() -> None:
    keypoints = standing(40)
    legs = [H36M17.index(joint) for joint in H36M17.joints if "knee" in joint or "ankle" in joint]
    keypoints[:, legs] = 0
    (clip,) = lift_tracks(lifting_model(Flat()), tracks_of(keypoints), LiftOptions(height=1.7))
    assert clip.facts["guessed_joints"] == ["right_knee", "right_ankle", "left_knee", "left_ankle"]
    assert not clip.seen[:, legs].any()
    assert clip.seen[:, 0].all()
    assert any("model's guess" in line and "left_ankle" in line for line in sentences(clip))


def test_filled_gaps_are_used_with_half_a_confidence_and_stay_marked() -> None:
    keypoints = standing(20)
    keypoints[5:8, 16, 2] = 0  # filled: a place, no confidence
    keypoints[10, 16] = 0  # not filled
    tracks = tracks_of(keypoints)
    used = used_keypoints(tracks.people[0])
    assert used[4:9, 16, 2].tolist() == [1, 0.5, 0.5, 0.5, 1]
    assert used[10, 16].tolist() == [0, 0, 0]
    (clip,) = lift_tracks(lifting_model(Flat()), tracks, LiftOptions())
    assert not clip.seen[5:8, 16].any()
    assert clip.facts["filled_share"] == pytest.approx(3 / 340, abs=1e-4)
    assert "0.9% of the joints are filled over short gaps, with confidence 0.5" in sentences(clip)


def test_rate_and_size_are_asked_for_where_they_are_needed() -> None:
    model, tracks = lifting_model(Flat()), tracks_of(standing(20), fps=None, size=None)
    with pytest.raises(UserError, match=r"made does not say how many frames .* --fps 30"):
        lift_tracks(model, tracks, LiftOptions())
    with pytest.raises(UserError, match="--normalise image needs width and height"):
        lift_tracks(model, tracks, LiftOptions(fps=30.0, normalisation="image"))
    with pytest.raises(UserError, match="--focal-length needs width and height"):
        lift_tracks(model, tracks, LiftOptions(fps=30.0, focal_length=1000.0))
    (clip,) = lift_tracks(model, tracks, LiftOptions(fps=30.0))
    assert clip.size == (560, 856)  # just holds all joints


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fps": 0.0333}, r"0.0333 looks like seconds per frame: --fps 30.03"),
        ({"fps": 2e4}, "20000 frames per second are no video's, 1 to 1000 are$"),
        (
            {"focal_length": 35.0},
            "--focal-length 35 is none of a picture of 1000x1000, 100 to 100000 pixels are",
        ),
        ({"smoothing": 30.0}, "--smooth 30 seconds .* 10 at most"),
        (
            {"size": (480, 360)},
            "middle joint of all is at 500, 500, outside of a picture of 480x360; .* --size",
        ),
    ],
)
def test_what_no_video_has_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        lift_tracks(lifting_model(Flat()), tracks_of(standing(20)), LiftOptions(**options))


def test_a_size_that_was_swapped_is_doubted() -> None:
    (clip,) = lift_tracks(lifting_model(Flat()), tracks_of(standing(20)), LiftOptions(size=(1000, 700)))
    assert clip.facts["outside"] == {"share": round(2 / 17, 4), "share_if_swapped": 0.0}
    assert "12% of the joints lie outside of 1000x700: is it 700x1000?" in sentences(clip)
    (clip,) = lift_tracks(lifting_model(Flat()), tracks_of(standing(20)), LiftOptions(size=(1000, 900)))
    assert clip.facts["outside"]["share"] == 0
    assert not any("outside" in line for line in sentences(clip))


def test_what_the_reader_did_is_said() -> None:
    tracks = tracks_of(standing(20))
    found = {"people": [{}, {}, {}], "chosen": ["0"], "person": "largest", "layout_by": "names"}
    found |= {"filled_frames": 6, "split_gaps": 1, "max_gap": 15, "merged_bodies": 2}
    model = replace(lifting_model(Flat(), fps=50.0), facts={"fps_source": "assumed: Human3.6M's"})
    (clip,) = lift_tracks(model, replace(tracks, facts=found), LiftOptions())
    told = sentences(clip)
    assert "other people in the file: 2; the largest was chosen, by height times frames" in told
    assert "layout h36m17: told by the names of its keypoints" in told
    assert "frames without the person, filled from those around: 6" in told
    assert "gaps of more than 15 frames, at which a person is cut into parts: 1" in told
    assert "bodies that the detector gave in two halves, joined: 2" in told
    assert "the model's file does not say its rate: 50 frames a second are assumed, as of Human3.6M" in told


def test_one_joint_has_one_place() -> None:
    keypoints = standing(20)
    keypoints[:, 15] = 0
    (clip,) = lift_tracks(lifting_model(Flat()), tracks_of(keypoints), LiftOptions())
    (line,) = (line for line in sentences(clip) if "guess" in line)
    assert line.startswith("right_elbow is seen in less than half of the frames: its place is the model's")


def test_everybody_is_lifted_and_a_single_frame_too() -> None:
    tracks = tracks_of(standing(1))
    tracks = replace(tracks, people=(tracks.people[0], replace(tracks.people[0], person="7", first_frame=40)))
    clips = lift_tracks(lifting_model(Flat()), tracks, LiftOptions(flip_averaging=True, smoothing=0.5))
    assert [(clip.person, clip.first_frame, len(clip.poses_3d)) for clip in clips] == [
        ("0", 0, 1),
        ("7", 40, 1),
    ]
