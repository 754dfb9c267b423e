"""Seconds per 1,000 evaluated frames: lifting, flip averaging and every metric of the protocol motionbert.

    python -m benchmarks.evaluation_speed [--device cuda] [--frames 2430]

One recording of random joints, for the full-size model and for that of configs/pretrain/small.yaml; reading
shards is not in it. Writes NAME.json.
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import RESULTS, write_result
from benchmarks.trainings import ROOT
from langpose_dist.config import load_config
from langpose_dist.data.manifest import SampleEntry
from langpose_dist.evaluation.contenders import Contender
from langpose_dist.evaluation.measure import score_recording
from langpose_dist.evaluation.protocols import PROTOCOLS
from langpose_dist.evaluation.recordings import Recording
from langpose_dist.models.lifter import Lifter

CONFIGS = {"full size": "configs/finetune/h36m.yaml", "small": "configs/finetune/open.yaml"}


def main() -> None:
    """Time both models and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--frames", type=int, default=2430)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--name", default="evaluation_speed", help="name of the result")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the result")
    arguments = parser.parse_args()
    rows = {name: measure(ROOT / config, arguments) for name, config in CONFIGS.items()}
    print(write_result(arguments.name, rows, arguments, arguments.results))
    for name, row in rows.items():
        print(f"{name}: {row['seconds_per_1000_frames']:.2f} s per 1,000 frames")


def measure(config_file: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Median over the repeats, after one that is not counted."""
    config = load_config([config_file])
    torch.manual_seed(0)
    model = Lifter(config).eval().to(arguments.device)
    contender = Contender("random", model, "image_25d", config.window.num_frames, None, config, {})
    num_frames = arguments.frames
    poses = torch.randn(num_frames, 17, 3)
    recording = Recording(
        entry=SampleEntry(
            key="clip",
            num_frames=num_frames,
            spans=(),
            members={"poses_3d.npy": (0, 1000 * num_frames)},
            action="walking",
        ),
        start=0,
        keypoints_2d=torch.rand(num_frames, 17, 3),
        poses_3d=poses - poses[:, :1],
        metres=torch.ones(num_frames),
        counted=torch.ones(num_frames, dtype=torch.bool),
    )
    seconds, frames = [], 0
    for _ in range(1 + arguments.repeats):
        begin = time.perf_counter()
        score = score_recording(contender, recording, PROTOCOLS["motionbert"])
        seconds.append(time.perf_counter() - begin)
        assert score is not None
        frames = score.num_frames
    return {
        "window_frames": config.window.num_frames,
        "frames": frames,
        "seconds": seconds[1:],
        "seconds_per_1000_frames": 1000 * statistics.median(seconds[1:]) / frames,
    }


if __name__ == "__main__":
    main()
