"""Which program wrote a file or folder: told by its structure, not by its name."""

from codecs import BOM_UTF8
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from langpose_dist.config import UserError
from langpose_dist.datasets.files import list_files
from langpose_dist.detections.arrays import read_archive, read_array
from langpose_dist.detections.kind import Kind
from langpose_dist.detections.mmpose import MMPOSE, MMPOSE_DEMO
from langpose_dist.detections.openpose import OPENPOSE, OPENPOSE_BY_NAME
from langpose_dist.detections.recording import Detection, Frame, Recording, in_order, number_names
from langpose_dist.detections.results import ALPHAPOSE, COCO
from langpose_dist.detections.ultralytics import ULTRALYTICS, ULTRALYTICS_TXT, identify, read_text

KINDS = (OPENPOSE, OPENPOSE_BY_NAME, ALPHAPOSE, COCO, MMPOSE, MMPOSE_DEMO, ULTRALYTICS)

_EXPECTED = (
    "expected a file or a folder of OpenPose, AlphaPose, MMPose, Ultralytics or COCO results (JSON), "
    "Ultralytics (txt), VideoPose3D, Detectron2 or plain arrays (npz, npy)"
)


def open_recording(path: Path) -> Recording:
    """Content of a file or a folder of files.

    Raises:
        UserError: If it cannot be read, or is of no known kind.
    """
    if path.is_dir():
        return _open_folder(path)
    if not path.exists():
        raise UserError(f"{path} does not exist; {_EXPECTED}")
    match path.suffix.lower():
        case ".npz":
            return read_archive(path)
        case ".npy":
            return read_array(path)
        case ".txt":
            return _texts([path])
        case ".json":
            return _open_json(path)
    raise UserError(f"{path} is of no known kind; {_EXPECTED}")


def _open_folder(folder: Path) -> Recording:
    files, _, _ = list_files(folder, deep=False)
    jsons = [file for file in files if file.suffix.lower() == ".json"]
    texts = [file for file in files if file.suffix.lower() == ".txt"]
    if len(jsons) == 1:
        return _open_json(jsons[0])
    if jsons:
        return _open_jsons(jsons)
    if texts:
        return _texts(texts)
    raise UserError(f"{folder} holds no JSON and no txt file; {_EXPECTED}")


def _open_json(path: Path) -> Recording:
    content = _load(path)
    kind = _recognise(content)
    if kind is None:
        raise UserError(f"{path} is of no known kind; {_EXPECTED}")
    keyed = list(kind.read(content, str(path)))
    numbers = kind.number([key for key, _ in keyed])
    frames = in_order(zip(numbers, (people for _, people in keyed), strict=True))
    names = kind.names_of(content, str(path))
    return Recording(kind.detector, frames, names, num_frames=frames[-1].number + 1 if frames else 0)


def _open_jsons(paths: Sequence[Path]) -> Recording:
    """A file for every frame, opened one after the other: an empty one does not tell its kind."""
    numbered = _by_number(paths)
    for _, path in numbered:
        content = _load(path)
        if kind := _recognise(content):
            names = kind.names_of(content, str(path))
            frames = (Frame(number, _one_frame(kind, path)) for number, path in numbered)
            return Recording(kind.detector, frames, names, num_frames=numbered[-1][0] + 1)
    raise UserError(f"{paths[0].parent}: {len(paths)} JSON files of no known kind; {_EXPECTED}")


def _one_frame(kind: Kind, path: Path) -> list[Detection]:
    content = _load(path)
    if content != [] and _recognise(content) is not kind:
        raise UserError(f"{path} is not {kind.detector.name}, as the files before it")
    keyed = list(kind.read(content, str(path)))
    if len(keyed) > 1:
        raise UserError(
            f"{path} holds {len(keyed)} frames; give the file alone, or a folder of one frame a file"
        )
    return [person for _, people in keyed for person in people]


def _texts(paths: Sequence[Path]) -> Recording:
    """Ultralytics counts from 1, and writes no file where nobody is."""
    numbered = _by_number(paths, base=1)
    lines = [read_text(_read(path).decode(errors="replace"), str(path)) for _, path in numbered]
    frames = [Frame(number, people) for (number, _), people in zip(numbered, identify(lines), strict=True)]
    return Recording(ULTRALYTICS_TXT, frames, layout="coco17", num_frames=numbered[-1][0] + 1)


def _by_number(paths: Sequence[Path], base: int | None = None) -> list[tuple[int, Path]]:
    """(frame, file) in order; frames are counted from ``base``, or from the first file."""
    numbers = number_names([path.stem for path in paths])
    first = min(numbers) if base is None else min(*numbers, base)
    found = {number - first: path for number, path in zip(numbers, paths, strict=True)}
    frames = in_order((number - first, ()) for number in numbers)
    return [(frame.number, found[frame.number]) for frame in frames]


def _recognise(content: Any) -> Kind | None:
    if isinstance(content, Mapping) and "annotations" in content:
        raise UserError(
            "COCO annotations hold visibility flags in place of confidences; give the list of results that a "
            "detector writes, [{image_id, keypoints, score}, ...]"
        )
    return next((kind for kind in KINDS if kind.matches(content)), None)


def _load(path: Path) -> Any:
    try:
        return from_json(_read(path))
    except ValueError as error:
        raise UserError(f"{path} is no whole JSON file: {error}; copy it again") from None


def _read(path: Path) -> bytes:
    """Content without the mark that Windows' editors put before UTF-8."""
    try:
        return path.read_bytes().removeprefix(BOM_UTF8)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
