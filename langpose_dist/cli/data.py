"""``langpose data``: build shards, look at them, verify them."""

import argparse
import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from langpose_dist.cli import build, data_doctor, synthesize
from langpose_dist.host.arguments import local_path, place
from langpose_dist.host.bars import tracked

if TYPE_CHECKING:
    from langpose_dist.data.manifest import Manifest

_INSPECT = """\
example:
  langpose data inspect data/shards
"""

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
    build.add_parser(commands, report=_report)
    data_doctor.add_parser(commands)

    inspect = _add(commands, "inspect", "what a data set holds", _INSPECT, _inspect)
    inspect.add_argument("root", type=place, metavar="DIR", help="folder or URL with manifest.json")
    inspect.add_argument("--json", action="store_true", help="print JSON")

    verify = _add(commands, "verify", "check every byte of a data set", _VERIFY, _verify)
    verify.add_argument("root", type=place, metavar="DIR", help="folder or URL with manifest.json")
    verify.add_argument("--cache-dir", type=local_path, metavar="DIR", help="where shards of a URL are kept")
    verify.add_argument("--json", action="store_true", help="print JSON")


def _add(
    subparsers: Any, name: str, text: str, epilog: str, handler: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(handler=handler)
    return parser


def _inspect(args: argparse.Namespace) -> int:
    from langpose_dist.cli.label_notes import label_notes
    from langpose_dist.data.manifest import Manifest
    from langpose_dist.skeleton import H36M17

    manifest = Manifest.load(args.root)
    notes = label_notes(manifest)
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
        _print_json({**_summary(manifest, notes), "groups": groups, "ranges": ranges})
        return 0
    _print_summary(str(args.root), manifest, notes)
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
    from langpose_dist.datasets.splits import TRAIN
    from langpose_dist.datasets.verify import verify

    problems = verify(
        args.root,
        train_split=TRAIN,
        cache_dir=args.cache_dir,
        progress=lambda shards: tracked(shards, "verifying", "shard"),
    )
    if args.json:
        _print_json({"root": str(args.root), "whole": not problems, "problems": problems})
    elif not problems:
        print(f"{args.root}: whole")
    else:
        for problem in problems:
            print(f"langpose: {problem}", file=sys.stderr)
    return 2 if problems else 0


def _report(title: str, manifest: "Manifest", notes: list[str], as_json: bool) -> None:
    if as_json:
        _print_json({"out": title, **_summary(manifest, notes)})
    else:
        _print_summary(title, manifest, notes)


def _summary(manifest: "Manifest", notes: list[str]) -> dict[str, Any]:
    from langpose_dist.datasets.build import count_reasons

    return {
        "dataset": manifest.dataset,
        "source": manifest.source,
        "fps": manifest.fps,
        "unit": manifest.unit,
        "axes": manifest.axes,
        "skeleton": manifest.skeleton,
        "splits": {
            name: {
                "clips": split.num_samples,
                "frames": split.num_frames,
                "hours": split.num_frames / manifest.fps / 3600,
                "shards": len(manifest.shards_of(name)),
                "label_counts": manifest.label_counts(name),
                "captions": manifest.num_captions(name),
            }
            for name, split in manifest.splits.items()
        },
        "num_bytes": sum(shard.num_bytes for shard in manifest.shards),
        "skipped": {"total": len(manifest.skipped), "reasons": count_reasons(manifest.skipped)},
        "ignored": manifest.num_ignored,
        "label_notes": notes,
        "fingerprint": manifest.fingerprint,
        "tool_version": manifest.tool_version,
        "build": manifest.build,
    }


def _print_json(content: dict[str, Any]) -> None:
    print(json.dumps(content, indent=2, ensure_ascii=False))


def _print_summary(title: str, manifest: "Manifest", notes: list[str]) -> None:
    from langpose_dist.datasets.build import describe_skipped

    num_bytes = sum(shard.num_bytes for shard in manifest.shards)
    print(
        f"{title}: {manifest.dataset} from {manifest.source}, {manifest.fps:g} frames per second, "
        f"{manifest.unit}, {manifest.axes}, {manifest.skeleton}"
    )
    for name, split in manifest.splits.items():
        hours = split.num_frames / manifest.fps / 3600
        shards = len(manifest.shards_of(name))
        print(
            f"  {name:12} {split.num_samples:6} clips {split.num_frames:9} frames {hours:7.2f} h "
            f"{len(manifest.label_counts(name)):5} labels {shards:4} shards"
        )
    captions = {name: manifest.num_captions(name) for name in manifest.splits}
    if any(captions.values()):
        print(f"  captions: {', '.join(f'{count} in {name}' for name, count in captions.items())}")
    print(f"  {num_bytes / 1e6:.1f} MB, fingerprint {manifest.fingerprint}")
    if manifest.skipped:
        print(
            f"  skipped {len(manifest.skipped)}: {describe_skipped(manifest.skipped)} (each in manifest.json)"
        )
    if manifest.num_ignored:
        print(f"  {manifest.num_ignored} files of other kinds were not looked at")
    for note in notes:
        print(f"  {note}")
