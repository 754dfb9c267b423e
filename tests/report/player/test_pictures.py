"""Moving pictures, and drawings on the video's frames."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from langpose_dist.config import UserError
from langpose_dist.inference.lift import lift_tracks
from langpose_dist.inference.options import LiftOptions
from langpose_dist.inference.result import LiftedClip
from langpose_dist.report.player import pictures
from langpose_dist.report.player.pictures import (
    check_pictures,
    check_video,
    list_pictures,
    picture_size,
    write_gif,
    write_mp4,
    write_overlay,
)
from tests.inference.figures import Flat, lifting_model, standing, tracks_of


def clip_of(num_frames: int, fps: float = 30.0) -> LiftedClip:
    tracks = tracks_of(standing(num_frames), fps=fps)
    return lift_tracks(lifting_model(Flat(), fps=fps), tracks, LiftOptions(height=1.7))[0]


def test_gif_keeps_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_gif(tmp_path / "a.gif", clip_of(30))
    with Image.open(tmp_path / "a.gif") as picture:
        assert picture.size == (840, 420)
        assert picture.n_frames == 25  # pyright: ignore[reportAttributeAccessIssue]
        assert picture.info["duration"] == 40
    monkeypatch.setattr(pictures, "MAX_GIF_S", 0.2)
    write_gif(tmp_path / "b.gif", clip_of(30))
    with Image.open(tmp_path / "b.gif") as picture:
        assert picture.n_frames == 5  # pyright: ignore[reportAttributeAccessIssue]


def test_mp4_has_every_frame_and_even_sizes(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    write_mp4(tmp_path / "a.mp4", clip_of(20, fps=29.97))
    with av.open(str(tmp_path / "a.mp4")) as file:
        stream = file.streams.video[0]
        assert len(list(file.decode(stream))) == 20
        assert float(stream.average_rate) == pytest.approx(29.97, abs=0.01)
        assert (stream.width % 2, stream.height % 2) == (0, 0)


def test_an_interrupted_gif_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_off(_: Image.Image, path: Path, **__: Any) -> None:
        path.write_text("a part")
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", cut_off)
    (tmp_path / "a.gif").write_text("whole")
    with pytest.raises(KeyboardInterrupt):
        write_gif(tmp_path / "a.gif", clip_of(5))
    assert (tmp_path / "a.gif").read_text() == "whole"


def test_an_interrupted_mp4_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av")

    def cut_off(*_: Any) -> Iterator[Image.Image]:
        yield from (Image.new("RGB", (840, 420)) for _ in range(100))
        raise KeyboardInterrupt

    monkeypatch.setattr(pictures, "_draw_clip", cut_off)
    (tmp_path / "a.mp4").write_text("whole")
    with pytest.raises(KeyboardInterrupt):
        write_mp4(tmp_path / "a.mp4", clip_of(5))
    assert (tmp_path / "a.mp4").read_text() == "whole"


def test_without_the_extra_mp4_is_refused_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'langpose-dist\[video\]'"):
        check_video()


def write_frames(folder: Path, num_frames: int) -> Path:
    folder.mkdir()
    for number in range(num_frames):
        Image.new("RGB", (1000, 1000), "black").save(folder / f"{number}.jpg")
    return folder


def test_overlay_draws_on_the_frames_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    sources = list_pictures(write_frames(tmp_path / "frames", 12), tmp_path / "out")
    assert [path.stem for path in sources] == [str(number) for number in range(12)]
    assert picture_size(sources[0]) == (1000, 1000)
    clip = replace(clip_of(5), first_frame=7)
    (tmp_path / "out").mkdir()
    written = list(write_overlay(tmp_path / "out", sources, [clip]))
    assert [path.name for path in written] == [f"{number}.png" for number in range(7, 12)]
    with Image.open(written[0]) as picture:
        pixels = np.asarray(picture)
    knee, ankle = clip.keypoints_2d[0, [2, 3], :2]
    x, y = (knee + ankle).astype(int) // 2
    assert pixels[y, x].tolist() == [0xC8, 0x37, 0x3D]  # the right leg is red
    assert pixels[10, 10].max() < 10


def test_overlay_refuses_too_few_pictures_and_what_is_none(tmp_path: Path) -> None:
    sources = list_pictures(write_frames(tmp_path / "frames", 3), tmp_path / "out")
    check_pictures(sources, 3)
    with pytest.raises(UserError, match="3 pictures, the keypoints have 4 frames"):
        check_pictures(sources, 4)
    with pytest.raises(UserError, match="no folder"):
        list_pictures(tmp_path / "nothing", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no picture"):
        list_pictures(tmp_path / "empty", tmp_path / "out")
    (tmp_path / "broken.png").write_text("no picture")
    with pytest.raises(UserError, match="cannot be read"):
        picture_size(tmp_path / "broken.png")


def test_frames_are_never_drawn_over(tmp_path: Path) -> None:
    frames = write_frames(tmp_path / "overlay", 3)
    (tmp_path / "link").symlink_to(frames)
    for folder in (frames, tmp_path / "link"):
        with pytest.raises(UserError, match="would replace your frames; move the frames, or name another"):
            list_pictures(frames, folder)


def test_two_pictures_of_one_name_are_refused(tmp_path: Path) -> None:
    frames = write_frames(tmp_path / "frames", 3)
    Image.new("RGB", (10, 10)).save(frames / "1.png")
    with pytest.raises(UserError, match=r"both 1\.(jpg|png) and 1\.(jpg|png); leave one"):
        check_pictures(list_pictures(frames, tmp_path / "out"), 3)


def test_only_numbers_are_counted_and_hidden_files_left_out(tmp_path: Path) -> None:
    names = ["m².png", "m2.png", "m10.png", "².png", "10.png", "9.png"]
    for name in [*names, "._9.png", ".hidden.jpg"]:
        (tmp_path / name).touch()
    assert [path.name for path in list_pictures(tmp_path, tmp_path / "out")] == [
        "9.png",
        "10.png",
        "m2.png",
        "m10.png",
        "m².png",
        "².png",
    ]


@pytest.mark.parametrize("ending", [".jpg", ".png"])
def test_a_picture_that_ends_early_is_named(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"0{ending}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:1500])
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match=f"0{ending} cannot be read: .*; extract the frame again"):
        list(write_overlay(tmp_path / "out", [path], [clip_of(1)]))
