"""Writes procedural motion as MPI-INF-3DHP, in the two npz files that P-STMO prepared.

Eight people are for training, each in two sequences of 25 or 50 Hz under eight cameras; TS1 to TS6 are for
testing, one camera each, with the frames flagged that the protocol counts. The cameras are this project's
own.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from jaxtyping import Bool, Float64

from langpose_dist.datasets.mpi_inf_3dhp.clips import (
    FILES,
    FRAME_RATES,
    JOINTS,
    OUTDOOR,
    OUTDOOR_SIZE,
    STUDIO_SIZE,
    TEST_FRAME_RATE,
)
from langpose_dist.skeleton import H36M17, MPI_INF_3DHP
from langpose_dist.synthesis.folder import (
    check_frames,
    check_subjects,
    new_folder,
    write_description,
)
from langpose_dist.synthesis.performer import WALK, Performer, generator

TRAIN_SUBJECTS = tuple(f"S{number}" for number in range(1, 9))
TEST_SUBJECTS = tuple(f"TS{number}" for number in range(1, 7))
DEFAULT_SUBJECTS = (*TRAIN_SUBJECTS[:3], *TEST_SUBJECTS)
DEFAULT_FRAMES = 300

SCRIPT = (
    *(WALK, "stand", "look around", "sit down", "sit", "stand up", "drink with right hand"),
    *("raise both arms", "stretch arms", "squat", "jumping jacks", "kick with left leg", "hands on hips"),
    *("point with left hand", "wave right hand", "pick up with right hand", "twist torso"),
)

VALID_STEP, VALID_FIRST, VALID_GAP = 10, 5, 7
"""In the studio every tenth frame from the sixth on counts, but for every seventh of these."""

OUTDOOR_LEAD, OUTDOOR_GAP = 10, 20
"""Outdoors all frames count but for the first tenth and for a twentieth from the middle on."""


@dataclass(frozen=True)
class View:
    """A camera of this project's own."""

    rotation: Float64[np.ndarray, "3 3"]
    """Turns the world's axes into the camera's: x right, y down, z forward."""
    position: Float64[np.ndarray, "3"]
    """World, metres."""
    size: tuple[int, int]
    """Width and height of the picture, pixels."""
    focal_length: float
    """Pixels."""

    @classmethod
    def towards_middle(cls, angle: float, height: float, size: tuple[int, int], focal_length: float) -> Self:
        """A camera that looks at a point 1 m above the room's middle, 4.2 m from it.

        Its angle around the middle is in degrees from the world's x, its height above the floor in metres,
        size and focal length in pixels.
        """
        turn = math.radians(angle)
        position = np.array([4.2 * math.cos(turn), 4.2 * math.sin(turn), height])
        forward = np.array([0.0, 0.0, 1.0]) - position
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, (0.0, 0.0, 1.0))
        right /= np.linalg.norm(right)
        return cls(np.stack((right, np.cross(forward, right), forward)), position, size, focal_length)

    def to_camera(self, points: Float64[np.ndarray, "*N 3"]) -> Float64[np.ndarray, "*N 3"]:
        """Points of the world in the camera's axes, metres."""
        return (points - self.position) @ self.rotation.T

    def project(self, points: Float64[np.ndarray, "*N 3"]) -> Float64[np.ndarray, "*N 2"]:
        """Pixels of points in the camera's axes."""
        return points[..., :2] / points[..., 2:] * self.focal_length + np.array(self.size) / 2


TRAIN_VIEWS = {
    name: View.towards_middle(angle, height, STUDIO_SIZE, 1500.0)
    for name, angle, height in (
        *(("0", 0.0, 1.3), ("1", 50.0, 2.4), ("2", 90.0, 1.2), ("4", 140.0, 1.4)),
        *(("5", 180.0, 2.2), ("6", 230.0, 0.6), ("7", 270.0, 1.3), ("8", 320.0, 1.2)),
    )
}
"""Names of the cameras that published code uses, and where they stand here."""

TEST_VIEWS = {
    name: View.towards_middle(
        60.0 * place,
        1.1 + 0.1 * place,
        OUTDOOR_SIZE if name in OUTDOOR else STUDIO_SIZE,
        1050.0 if name in OUTDOOR else 1500.0,
    )
    for place, name in enumerate(TEST_SUBJECTS)
}


