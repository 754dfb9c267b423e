"""Lifting as ``langpose infer`` does it, by cameras that nobody trained on: errors and cost.

    langpose data build bvh --input BVH --out data/test30 --skeleton bandai-namco --fps 30 \\
        --split test:fraction=1.0
    python -m benchmarks.inference errors --data data/test30 --model runs/finetuned
    python -m benchmarks.inference gaps --data data/test30 --model runs/finetuned
    python -m benchmarks.inference cuts --data data/test30 --model runs/finetuned
    python -m benchmarks.inference cost --model runs/finetuned

``errors``: every third clip of the split, filmed by seven cameras at four rates, with detector errors that
grow with the person in the picture; the truth is the motion in that camera's axes, pelvis at 0. The same
weights lift it by the picture's width (image), the person's size and place (box), the same with the camera's
focal length (box, focal) or twice (box, flip), and as MotionBERT's demo does: the box of the whole video is
-1..1, windows stand side by side, frames go in at the video's rate (motionbert), or at the model's
(motionbert, resampled). ``gaps``: joints that are missing for five frames, left out or filled in, with
several confidences. ``cuts``: a clip that is cut anywhere, and what its middle then differs by. ``cost``:
seconds and memory of some minutes and of an hour of one person, each in a process of its own.
"""

import argparse
import multiprocessing
import resource
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.interpolate import CubicSpline

from benchmarks.common import RESULTS, write_result
from langpose_dist.cli.infer import open_model
from langpose_dist.data.manifest import Manifest
from langpose_dist.data.shards import ShardReader
from langpose_dist.detections.track import Track, Tracks
from langpose_dist.geometry import camera_rotation
from langpose_dist.inference.lift import lift_tracks, used_keypoints
from langpose_dist.inference.model import LiftingModel
from langpose_dist.inference.options import LiftOptions
from langpose_dist.inference.person import limb_total_of
from langpose_dist.inference.rate import Rates
from langpose_dist.metrics.pose import p_mpjpe
from langpose_dist.models.lifting import lift
from langpose_dist.skeleton import H36M17
from langpose_dist.spaces import scale_to_person

SOURCE_FPS = 30.0
RATES = (24.0, 30.0, 50.0, 60.0)
_SLOW_M, _FAST_M = 0.015, 0.003
"""Detector's errors that wander in a third of a second, and that are new in every frame."""
_HALF_CONFIDENCE_M = 0.1


@dataclass(frozen=True)
class Camera:
    """A fixed camera; it stands back until the whole motion is in the picture."""

    size: tuple[int, int]
    focal_length: float
    distance: float
    aside: float
    """Metres from the camera's axis to the middle of the motion, at most."""
    crop: str | None = None
    """person: to a box around the person. upper: that, and only above the hips."""


CAMERAS = {
    "square": Camera((1000, 1000), 1100, 4.5, 0.0),
    "landscape": Camera((1920, 1080), 1400, 5.0, 0.8),
    "portrait": Camera((1080, 1920), 1400, 4.0, 0.3),
    "zoomed": Camera((1920, 1080), 4200, 11.0, 0.3),
    "far": Camera((1920, 1080), 1400, 9.0, 1.5),
    "cropped": Camera((1920, 1080), 1400, 5.0, 1.2, "person"),
    "upper body": Camera((1920, 1080), 1400, 4.0, 0.3, "upper"),
}


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("errors", "gaps", "cuts", "cost"))
    parser.add_argument("--model", required=True, help="as langpose infer takes it")
    parser.add_argument("--data", type=Path, help="shards at 30 frames per second")
    parser.add_argument("--every", type=int, default=3, help="one of so many clips")
    parser.add_argument("--rates", type=float, nargs="+", default=RATES, help="of errors")
    parser.add_argument("--height", type=float, help="of the person, for models of image_25d")
    parser.add_argument("--minutes", type=float, nargs="+", default=[10.0, 60.0], help="of cost")
    parser.add_argument("--name", help="name of the result; default: inference_WHAT")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the result")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = MEASURES[arguments.what](arguments)
    arguments.model = Path(arguments.model).name  # results name no folders of a machine
    print(
        write_result(arguments.name or f"inference_{arguments.what}", results, arguments, arguments.results)
    )


