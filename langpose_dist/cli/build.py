"""``langpose data build SOURCE``: the options that all sources share, the build and its summary."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langpose_dist.datasets.registry import SOURCES
from langpose_dist.datasets.source import Source
from langpose_dist.host.arguments import count, local_path
from langpose_dist.host.bars import Bar

if TYPE_CHECKING:
    from langpose_dist.data.manifest import Manifest
    from langpose_dist.datasets.build import OnClips, Runner

_COMMON = """\
split rules, each --split SPLIT:RULE; the first that matches a clip wins, then the data set's own split,
then 'train':
  {rule:30} clips whose field has one of these values; fields: {fields}
  validation:fraction=0.1        a tenth of the clips, by a stable hash of their names; of two such
                                 rules the second takes its share of what the first left

--workers N builds N shards at a time on Ray; the data are the same, byte for byte. On a cluster
(--ray-address) every node needs this package and must see --input and --out at the same place. While it
runs, Ray listens on this machine's network interfaces, with its token authentication on; it keeps its token
in ~/.ray and its logs in /tmp/ray.

The same command, given again, resumes a build that was interrupted.
"""


def add_parser(commands: Any, report: Callable[[str, "Manifest", list[str], bool], None]) -> None:
    """Add ``build`` with a sub-command per source.

    Args:
        commands: Sub-commands of ``langpose data``.
        report: Prints a manifest's summary under a title, with notes about its labels, as JSON if asked to.
    """
    build = commands.add_parser("build", help="write shards from motion capture")
    sources = build.add_subparsers(dest="source", metavar="SOURCE", required=True)
    for source in SOURCES:
        parser = sources.add_parser(
            source.name,
            help=source.summary,
            description=source.summary[0].upper() + source.summary[1:] + ".",
            epilog=source.epilog
            + "\n"
            + _COMMON.format(rule=f"validation:{source.example_rule}", fields=", ".join(source.fields)),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        source.add_arguments(parser)
        _add_common_options(parser)
        parser.set_defaults(handler=lambda args, source=source: _build(args, source, report))


def _add_common_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=local_path, required=True, metavar="DIR", help="new or empty folder for the shards"
    )
    parser.add_argument(
        "--split", action="append", default=[], metavar="RULE", help="hold out clips (see below); repeatable"
    )
    parser.add_argument("--shard-size", type=count, default=64, help="clips per shard (default: 64)")
    parser.add_argument(
        "--workers",
        type=count,
        default=1,
        metavar="N",
        help="shards built at a time, on Ray (default: 1, no Ray)",
    )
    parser.add_argument(
        "--ray-address", metavar="ADDRESS", help="Ray cluster to build on: auto, HOST:PORT or ray://HOST:PORT"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a complete data set in --out")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


def _build(
    args: argparse.Namespace, source: Source, report: Callable[[str, "Manifest", list[str], bool], None]
) -> int:
    from langpose_dist.cli.label_notes import label_notes
    from langpose_dist.datasets.build import build_shards, check_output
    from langpose_dist.datasets.splits import SplitRule, assign_splits

    out = args.out
    for name, value in vars(args).items():
        if isinstance(value, Path):  # other nodes do not share this process's folder
            setattr(args, name, value.absolute())
    rules = [SplitRule.parse(text) for text in args.split]
    check_output(args.out, overwrite=args.overwrite)
    search = source.find(args)
    clips = search.found.clips
    pairs = assign_splits(clips, rules) if clips else []
    with Bar(len(pairs), "building", "clip") as bar:
        manifest = build_shards(
            pairs,
            args.out,
            dataset=search.dataset,
            source=source.name,
            fps=args.fps,
            options={**search.options, "split": list(args.split), "shard_size": args.shard_size},
            shard_size=args.shard_size,
            overwrite=args.overwrite,
            skipped=search.found.skipped,
            num_ignored=search.found.num_ignored,
            runner=_runner(args),
            on_clips=bar.update,
        )
    report(str(out), manifest, label_notes(manifest), args.json)
    return 0


def _runner(args: argparse.Namespace) -> "Runner":
    from langpose_dist.datasets.build import run_here

    if args.workers == 1 and args.ray_address is None:
        return run_here

    def run(tasks: Any, on_clips: "OnClips") -> Any:
        from langpose_dist.datasets.parallel import run_on_ray

        return run_on_ray(tasks, on_clips, workers=args.workers, address=args.ray_address)

    return run
