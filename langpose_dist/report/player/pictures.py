"""Moving pictures of lifted people, and their 2D joints drawn on the video's own frames."""

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image, ImageDraw

from langpose_dist.config import UserError
from langpose_dist.host.atomic import PARTIAL
from langpose_dist.inference.result import LiftedClip
from langpose_dist.skeleton import H36M17

MAX_GIF_S = 30.0
"""A GIF shows no more of a clip: a minute takes 3 MB and seconds to load."""
_GIF_DELAY_CS = 4
"""Hundredths of a second, the unit of the format: 25 frames a second, which every viewer keeps to."""
_PANEL = 420
_FINER = 2
"""Pictures are drawn so many times larger and scaled down, as Pillow's lines have hard edges."""
_COLOURS = {"right": "#c8373d", "left": "#2166ac", "trunk": "#4d4d4d"}
_PALE = {"right": "#e8b4b6", "left": "#aec5e0", "trunk": "#c4c4c4"}
_TURN = 0.6
"""Radians that the figure is turned about the vertical, so that depth shows."""
_PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


def write_gif(path: Path, clip: LiftedClip) -> None:
    """The first half minute of a clip: 2D input beside the 3D figure."""
    last = len(clip.poses_3d) - 1
    times = np.arange(0, min(len(clip.poses_3d) / clip.fps, MAX_GIF_S), _GIF_DELAY_CS / 100)
    frames = _draw_clip(clip, (times * clip.fps).astype(int).clip(0, last).tolist())
    first, *rest = (frame.quantize(64) for frame in frames)
    partial = path.with_name(path.name + PARTIAL)
    first.save(partial, format="GIF", save_all=True, append_images=rest, duration=10 * _GIF_DELAY_CS, loop=0)
    partial.replace(path)


def check_video() -> None:
    """Find out whether MP4 can be written, before anything is lifted.

    Raises:
        UserError: If the extra is not installed.
    """
    if find_spec("av") is None:
        raise UserError(
            "MP4 needs the extra video: pip install 'langpose-dist[video]'; GIF and the page do not"
        )


def write_mp4(path: Path, clip: LiftedClip) -> None:
    """The whole clip at its own rate: 2D input beside the 3D figure, H.264."""
    import av  # pyright: ignore[reportMissingImports]  (an extra)

    partial = path.with_name(path.name + PARTIAL)
    with av.open(str(partial), "w", format="mp4") as file:
        stream = file.add_stream("libx264", rate=Fraction(clip.fps).limit_denominator(1001))
        stream.width, stream.height = 2 * _PANEL, _PANEL  # even, as the format's colours need
        stream.pix_fmt = "yuv420p"
        for picture in _draw_clip(clip, range(len(clip.poses_3d))):
            file.mux(stream.encode(av.VideoFrame.from_image(picture)))
        file.mux(stream.encode())
    partial.replace(path)


def list_pictures(folder: Path, drawings: Path) -> list[Path]:
    """Pictures of a folder in the order of the numbers in their names.

    Args:
        folder: Frames of a video.
        drawings: Folder for the drawings on them, which need not exist.

    Raises:
        UserError: If there is no picture, or each would be drawn over.
    """
    if not folder.is_dir():
        raise UserError(f"--overlay {folder} is no folder")
    if drawings.exists() and drawings.samefile(folder):
        raise UserError(
            f"--overlay {folder} is where the drawings go, they would replace your frames; move the frames, "
            "or name another --out"
        )
    found = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in _PICTURES and not path.name.startswith(".")  # ._0.png is macOS's
    ]
    if not found:
        raise UserError(f"--overlay {folder} holds no picture ({', '.join(_PICTURES)})")
    return sorted(found, key=_numbers_apart)


