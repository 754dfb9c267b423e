"""How fast shards are built from AMASS-layout motion, and in how much memory, with 1 and 2 workers.

    python -m benchmarks.build_throughput --corpus runs/two-hours runs/half-an-hour --out runs/throughput

Each CORPUS is a folder that ``langpose data synthesize`` made. Every build is a command of its own, as a user
gives it; memory is that of its whole process tree, shared pages counted once (PSS), sampled ten times a
second. Several corpora of different length show whether memory grows with the data. Builds of a corpus must
be equal byte for byte, or there is no result.
"""

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, write_result
from langpose_dist.data.manifest import Manifest

_INTERVAL = 0.1


def main() -> None:
    """Build every corpus with every number of workers and write the numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, nargs="+", required=True, help="folders of synthesized data")
    parser.add_argument("--out", type=Path, required=True, help="folder for the shards; replaced")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=1, help="builds each, of which the fastest counts")
    parser.add_argument("--name", default="build_throughput")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the result")
    arguments = parser.parse_args()
    rows = [row for corpus in arguments.corpus for row in measure_corpus(corpus, arguments)]
    arguments.corpus = [corpus.name for corpus in arguments.corpus]
    print(write_result(arguments.name, {"builds": rows}, arguments, arguments.results))
    print(table(rows))


def measure_corpus(corpus: Path, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The fastest of the repeats, and the most memory of any, for each number of workers."""
    measure(corpus, arguments.out, 1)  # whoever is first would read the corpus from disk for the others
    rows = []
    for workers in arguments.workers:
        repeats = [measure(corpus, arguments.out, workers) for _ in range(arguments.repeats)]
        row = min(repeats, key=lambda row: row["seconds"])
        rows.append(row | {"peak_memory_mb": max(repeat["peak_memory_mb"] for repeat in repeats)})
        print(rows[-1], file=sys.stderr)
    fingerprints = {row["manifest_sha256"] for row in rows}
    assert len(fingerprints) == 1, f"{corpus}: builds differ: {fingerprints}"
    return rows


def measure(corpus: Path, out: Path, workers: int) -> dict[str, Any]:
    """One build: seconds, and peak memory of all its processes."""
    from langpose_dist.host.atomic import hash_file

    shutil.rmtree(out, ignore_errors=True)
    command = [
        *(sys.executable, "-m", "langpose_dist.cli.main", "data", "build", "amass"),
        *("--input", str(corpus / "amass"), "--babel", str(corpus / "babel")),
        *("--smplh", str(corpus / "smplh"), "--regressor", str(corpus / "J_regressor_h36m_correct.npy")),
        *("--dataset", "synthetic", "--out", str(out), "--workers", str(workers)),
    ]
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        peak = max(peak, memory_of(process.pid))
        time.sleep(_INTERVAL)
    seconds = time.monotonic() - start
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed with exit code {process.returncode}")
    manifest = Manifest.load(out)
    frames = sum(split.num_frames for split in manifest.splits.values())
    hours = frames / manifest.fps / 3600
    return {
        "corpus": corpus.name,
        "hours": round(hours, 3),
        "clips": sum(split.num_samples for split in manifest.splits.values()),
        "workers": workers,
        "seconds": round(seconds, 1),
        "motion_hours_per_minute": round(hours / seconds * 60, 2),
        "peak_memory_mb": round(peak / 1e6),
        "manifest_sha256": hash_file(out / "manifest.json"),
        "data_fingerprint": manifest.fingerprint,
    }


def memory_of(root: int) -> int:
    """Bytes of a process and all that it started; pages that they share count once."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # ended meanwhile
                continue
            parents[int(entry.name)] = int(fields[1])
    tree = {root}
    while more := {child for child, parent in parents.items() if parent in tree} - tree:
        tree |= more
    return sum(map(_proportional_size, tree))


def _proportional_size(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def table(rows: list[dict[str, Any]]) -> str:
    """The numbers as Markdown."""
    lines = [
        "| corpus, hours | clips | workers | seconds | motion hours per minute | peak memory MB |",
        "|---" * 6 + "|",
    ]
    lines += [
        f"| {row['hours']:.2f} | {row['clips']} | {row['workers']} | {row['seconds']} "
        f"| {row['motion_hours_per_minute']} | {row['peak_memory_mb']} |"
        for row in rows
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
