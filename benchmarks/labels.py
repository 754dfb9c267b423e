"""Labels at scale: seconds and memory to encode a vocabulary the first time and the next.

    python -m benchmarks.labels --labels 60000 --out /tmp/labels

Captions are made of a small grammar: all different, and as long as long ones of HumanML3D. Each measurement
is a process of its own. Memory is the largest anonymous part of its resident set: pages of mapped files,
which the system takes back when it needs them, are left out.
"""

import argparse
import itertools
import json
import random
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

from benchmarks.common import write_result

WHO = ("a person", "the man", "someone", "a woman", "the figure")
HOW = ("slowly", "quickly", "carefully", "happily", "with small steps", "without looking down")
DOES = (
    "walks forward",
    "turns around",
    "jumps up",
    "sits down on a chair",
    "waves with one hand",
    "kicks a ball",
)
THEN = ("then", "and after a pause", "before he", "while he")


def captions(count: int) -> list[str]:
    """The first captions of the grammar in a random order with a fixed seed."""
    parts = list(itertools.product(WHO, DOES, HOW, THEN, DOES, HOW, THEN, DOES))
    random.Random(0).shuffle(parts)
    return [" ".join(words) for words in parts[:count]]


def anonymous_mb() -> float:
    """Resident memory of this process that belongs to no file."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("RssAnon"))) / 1024


def encode(count: int, cache: Path) -> dict[str, float]:
    """Encode a vocabulary with the default encoder, in this process."""
    from langpose_dist.config import TextConfig
    from langpose_dist.models.text import load_text_encoder
    from langpose_dist.tasks.labels import LabelTable

    encoder = load_text_encoder(TextConfig())
    labels = captions(count)
    before, peak, done = anonymous_mb(), [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            peak[0] = max(peak[0], anonymous_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.monotonic()
    table = LabelTable.compute(encoder, labels, frozen=True, cache=cache)
    seconds = time.monotonic() - start
    done.set()
    watcher.join()
    assert table.token_features is not None
    return {"seconds": round(seconds, 1), "more_memory_mb": round(peak[0] - before)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--labels", type=int, nargs="+", default=[6000, 60000])
    parser.add_argument(
        "--out", type=Path, default=Path("runs/labels"), help="folder of the cache; emptied first"
    )
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(encode(arguments.child, arguments.out)))
        return
    shutil.rmtree(arguments.out, ignore_errors=True)
    results = []
    for count in arguments.labels:
        command = [
            sys.executable,
            "-m",
            "benchmarks.labels",
            "--child",
            str(count),
            "--out",
            str(arguments.out),
        ]
        for time_of in ("first", "next"):
            found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            results.append({"labels": count, "time": time_of, **json.loads(found.splitlines()[-1])})
            print(results[-1], flush=True)
    print(write_result("labels", {"encodings": results}, arguments))


if __name__ == "__main__":
    main()