def write_mpi_inf_3dhp(
    out: Path,
    *,
    seed: int = 0,
    subjects: Sequence[str] = DEFAULT_SUBJECTS,
    frames: int = DEFAULT_FRAMES,
    progress: Callable[[Sequence[str]], Iterable[str]] = iter,
) -> dict[str, Any]:
    """Write the files for training and for testing, if they have a subject, and ``synthesis.json``.

    Args:
        out: New or empty.
        seed: The same seed, subjects and frames give the same bytes.
        subjects: Some of S1 to S8 and TS1 to TS6.
        frames: Length of a recording at 25 Hz.
        progress: Passes the recordings' names on as they are made.

    Returns:
        Content of ``synthesis.json``.

    Raises:
        DataError: If the folder holds something or cannot be written, or a subject or number makes no sense.
    """
    check_subjects(subjects, (*TRAIN_SUBJECTS, *TEST_SUBJECTS))
    check_frames(frames)
    with new_folder(out):
        contents: dict[str, dict[str, Any]] = {file: {} for file in FILES}
        rows: list[dict[str, Any]] = []
        for name in progress(plan_sequences(subjects)):
            poses, size, fps = _act(name, seed, frames)
            rows.append({"name": name, "fps": fps, "num_frames": len(poses), "size": size})
            if name in TEST_VIEWS:
                valid = valid_frames(name, len(poses))
                arrays = _film(poses, TEST_VIEWS[name], size)
                contents[FILES[1]][name] = {**arrays, "valid": valid.astype(np.float64)}
                rows[-1]["num_valid"] = int(valid.sum())
            else:
                cameras = {camera: _film(poses, view, size) for camera, view in TRAIN_VIEWS.items()}
                contents[FILES[0]][name] = [cameras, int(fps)]
        for file, content in contents.items():
            if content:
                np.savez_compressed(out / file, data=np.array(content))
        return write_description(
            out,
            {
                "layout": "mpi_inf_3dhp",
                "seed": seed,
                "subjects": list(subjects),
                "frames": frames,
                "num_recordings": len(rows),
                "num_frames": sum(row["num_frames"] for row in rows),
                "recordings": rows,
            },
        )


def plan_sequences(subjects: Sequence[str]) -> list[str]:
    """Names of the recordings: two of each person for training, one of each for testing."""
    train = [
        f"{subject} Seq{number}" for subject in TRAIN_SUBJECTS if subject in subjects for number in (1, 2)
    ]
    return train + [subject for subject in TEST_SUBJECTS if subject in subjects]


def valid_frames(name: str, num_frames: int) -> Bool[np.ndarray, "T"]:
    """Flags of the frames of a test recording that the protocol counts."""
    valid = np.zeros(num_frames, bool)
    if name in OUTDOOR:
        middle = num_frames // 2
        valid[num_frames // OUTDOOR_LEAD :] = True
        valid[middle : middle + num_frames // OUTDOOR_GAP] = False
        return valid
    chosen = np.arange(VALID_FIRST, num_frames, VALID_STEP)
    valid[chosen] = True
    valid[chosen[VALID_GAP - 1 :: VALID_GAP]] = False
    return valid


def _act(name: str, seed: int, frames: int) -> tuple[Float64[np.ndarray, "T 17 3"], float, float]:
    """Poses in the world, metres; size of the person relative to the universal one; frames per second.

    Recordings of 50 Hz have twice the frames; TSn has n more than usual, or than half of that outdoors.
    """
    if name in TEST_VIEWS:
        number, fps = TEST_SUBJECTS.index(name), TEST_FRAME_RATE
        num_frames = (frames // 2 if name in OUTDOOR else frames) + number + 1
        key: tuple[int, ...] = (seed, 3, 1, number)
    else:
        number, fps = list(FRAME_RATES).index(name), FRAME_RATES[name]
        num_frames = frames * round(fps / 25)
        key = (seed, 3, 0, TRAIN_SUBJECTS.index(name.partition(" ")[0]))
    performer = Performer.draw(generator(*key))
    poses = performer.act(SCRIPT, generator(*key, 1, number), fps=fps, num_frames=num_frames)
    return poses, performer.person.size, fps


def _film(poses: Float64[np.ndarray, "T 17 3"], view: View, size: float) -> dict[str, np.ndarray]:
    """Arrays of a camera: true pixels, and a person made as large as all others, around the pelvis.

    So the 3D does not project exactly onto the 2D, as in the data set's ``univ_annot3``.
    """
    points = view.to_camera(poses)
    universal = points[:, :1] + (points - points[:, :1]) / size
    return {
        "data_2d": view.project(points)[:, _ORDER].astype(np.float32),
        "data_3d": (1000 * universal[:, _ORDER]).astype(np.float32),
    }


_NAMES = {source: joint for joint, sources in MPI_INF_3DHP.items() for source in sources}
_ORDER = [H36M17.index(_NAMES[joint]) for joint in JOINTS]
"""Joint of the common skeleton for each of the files'."""