def check_pictures(pictures: Sequence[Path], num_frames: int) -> None:
    """Find out whether each frame of the keypoints has its picture, before anything is lifted.

    Raises:
        UserError: If one has none, or two pictures would be drawn into one file.
    """
    by_stem: dict[str, Path] = {}
    for path in pictures:
        if (other := by_stem.setdefault(path.stem, path)) is not path:
            raise UserError(
                f"--overlay has both {other.name} and {path.name}; leave one picture of every frame"
            )
    if len(pictures) < num_frames:
        raise UserError(
            f"--overlay has {len(pictures)} pictures, the keypoints have {num_frames} frames: extract every "
            "frame of the video"
        )


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height.

    Raises:
        UserError: If it cannot be read.
    """
    with _open(path) as picture:
        return picture.size


def write_overlay(folder: Path, pictures: Sequence[Path], clips: Sequence[LiftedClip]) -> Iterator[Path]:
    """Draw the 2D joints that were used on the frames of the video; yields each picture that is written.

    Args:
        folder: Exists.
        pictures: Frame 0 of the video and those that follow.
        clips: People.

    Raises:
        UserError: If a picture cannot be read.
    """
    for number, source in enumerate(pictures):
        present = [clip for clip in clips if 0 <= number - clip.first_frame < len(clip.poses_3d)]
        if not present:
            continue
        with _open(source) as file:
            picture = file.convert("RGB")
        pen = ImageDraw.Draw(picture)
        width = max(3, round(max(picture.size) / 300))
        for clip in present:
            frame = number - clip.first_frame
            points = clip.keypoints_2d[frame]
            _draw_figure(pen, points[:, :2], clip.seen[frame], points[:, 2] > 0, width, has_rim=True)
        path = folder / f"{source.stem}.png"
        picture.save(path)
        yield path


def _draw_clip(clip: LiftedClip, frames: Iterable[int]) -> Iterator[Image.Image]:
    side = _PANEL * _FINER
    reach = max(float(np.linalg.norm(clip.poses_3d, axis=-1).max()), 0.5)
    scale_2d = 0.94 * side / max(clip.size)
    corner = (side - np.array(clip.size) * scale_2d) / 2
    everything = np.ones(H36M17.num_joints, bool)
    for frame in frames:
        picture = Image.new("RGB", (2 * side, side), "white")
        pen = ImageDraw.Draw(picture)
        pen.rectangle([*corner, *(side - corner)], outline="#b6bcc4", width=_FINER)
        points = clip.keypoints_2d[frame]
        seen, width = clip.seen[frame], 3 * _FINER
        _draw_figure(pen, points[:, :2] * scale_2d + corner, seen, points[:, 2] > 0, width)
        x, y, z = clip.poses_3d[frame].T
        turned = np.stack((np.cos(_TURN) * x + np.sin(_TURN) * z, y), axis=-1)
        _draw_figure(pen, turned * (0.46 * side / reach) + [1.5 * side, side / 2], seen, everything, width)
        yield picture.resize((2 * _PANEL, _PANEL), Image.Resampling.BOX)


def _draw_figure(
    pen: ImageDraw.ImageDraw,
    places: Float[np.ndarray, "J 2"],
    seen: Bool[np.ndarray, "J"],
    known: Bool[np.ndarray, "J"],
    width: int,
    *,
    has_rim: bool = False,
) -> None:
    """Bones between known joints; pale and thin where the detector saw less than both ends.

    A white rim keeps them apart from whatever picture is below.
    """
    for parent, child in H36M17.bones:
        if known[parent] and known[child]:
            is_seen = bool(seen[parent] and seen[child])
            side = H36M17.joints[child].partition("_")[0]
            colours = _COLOURS if is_seen else _PALE
            line = [*map(float, places[parent]), *map(float, places[child])]
            if has_rim:
                pen.line(line, fill="white", width=2 * width)
            pen.line(line, fill=colours.get(side, colours["trunk"]), width=width if is_seen else width // 2)


def _numbers_apart(path: Path) -> list[str | int]:
    parts = re.split(r"(\d+)", path.stem)  # a number is every second part
    return [int(part) if index % 2 else part for index, part in enumerate(parts)]


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Image.Image]:
    """A picture; what makes it unreadable, also while it is used, names its file."""
    try:
        with Image.open(path) as picture:
            yield picture
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"picture {path} cannot be read: {error}; extract the frame again") from None
