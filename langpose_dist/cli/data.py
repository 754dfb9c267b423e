"""``langpose data``: build shards, look at them, verify them."""

import argparse
import sys
from typing import Any

from langpose_dist.cli import build, data_doctor, synthesize
from langpose_dist.host.arguments import local_path, place
from langpose_dist.host.bars import tracked

_VERIFY = """\
example:
  langpose data verify data/shards && echo whole

Exits 0 if every shard, sample, label and number is what the manifest says, else 2 with one line per
problem. Nothing but .npy and .json members is ever decoded.
"""


def add_parser(subparsers: Any) -> None:
    """Add ``data`` and its sub-commands; each sets ``handler``, which takes the arguments and returns the
    exit code."""
    data = subparsers.add_parser("data", help="build, inspect and verify shards")
    commands = data.add_subparsers(dest="data_command", metavar="COMMAND", required=True)

    synthesize.add_parser(commands)
    build.add_parser(commands)
    data_doctor.add_parser(commands)

    inspect = commands.add_parser("inspect", help="what a data set holds")
    inspect.set_defaults(handler=_inspect)
    inspect.add_argument("root", type=place, metavar="DIR", help="folder or URL with manifest.json")
    inspect.add_argument("--json", action="store_true", help="print JSON")

    verify = commands.add_parser(
        "verify",
        help="check every byte of a data set",
        epilog=_VERIFY,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verify.set_defaults(handler=_verify)
    verify.add_argument("root", type=place, metavar="DIR", help="folder or URL with manifest.json")
    verify.add_argument("--cache-dir", type=local_path, metavar="DIR", help="where shards of a URL are kept")
    verify.add_argument("--json", action="store_true", help="print JSON")


def _inspect(args: argparse.Namespace) -> int:
    from langpose_dist.cli.summary import print_json, print_summary, summarise
    from langpose_dist.data.manifest import Manifest
    from langpose_dist.skeleton import H36M17

    manifest = Manifest.load(args.root)
    statistics = manifest.statistics
    groups = {
        field: counts
        for field in ("action", "subject", "remark")
        if any((counts := {split: manifest.group_counts(split, field) for split in manifest.splits}).values())
    }
    if args.json:
        ranges = statistics and {
            joint: {"mean": mean, "std": std, "min": low, "max": high}
            for joint, mean, std, low, high in zip(
                H36M17.joints, statistics.mean, statistics.std, statistics.min, statistics.max, strict=True
            )
        }
        print_json({**summarise(manifest), "groups": groups, "ranges": ranges})
        return 0
    print_summary(str(args.root), manifest)
    _print_counts("labels, spans", {split: manifest.label_counts(split) for split in manifest.splits})
    for field, counts in groups.items():
        _print_counts(f"{field}s, clips", counts)
    if statistics is not None:
        print("\nrelative to the pelvis over the frames of train, metres: mean (min to max)")
        rows = zip(H36M17.joints, statistics.mean, statistics.min, statistics.max, strict=True)
        for joint, mean, low, high in rows:
            axes = (f"{m:6.2f} ({a:5.2f} to {b:5.2f})" for m, a, b in zip(mean, low, high, strict=True))
            print(
                f"  {joint:14}  "
                + "  ".join(f"{axis} {text}" for axis, text in zip("xyz", axes, strict=True))
            )
    return 0


def _print_counts(title: str, counts: dict[str, dict[str, int]]) -> None:
    """Print a table with a row per name and a column per split."""
    names = sorted({name for column in counts.values() for name in column})
    width = max((len(name) for name in names), default=0)
    print(f"\n{len(names)} {title} per split")
    print(f"  {'':{width}}  " + "  ".join(f"{split:>10}" for split in counts))
    for name in names:
        cells = (f"{column.get(name, 0):>10}" for column in counts.values())
        print(f"  {name:{width}}  " + "  ".join(cells))


def _verify(args: argparse.Namespace) -> int:
    from langpose_dist.cli.summary import print_json
    from langpose_dist.datasets.splits import TRAIN
    from langpose_dist.datasets.verify import verify

    problems = verify(
        args.root,
        train_split=TRAIN,
        cache_dir=args.cache_dir,
        progress=lambda shards: tracked(shards, "verifying", "shard"),
    )
    if args.json:
        print_json({"root": str(args.root), "whole": not problems, "problems": problems})
    elif not problems:
        print(f"{args.root}: whole")
    else:
        for problem in problems:
            print(f"langpose: {problem}", file=sys.stderr)
    return 2 if problems else 0
