"""Frames per second from SMPL+H poses to keypoints: smplx's whole mesh against the fast path.

    python -m benchmarks.smplh_speed --corpus runs/quickstart/data

CORPUS is a folder that ``langpose data synthesize`` made; ``--smplh`` and ``--regressor`` name other files,
such as the licensed ones. The same poses go through both in turn, in one process; the median of the repeats
counts. The whole mesh is done the way that suits it best: float32, in chunks of 64 frames (one batch of all
takes more time and memory), without gradients, with torch's default threads. The fast path is float64 on one
thread.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import RESULTS, write_result
from langpose_dist.datasets.smplh import (
    KeypointBody,
    find_body_models,
    load_body_model,
    load_regressor,
)
from langpose_dist.host.atomic import hash_file

LARGEST_DIFFERENCE = 1e-5
"""Metres; results further apart are not of the same keypoints, and no speed is reported."""

_CHUNK = 64
_LEFT_HAND = slice(66, 111)
_RIGHT_HAND = slice(111, 156)


def main() -> None:
    """Measure both and write the numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, default=Path("runs/quickstart/data"), help="synthesized data")
    parser.add_argument("--smplh", type=Path, help="folder of body models (default: CORPUS/smplh)")
    parser.add_argument("--regressor", type=Path, help="default: CORPUS/J_regressor_h36m_correct.npy")
    parser.add_argument("--frames", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--name", default="smplh_speed")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the result")
    arguments = parser.parse_args()
    models = find_body_models(arguments.smplh or arguments.corpus / "smplh")
    path = next(iter(models.values()))
    regressor_path = arguments.regressor or arguments.corpus / "J_regressor_h36m_correct.npy"
    regressor = load_regressor(regressor_path)
    random = np.random.default_rng(0)
    poses = random.normal(0, 0.3, (arguments.frames, 156))
    trans, betas = random.normal(0, 1, (arguments.frames, 3)), random.normal(0, 1, 16)

    start = time.perf_counter()
    body = KeypointBody(load_body_model(path), regressor)
    setup = time.perf_counter() - start
    mesh = whole_mesh(path, regressor, poses, trans, betas)
    ways: dict[str, Callable[[], np.ndarray]] = {
        "whole_mesh": mesh,
        "fast_path": lambda: body.keypoints(poses, trans, betas),
    }
    error = float(np.abs(ways["whole_mesh"]() - ways["fast_path"]()).max())
    if error > LARGEST_DIFFERENCE:
        raise SystemExit(f"the two ways differ by {error:.2e} m")
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(arguments.repeats):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    rates = {name: arguments.frames / statistics.median(values) for name, values in seconds.items()}
    results: dict[str, Any] = {
        "frames_per_second": {name: round(rate) for name, rate in rates.items()},
        "ratio": round(rates["fast_path"] / rates["whole_mesh"], 1),
        "seconds": seconds,
        "largest_difference_m": error,
        "fast_path_setup_seconds": round(setup, 2),
        "touched_vertices": int(np.count_nonzero(regressor.any(axis=0))),
        "body_model_sha256": hash_file(path),
        "regressor_sha256": hash_file(regressor_path),
    }
    print(write_result(arguments.name, results, arguments, arguments.results))
    print(
        f"whole mesh {rates['whole_mesh']:.0f}, fast path {rates['fast_path']:.0f} frames per second: "
        f"{results['ratio']} x as fast, {error:.1e} m apart"
    )


def whole_mesh(
    path: Path, regressor: np.ndarray, poses: np.ndarray, trans: np.ndarray, betas: np.ndarray
) -> Callable[[], np.ndarray]:
    """Function that makes the keypoints by ``smplx``."""
    import smplx

    class SixteenShapes(smplx.SMPLH):
        SHAPE_SPACE_DIM = 16

    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "SMPLH_NEUTRAL.npz"  # the name by which smplx knows it
        plain.symlink_to(path.resolve())
        body = SixteenShapes(
            str(plain), ext="npz", num_betas=16, use_pca=False, flat_hand_mean=True, batch_size=_CHUNK
        )
    matrix = torch.from_numpy(regressor).float()
    inputs = [
        {
            "global_orient": torch.from_numpy(poses[rows, :3]).float(),
            "body_pose": torch.from_numpy(poses[rows, 3:66]).float(),
            "left_hand_pose": torch.from_numpy(poses[rows, _LEFT_HAND]).float(),
            "right_hand_pose": torch.from_numpy(poses[rows, _RIGHT_HAND]).float(),
            "transl": torch.from_numpy(trans[rows]).float(),
            "betas": torch.from_numpy(np.tile(betas, (len(poses[rows]), 1))).float(),
        }
        for rows in (slice(start, start + _CHUNK) for start in range(0, len(poses), _CHUNK))
    ]

    @torch.inference_mode()
    def run() -> np.ndarray:
        return np.concatenate([(matrix @ body(**part).vertices).numpy() for part in inputs])

    return run


if __name__ == "__main__":
    main()