def measure_errors(arguments: argparse.Namespace) -> dict[str, Any]:
    """Mean errors over clips, each clip weighing the same, in mm."""
    model = open_model(arguments.model, None)
    motions = list(read_motions(arguments.data))[:: arguments.every]
    table: dict[str, Any] = {}
    for camera_name, camera in CAMERAS.items():
        for fps in arguments.rates:
            found: defaultdict[str, list[dict[str, float]]] = defaultdict(list)
            for number, motion in enumerate(motions):
                tracks, truth = film(motion, camera, fps, seed=number)
                for name, handle in HANDLINGS.items():
                    poses = handle(model, tracks, LiftOptions(height=arguments.height), camera)
                    found[name].append(errors_of(poses, truth, tracks.people[0].seen))
            rows = {name: _mean(errors) for name, errors in found.items()}
            table.setdefault(camera_name, {})[f"{fps:g}"] = rows
            cells = ", ".join(f"{name} {row['mpjpe_mm']:.1f}" for name, row in rows.items())
            print(f"{camera_name}, {fps:g} fps: {cells}", flush=True)
    return {"num_clips": len(motions), "model_fps": model.fps, "errors": table}


def read_motions(path: Path) -> Iterator[np.ndarray]:
    """World motion of every clip, metres, z up."""
    manifest = Manifest.load(path)
    assert manifest.fps == SOURCE_FPS
    reader = ShardReader(manifest, path)
    for shard in range(len(manifest.shards)):
        for sample in reader.iter_samples(shard):
            yield sample.poses_3d.astype(np.float64)


def film(motion: np.ndarray, camera: Camera, fps: float, seed: int) -> tuple[Tracks, np.ndarray]:
    """A motion as a detector sees it, and the truth in the camera's axes."""
    rng = np.random.default_rng(seed)
    times = np.arange(int((len(motion) - 1) / SOURCE_FPS * fps + 1e-6) + 1) / fps
    poses = CubicSpline(np.arange(len(motion)) / SOURCE_FPS, motion, axis=0)(times)
    yaw, elevation = rng.uniform(-np.pi, np.pi), np.deg2rad(rng.uniform(0, 15))
    rotation = camera_rotation(torch.tensor([yaw]).double(), torch.tensor([elevation]).double())[0].numpy()
    turned = (poses - poses[:, 0].mean(axis=0)) @ rotation.T
    side, distance = rng.choice([-1, 1]) * camera.aside * rng.uniform(0.5, 1), camera.distance
    while True:
        placed = turned + np.array([side, 0, distance])
        pixels = placed[..., :2] / placed[..., 2:] * camera.focal_length + np.array(camera.size) / 2
        if placed[..., 2].min() > 1 and (pixels > 0).all() and (pixels < camera.size).all():
            break
        distance *= 1.1
    error = _FAST_M * rng.normal(size=pixels.shape)
    knots = rng.normal(0.0, _SLOW_M, (max(int(3 * times[-1]), 2), *pixels.shape[1:]))
    error += CubicSpline(np.linspace(0, max(times[-1], 1e-3), len(knots)), knots, axis=0)(times)
    pixels = pixels + error * camera.focal_length / placed[:, :1, 2:]
    confidence = _HALF_CONFIDENCE_M / (_HALF_CONFIDENCE_M + np.linalg.norm(error, axis=-1))
    seen, size = np.ones_like(confidence, dtype=bool), camera.size
    if camera.crop is not None:
        low, high = pixels.min(axis=(0, 1)), pixels.max(axis=(0, 1))
        margin = 0.1 * (high - low).max()
        if camera.crop == "upper":
            trunk = (pixels[:, 0, 1] - pixels[:, H36M17.index("thorax"), 1]).mean()
            high[1] = np.median(pixels[:, 0, 1]) + 0.25 * trunk
            seen = pixels[..., 1] < high[1]
        pixels = pixels - (low - margin)
        size = tuple(int(value) for value in np.ceil(high - low + 2 * margin))
    keypoints = np.concatenate((pixels, confidence[..., None]), axis=-1) * seen[..., None]
    track = Track("0", 0, keypoints.astype(np.float32), seen)
    assert len(size) == 2
    tracks = Tracks((track,), len(times), fps, size, "synthetic", "h36m17", {})
    return tracks, placed - placed[:, :1]


