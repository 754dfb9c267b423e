"""Shared parts of the benchmarks: the machine it ran on, and the file its numbers go to."""

import argparse
import datetime
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from langpose_dist.host.environment import describe_environment

RESULTS = Path(__file__).parent / "results"


def describe_machine() -> dict[str, Any]:
    """Versions, processor, cores, threads, GPU and commit."""
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    environment = describe_environment(devices=names)
    del environment["world_size"], environment["nodes"]  # of a training run
    return {
        **environment,
        "processor": describe_environment()["devices"],
        "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
    }


def write_result(
    name: str, results: Mapping[str, Any], arguments: argparse.Namespace, folder: Path = RESULTS
) -> Path:
    """Write a benchmark's numbers with their circumstances to ``folder/NAME.json``.

    Args:
        name: File name without its ending.
        results: Containers, numbers and strings.
        arguments: What the benchmark was called with; of paths only the last part is kept.
        folder: Target folder; made if needed.
    """
    content = {
        "name": name,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": describe_machine(),
        "arguments": {key: _plain(value) for key, value in vars(arguments).items()},
        "results": results,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return path


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value.name if isinstance(value, Path) else value
