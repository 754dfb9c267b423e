"""MMD on open motion: level and power of the test, cover of the interval, frame rates, time and memory.

    python -m benchmarks.mmd DATA [--rates DATA30 DATA24 DATA15] [--frames 10000 100000]

DATA: shards with actions, such as Bandai-Namco's at 10 Hz. --rates: builds of one motion, the fastest first.
Null splits deal clips of all actions out in two at random. For power and cover the clips of two actions are
two populations, from which both sets are drawn with replacement. Writes NAME.json.
"""

import argparse
import itertools
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import RESULTS, write_result
from langpose_dist.analysis.clips import ClipSet
from langpose_dist.analysis.features import frame_features
from langpose_dist.analysis.kernels import clip_sums, median_bandwidth
from langpose_dist.analysis.mmd import KernelSums, compare
from langpose_dist.data.manifest import Manifest
from langpose_dist.datasets.timing import resample

LEVEL = 0.05
MIN_CLIPS = 9
"""Fewest clips of an action that takes part in pairs."""
CLIP_FRAMES = 100
"""Length of the timed clips."""
NUM_BY_FRAMES = 100
"""Null splits that are tested by exchanging frames too, every eighth of them."""

Clips = list[np.ndarray]


def main() -> None:
    """Measure everything and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--rates", type=Path, nargs="*", default=[])
    parser.add_argument("--splits", type=int, default=400, help="null splits")
    parser.add_argument("--sizes", type=int, nargs="+", default=[5, 10, 20], help="clips of each set")
    parser.add_argument("--repeats", type=int, default=40, help="draws per pair of actions and size")
    parser.add_argument("--frames", type=int, nargs="*", default=[10_000, 40_000, 67_000, 100_000])
    parser.add_argument("--name", default="mmd", help="name of the result")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the result")
    arguments = parser.parse_args()
    actions = read_actions(arguments.data)
    results = {
        "null_splits": [null_splits(actions, size, arguments.splits) for size in arguments.sizes],
        "pairs": [pairs(actions, size, arguments.repeats) for size in arguments.sizes],
        "frame_rates": frame_rates(arguments.rates),
        "speed": [time_sums(frames) for frames in arguments.frames],
    }
    print(write_result(arguments.name, results, arguments, arguments.results))


def read_actions(root: Path) -> dict[str, Clips]:
    """Features of the clips of every action, from all splits, z-scored together."""
    actions: dict[str, Clips] = {}
    for split in Manifest.load(root).splits:
        one = ClipSet.open(str(root), split)
        fps = one.manifest.fps
        for action, clips in one.groups("action").items():
            fit = one.draw(clips, fps, sys.maxsize)
            actions.setdefault(action, []).extend(one.read(clip, fps) for clip in fit)
    return standardise(actions)


def standardise(sets: dict[str, Clips]) -> dict[str, Clips]:
    """Sets of clips, z-scored together."""
    frames = np.concatenate([clip for clips in sets.values() for clip in clips])
    mean, std = frames.mean(axis=0), frames.std(axis=0)
    return {name: [(clip - mean) / std for clip in clips] for name, clips in sorted(sets.items())}


class Population:
    """Clips with the kernel sums between them, a frame's pair with itself included."""

    def __init__(self, clips: Clips) -> None:
        self.clips = clips
        self.num_frames = np.array([len(clip) for clip in clips])
        sigma = median_bandwidth(clips, clips)
        self.sums = clip_sums(clips, sigma) + np.diag(self.num_frames)

    def draw(self, first: np.ndarray, second: np.ndarray) -> tuple[KernelSums, np.ndarray]:
        """Kernel sums of two sets, where a clip that is drawn twice is two clips; and which are the first."""
        chosen = np.concatenate((first, second))
        num_frames = self.num_frames[chosen]
        sums = self.sums[np.ix_(chosen, chosen)] - np.diag(num_frames)
        return KernelSums(sums, num_frames), np.arange(len(chosen)) < len(first)

    def mmd2(self, first: np.ndarray, second: np.ndarray) -> float:
        """Between two sets as whole populations."""

        def mean(rows: np.ndarray, columns: np.ndarray) -> float:
            pairs = self.num_frames[rows].sum() * self.num_frames[columns].sum()
            return float(self.sums[np.ix_(rows, columns)].sum() / pairs)

        return mean(first, first) + mean(second, second) - 2 * mean(first, second)


