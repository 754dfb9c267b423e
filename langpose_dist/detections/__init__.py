"""Reading 2D keypoints: plain arrays of the 17 joints, T x 17 x 3."""

from pathlib import Path
from typing import Any

import numpy as np

from langpose_dist.config.errors import UserError
from langpose_dist.detections.track import Track, Tracks

_THRESHOLD = 0.1


def read_tracks(
    path: Path,
    *,
    layout: str | None = None,
    person: str = "largest",
    threshold: float | None = None,
    max_gap: float | None = None,
    size: tuple[int, int] | None = None,
) -> Tracks:
    """People of a file of keypoints.

    Args:
        path: ``.npy``, or ``.npz`` with ``keypoints``: T x 17 x 3 in pixels, with confidence.
        layout: Names of the keypoints; h36m17 alone.
        person: The one that is there.
        threshold: Confidence from which a joint counts as seen.
        max_gap: Unused.
        size: Of the picture.

    Raises:
        UserError: If the file cannot be read.
    """
    del layout, person, max_gap
    path = Path(path)
    try:
        content: Any = np.load(path, allow_pickle=False)
        keypoints = content["keypoints"] if path.suffix == ".npz" else content
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} cannot be read as keypoints: {error}") from None
    if keypoints.ndim != 3 or keypoints.shape[1:] != (17, 3):
        raise UserError(f"{path} has shape {keypoints.shape}, not T x 17 x 3")
    keypoints = keypoints.astype(np.float32)
    seen = keypoints[..., 2] >= (_THRESHOLD if threshold is None else threshold)
    track = Track(
        "0", 0, np.where(seen[..., None], keypoints, keypoints * [1, 1, 0]).astype(np.float32), seen
    )
    return Tracks((track,), len(keypoints), None, size, "NumPy array", "h36m17", {"frames": len(keypoints)})