def by_options(
    model: LiftingModel, tracks: Tracks, options: LiftOptions, camera: Camera, **choices: Any
) -> np.ndarray:
    """Lifting with further options."""
    return lift_tracks(model, tracks, replace(options, **choices))[0].poses_3d


def with_focal_length(
    model: LiftingModel, tracks: Tracks, options: LiftOptions, camera: Camera
) -> np.ndarray:
    """Lifting by the box, with the true focal length."""
    return by_options(model, tracks, options, camera, focal_length=camera.focal_length)


def as_motionbert(
    model: LiftingModel, tracks: Tracks, options: LiftOptions, camera: Camera, *, is_resampled: bool
) -> np.ndarray:
    """Lifting as MotionBERT's ``infer_wild.py`` does, by ``crop_scale``; scaled where a height is stated."""
    track = tracks.people[0]
    assert tracks.fps is not None
    rates = Rates(tracks.fps, model.fps if is_resampled else tracks.fps)
    keypoints, start = rates.to_model(used_keypoints(track), 0)
    points = keypoints[keypoints[..., 2] > 0][:, :2]
    low, high = points.min(axis=0), points.max(axis=0)
    places = (keypoints[..., :2] - (low + high) / 2) / ((high - low).max() / 2)
    inputs = np.concatenate((places, keypoints[..., 2:]), axis=-1) * (keypoints[..., 2:] > 0)
    poses = lift(model.model, torch.from_numpy(inputs.astype(np.float32))[None], model.num_frames)
    if options.height is not None:
        poses = scale_to_person(poses, limb_total_of(options.height))
    relative = (poses - poses[:, :, :1])[0].numpy()
    return rates.to_video(relative, start, 0, len(track.keypoints))


HANDLINGS: dict[str, Callable[[LiftingModel, Tracks, LiftOptions, Camera], np.ndarray]] = {
    "image": partial(by_options, normalisation="image"),
    "box": partial(by_options, normalisation="box"),
    "box, focal": with_focal_length,
    "box, flip": partial(by_options, flip_averaging=True),
    "motionbert": partial(as_motionbert, is_resampled=False),
    "motionbert, resampled": partial(as_motionbert, is_resampled=True),
}


def errors_of(poses: np.ndarray, truth: np.ndarray, seen: np.ndarray) -> dict[str, float]:
    """MPJPE over all joints and over those that are seen, and P-MPJPE."""
    distance = 1000 * np.linalg.norm(poses - truth, axis=-1)
    predicted, target = (torch.from_numpy(one.astype(np.float64))[None] for one in (poses, truth))
    aligned = p_mpjpe(predicted, target, torch.ones(predicted.shape[:2], dtype=torch.bool))
    return {
        "mpjpe_mm": float(distance.mean()),
        "seen_mpjpe_mm": float(distance[seen].mean()),
        "p_mpjpe_mm": 1000 * float(aligned[0]),
    }


def measure_gaps(arguments: argparse.Namespace) -> dict[str, Any]:
    """MPJPE in mm where joints are missing for five of thirty frames, 40 % of them at a time."""
    model = open_model(arguments.model, None)
    rows: defaultdict[str, list[float]] = defaultdict(list)
    for number, motion in enumerate(list(read_motions(arguments.data))[:: arguments.every]):
        tracks, truth = film(motion, CAMERAS["landscape"], SOURCE_FPS, seed=number)
        track, rng = tracks.people[0], np.random.default_rng(number)
        missing = np.zeros_like(track.seen)
        for joint in range(missing.shape[1]):
            for start in range(int(rng.integers(1, 10)), len(missing) - 6, 30):
                missing[start : start + 5, joint] = rng.random() < 0.4
        filled = track.keypoints.copy()
        times = np.arange(len(missing))
        for joint in range(missing.shape[1]):
            known = ~missing[:, joint]
            for axis in range(2):
                filled[:, joint, axis] = np.interp(times, times[known], filled[known, joint, axis])
        rows["nothing missing"].append(_error(model, tracks, track, truth))
        out = replace(track, keypoints=track.keypoints * ~missing[..., None], seen=~missing)
        rows["left out"].append(_error(model, tracks, out, truth))
        for confidence in (1e-6, 0.25, 0.5, 1.0):
            keypoints = filled.copy()
            keypoints[missing, 2] = confidence
            rows[f"filled, confidence {confidence:g}"].append(
                _error(model, tracks, replace(track, keypoints=keypoints), truth)
            )
    return {name: round(float(np.mean(row)), 2) for name, row in rows.items()}