def null_splits(actions: dict[str, Clips], size: int, num_splits: int) -> dict[str, Any]:
    """Rejection rate between two random sets of clips of one distribution."""
    population = Population([clip for some in actions.values() for clip in some])
    rng = np.random.default_rng(0)
    found, by_frames = [], []
    for number in range(num_splits):
        chosen = rng.permutation(len(population.clips))[: 2 * size]
        found.append(compare(*population.draw(chosen[:size], chosen[size:])))
        if number < NUM_BY_FRAMES:
            sets = [
                [frame[None] for clip in side for frame in population.clips[clip][::8]]
                for side in (chosen[:size], chosen[size:])
            ]
            frames = [*sets[0], *sets[1]]
            singles = KernelSums(clip_sums(frames, median_bandwidth(*sets)), np.ones(len(frames), int))
            by_frames.append(compare(singles, np.arange(len(frames)) < len(sets[0])).p <= LEVEL)
    rejected = np.mean([one.p <= LEVEL for one in found])
    return {
        "clips_per_set": size,
        "num_splits": num_splits,
        "level": LEVEL,
        "rejected": float(rejected),
        "standard_error": float(np.sqrt(rejected * (1 - rejected) / num_splits)),
        "rejected_by_frames": float(np.mean(by_frames)),
        "mmd2_mean": float(np.mean([one.mmd2 for one in found])),
        "mmd2_std": float(np.std([one.mmd2 for one in found])),
        "floor_mean": float(np.mean([one.floor for one in found])),
    }


def pairs(actions: dict[str, Clips], size: int, repeats: int) -> dict[str, Any]:
    """Power of the test and cover of the interval for every pair of actions."""
    rng = np.random.default_rng(0)
    rows = {}
    named = [name for name, clips in actions.items() if len(clips) >= MIN_CLIPS]
    for names in itertools.combinations(named, 2):
        population = Population([clip for name in names for clip in actions[name]])
        first = np.arange(len(actions[names[0]]))
        second = np.arange(len(first), len(population.clips))
        truth = population.mmd2(first, second)
        found = [
            compare(*population.draw(rng.choice(first, size), rng.choice(second, size)))
            for _ in range(repeats)
        ]
        mean = np.mean([one.mmd2 for one in found])
        rows[" - ".join(names)] = {
            "mmd2": truth,
            "mmd2_mean": float(mean),
            "power": float(np.mean([one.p <= LEVEL for one in found])),
            "cover": float(np.mean([one.low <= truth <= one.high for one in found])),
            "cover_of_its_mean": float(np.mean([one.low <= mean <= one.high for one in found])),
        }
    means = {key: float(np.mean([row[key] for row in rows.values()])) for key in next(iter(rows.values()))}
    return {"clips_per_set": size, "repeats": repeats, "mean": means, "pairs": rows}


def frame_rates(roots: list[Path]) -> list[dict[str, Any]]:
    """MMD between the fastest build and the others of the same motion, by how derivatives are taken."""
    if not roots:
        return []
    builds = [read_poses(root) for root in roots]
    lowest = min(fps for fps, _ in builds)
    forms = {
        "per_frame": lambda poses, fps: frame_features(poses, 1.0),
        "per_second": frame_features,
        "one_rate": lambda poses, fps: frame_features(resample(poses, fps, lowest), lowest),
    }
    rows = []
    for fps, motions in builds[1:]:
        row: dict[str, Any] = {"fps": [builds[0][0], fps], "one_rate_fps": lowest}
        for name, form in forms.items():
            sets = [
                [form(poses, rate) for poses in some]
                for rate, some in ((builds[0][0], builds[0][1]), (fps, motions))
            ]
            both = standardise({"0": sets[0], "1": sets[1]})
            clips = [*both["0"], *both["1"]]
            sums = clip_sums(clips, median_bandwidth(both["0"], both["1"]))
            kernels = KernelSums(sums, np.array([len(clip) for clip in clips]))
            found = compare(kernels, np.arange(len(clips)) < len(both["0"]))
            row[name] = {"mmd2": found.mmd2, "floor": found.floor}
        rows.append(row)
    return rows


def read_poses(root: Path) -> tuple[float, Clips]:
    """Rate and poses of all clips, in the order of their keys."""
    found = {}
    for split in Manifest.load(root).splits:
        one = ClipSet.open(str(root), split)
        for clip in one.clips:
            place = (clip.shard_index, clip.sample_index)
            found[clip.entry.key] = one.reader.read_poses(*place, 0, clip.entry.num_frames)
    return Manifest.load(root).fps, [found[key] for key in sorted(found)]


def time_sums(num_frames: int) -> dict[str, Any]:
    """Processor seconds of kernel sums, and of test and interval, and what they allocate at most."""
    clips = list(np.random.default_rng(0).normal(size=(num_frames // CLIP_FRAMES, CLIP_FRAMES, 6)))
    tracemalloc.start()
    start = time.process_time()
    sums = clip_sums(clips, 3.0)
    between = time.process_time()
    compare(KernelSums(sums, np.full(len(clips), CLIP_FRAMES)), np.arange(len(clips)) < len(clips) // 2)
    end = time.process_time()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {
        "num_frames": num_frames,
        "clip_frames": CLIP_FRAMES,
        "seconds_of_sums": between - start,
        "seconds_of_test": end - between,
        "peak_mib": peak / 2**20,
    }


if __name__ == "__main__":
    main()
