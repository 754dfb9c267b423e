"""Human3.6M, in MotionBERT's form or in VideoPose3D's; see their modules for what each holds.

Both give the same poses: in the world, of which the data set's z is up, and with the camera that saw them.
S1, S5, S6, S7 and S8 are for training, S9 and S11 for testing.
"""

from pathlib import Path

from langpose_dist.data.sample import DataError
from langpose_dist.datasets.clip import Found
from langpose_dist.datasets.files import list_files
from langpose_dist.datasets.human36m.motionbert import MotionBertPickleClip, find_pickle_clips
from langpose_dist.datasets.human36m.videopose3d import (
    DETECTIONS,
    POSITIONS,
    VideoPose3dClip,
    find_npz_clips,
)

NO_KEYPOINTS = "none"
"""In place of detections: 3D alone."""


def find_clips(
    path: Path, *, fps: float, detections: str | None = None
) -> Found[MotionBertPickleClip] | Found[VideoPose3dClip]:
    """Clips of whichever form there is.

    Args:
        path: MotionBERT's pickle, VideoPose3D's ``data_3d_h36m.npz``, or the folder of one of them.
        fps: Frame rate that the clips will have; the data set's own is 50.
        detections: For VideoPose3D's form the 2D keypoints, as in ``data_2d_h36m_NAME.npz``, or ``none``;
            must be given if there are any. MotionBERT's form brings its own.

    Returns:
        Clips, recordings that cannot be used with the reason, and the number of other files in the folder.

    Raises:
        DataError: If neither form is there, both are, or the file chosen has another layout.
    """
    if not path.exists():
        raise DataError(f"input {path} does not exist; give Human3.6M's folder or file")
    files, num_system, broken = list_files(path, deep=False) if path.is_dir() else ([path], 0, [])
    pickles = [file for file in files if file.suffix == ".pkl" and (file == path or "h36m" in file.name)]
    positions = [file for file in files if file.name == POSITIONS or (file == path and file.suffix == ".npz")]
    if pickles and positions:
        raise DataError(
            f"input {path} holds {pickles[0].name} and {positions[0].name}; give one of the files"
        )
    if pickles:
        found = _find_in_pickle(path, pickles, fps, detections)
        return Found(found.clips, (*broken, *found.skipped), num_system + len(files) - 1)
    if not positions:
        zipped = [file.name for file in files if file.name.endswith(".pkl.zip")]
        remedy = f"unpack {zipped[0]}" if zipped else "give the folder that does"
        raise DataError(
            f"input {path} holds neither h36m_sh_conf_cam_source_final.pkl nor {POSITIONS}; {remedy}"
        )
    folder = positions[0].parent
    keypoints = _choose_keypoints(folder, list_files(folder, deep=False)[0], detections)
    found = find_npz_clips(positions[0], fps=fps, keypoints=keypoints)
    used = {positions[0], keypoints}
    return Found(found.clips, (*broken, *found.skipped), num_system + sum(file not in used for file in files))


def _find_in_pickle(
    path: Path, pickles: list[Path], fps: float, detections: str | None
) -> Found[MotionBertPickleClip]:
    if detections is not None:
        raise DataError(f"detections {detections!r} cannot be chosen: MotionBERT's form brings its own")
    if len(pickles) != 1:
        names = ", ".join(file.name for file in pickles)
        raise DataError(f"input {path} holds {names}; give the file h36m_sh_conf_cam_source_final.pkl itself")
    return find_pickle_clips(pickles[0], fps=fps)


def _choose_keypoints(folder: Path, files: list[Path], detections: str | None) -> Path | None:
    found = [file for file in files if file.name.startswith(DETECTIONS) and file.suffix == ".npz"]
    there = {file.stem.removeprefix(DETECTIONS): file for file in found}
    if detections == NO_KEYPOINTS or (detections is None and not there):
        return None
    names = ", ".join(sorted(there)) or NO_KEYPOINTS
    if detections is None:
        raise DataError(f"2D keypoints in {folder}: {names}; choose one as detections, or {NO_KEYPOINTS}")
    if detections not in there:
        raise DataError(f"no 2D keypoints {detections!r} in {folder}; there are {names}")
    return there[detections]