def _error(model: LiftingModel, tracks: Tracks, track: Track, truth: np.ndarray) -> float:
    (clip,) = lift_tracks(model, replace(tracks, people=(track,)), LiftOptions())
    return 1000 * _distance(clip.poses_3d, truth)


def measure_cuts(arguments: argparse.Namespace) -> dict[str, Any]:
    """The middle of clips that begin later: on the video's own time axis, and in a file of their own."""
    model = open_model(arguments.model, None)
    rows: defaultdict[str, list[float]] = defaultdict(list)
    for number, motion in enumerate(list(read_motions(arguments.data))[:: arguments.every]):
        tracks, truth = film(motion, CAMERAS["landscape"], SOURCE_FPS, seed=number)
        whole = lift_tracks(model, tracks, LiftOptions())[0].poses_3d
        accelerations = np.diff(np.stack((whole, truth)), 2, axis=1) * SOURCE_FPS**2
        rows["acceleration error, blended, m/s^2"].append(_distance(*accelerations))
        # A window, and the frames of the model that a curve between two of them hangs on.
        margin = int(np.ceil((model.num_frames + 3) / model.fps * SOURCE_FPS))
        track = tracks.people[0]
        for cut in (1, 2, 3, 6, 11, 15):
            if len(whole) - cut <= 2 * margin:
                continue
            later = replace(track, keypoints=track.keypoints[cut:], seen=track.seen[cut:])
            for name, one in (("time kept", replace(later, first_frame=cut)), ("file cut", later)):
                poses = lift_tracks(model, replace(tracks, people=(one,)), LiftOptions())[0].poses_3d
                middle = slice(margin, -margin)
                phase = "" if name == "time kept" else f" by {cut} frames"
                rows[f"{name}{phase}, mm"].append(1000 * _distance(poses[middle], whole[cut:][middle]))
    return {name: {"mean": float(np.mean(row)), "largest": float(np.max(row))} for name, row in rows.items()}


def measure_cost(arguments: argparse.Namespace) -> dict[str, Any]:
    """Seconds and peak memory by minutes of one person at 30 frames per second."""
    rows = {}
    for minutes in arguments.minutes:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            rows[f"{minutes:g} minutes"] = pool.apply(_cost, (arguments.model, minutes))
        print(minutes, rows[f"{minutes:g} minutes"], flush=True)
    return rows


MEASURES = {"errors": measure_errors, "gaps": measure_gaps, "cuts": measure_cuts, "cost": measure_cost}


def _cost(name: str, minutes: float) -> dict[str, float]:
    torch.set_num_threads(1)
    model = open_model(name, None)
    num_frames = int(minutes * 60 * SOURCE_FPS)
    rng = np.random.default_rng(0)
    keypoints = rng.uniform(400, 600, (num_frames, 17, 3)).astype(np.float32)
    keypoints[..., 2] = 1
    track = Track("0", 0, keypoints, np.ones((num_frames, 17), bool))
    tracks = Tracks((track,), num_frames, SOURCE_FPS, (1000, 1000), "synthetic", "h36m17", {})
    before, started, cpu_started = _peak_mib(), time.monotonic(), time.process_time()
    (clip,) = lift_tracks(model, tracks, LiftOptions())
    return {
        "seconds": round(time.monotonic() - started, 1),
        "cpu_seconds": round(time.process_time() - cpu_started, 1),
        "peak_mib": round(_peak_mib()),
        "peak_before_mib": round(before),
        "result_mib": round((clip.poses_3d.nbytes + clip.keypoints_2d.nbytes + clip.seen.nbytes) / 2**20),
    }


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _distance(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.linalg.norm(first - second, axis=-1).mean())


def _mean(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(float(np.mean([row[name] for row in rows])), 2) for name in rows[0]}


if __name__ == "__main__":
    main()
