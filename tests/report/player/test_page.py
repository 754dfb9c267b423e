"""The page with the player."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from langpose_dist.inference.lift import lift_tracks
from langpose_dist.inference.options import LiftOptions
from langpose_dist.inference.result import LiftedClip
from langpose_dist.report.player.page import MAX_FRAMES, write_player
from tests.inference.figures import Flat, lifting_model, standing, tracks_of


@pytest.fixture
def clip() -> LiftedClip:
    keypoints = standing(60)
    keypoints[:, 3] = 0
    options = LiftOptions(height=1.7, focal_length=1000.0)
    (found,) = lift_tracks(lifting_model(Flat()), tracks_of(keypoints), options)
    share = np.linspace(0, 1, 60, dtype=np.float32)
    return replace(found, labels={"</script><b>walk": share, "run": 1 - share})


def read_page(path: Path) -> tuple[str, dict]:
    page = path.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return page, json.loads(found[1])


def test_the_page_loads_nothing_and_runs_its_own_script_alone(tmp_path: Path, clip: LiftedClip) -> None:
    write_player(tmp_path / "player.html", [clip], "<i>title</i>")
    page, _ = read_page(tmp_path / "player.html")
    assert "http:" not in page
    assert "https:" not in page
    assert "<i>title" not in page
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    text = policy[1].replace("&#39;", "'")
    assert text.startswith("default-src 'none';")
    assert "unsafe" not in text
    for element in ("script", "style"):
        (content,) = re.findall(rf"<{element}>(.*?)</{element}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{element}-src 'sha256-{digest}'" in text


def test_the_page_holds_the_clip(tmp_path: Path, clip: LiftedClip) -> None:
    write_player(tmp_path / "player.html", [clip], "title")
    _, content = read_page(tmp_path / "player.html")
    (packed,) = content["clips"]
    poses = np.frombuffer(base64.b64decode(packed["poses"]), "<i2").reshape(60, 17, 3)
    np.testing.assert_allclose(poses / 1000, clip.poses_3d, atol=0.0006)
    seen = np.frombuffer(base64.b64decode(packed["seen"]), "u1").reshape(60, 17)
    np.testing.assert_array_equal(seen, clip.seen)
    assert [label["name"] for label in packed["labels"]] == ["</script><b>walk", "run"]
    assert packed["fps"] == packed["video_fps"] == 30


def test_of_a_long_clip_the_page_shows_every_other_frame_and_says_so(
    tmp_path: Path, clip: LiftedClip
) -> None:
    count = MAX_FRAMES + 10
    long = replace(
        clip,
        poses_3d=np.zeros((count, 17, 3), np.float32),
        keypoints_2d=np.zeros((count, 17, 3), np.float32),
        seen=np.ones((count, 17), bool),
        root=None,
        labels={},
    )
    write_player(tmp_path / "player.html", [long, clip], "title")
    _, content = read_page(tmp_path / "player.html")
    first, second = content["clips"]
    assert (first["frames"], first["step"], first["fps"]) == (count // 2, 2, 15)
    assert any("one of 2 frames" in line for line in first["sentences"])
    assert second["step"] == 1


def test_places_in_a_large_picture_are_kept_and_cut_ones_are_said(tmp_path: Path, clip: LiftedClip) -> None:
    large = replace(
        clip, size=(90_000, 60_000), keypoints_2d=clip.keypoints_2d * np.array([80, 80, 1], np.float32)
    )
    far = replace(clip, keypoints_2d=clip.keypoints_2d * np.array([80, 80, 1], np.float32))
    write_player(tmp_path / "player.html", [large, far], "title")
    _, content = read_page(tmp_path / "player.html")
    packed, cut = content["clips"]
    points = np.frombuffer(base64.b64decode(packed["points"]), "<i2").reshape(60, 17, 3)
    assert large.keypoints_2d[..., 1].max() > 60_000
    np.testing.assert_allclose(points[..., :2] * packed["unit"], large.keypoints_2d[..., :2], atol=4.6)
    np.testing.assert_array_equal(points[..., 2], np.rint(large.keypoints_2d[..., 2] * 100))
    said = "are shown nearer"
    assert [any(said in line for line in one["sentences"]) for one in (packed, cut)] == [False, True]
