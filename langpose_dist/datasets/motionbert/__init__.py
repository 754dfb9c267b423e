"""Windows of AMASS and Human3.6M as MotionBERT prepares them."""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from langpose_dist.datasets.finding import Finding, Tree
from langpose_dist.datasets.source import Search, Source, positive_number

_EPILOG = """\
example:
  langpose data build motionbert --input motion3d/MB3D_f243s81 --out data/mb3d

  MB3D_f243s81/{AMASS,H36M-SH}/{train,test}/*.pkl   windows as MotionBERT's own tools write them

Windows of the train folders overlap, have no labels and no names, and those of Human3.6M no metres: their
scale is estimated from bone lengths, as meta.json says. Build from the data sets themselves where you have
them. --rate gives the frames per second of folders with other names.
"""


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rate",
        action="append",
        default=[],
        type=_folder_rate,
        metavar="FOLDER=FPS",
        help="frame rate of a folder's windows (default: AMASS=60 H36M-SH=50); repeatable",
    )


def _folder_rate(text: str) -> tuple[str, float]:
    folder, _, rate = text.rpartition("=")
    if not folder:
        raise argparse.ArgumentTypeError(f"{text!r} must have the form FOLDER=FPS")
    return folder, positive_number(rate)


def _find(args: argparse.Namespace) -> Search:
    from langpose_dist.datasets.motionbert.clips import FRAME_RATES, find_clips

    rates = {**FRAME_RATES, **dict(args.rate)}
    return Search("motionbert", find_clips(args.input, fps=args.fps, source_fps=rates), {"rates": rates})


def _recognise(tree: Tree) -> Iterator[Finding]:
    from langpose_dist.datasets.motionbert.clips import FRAME_RATES, SPLITS

    roots: dict[Path, set[str]] = {}
    for path in tree.ending(".pkl"):
        if path.parent.name in SPLITS and re.fullmatch(r"\d+", path.stem):
            roots.setdefault(path.parents[2], set()).add(path.parents[1].name)
    for root, subsets in roots.items():
        folder = root if root.is_relative_to(tree.root) else tree.root
        # Other folders come from other tools of the kind, which all have windows of Human3.6M.
        unknown = sorted(subsets - FRAME_RATES.keys())
        yield Finding(
            name="motionbert",
            path=folder,
            variant=root.name,
            facts={"folders": sorted(subsets)},
            problems=tuple(
                f"unknown frame rate of {name}: 50, as of Human3.6M, is a guess" for name in unknown
            ),
            build=("--input", str(folder), *(f"--rate={name}=50" for name in unknown)),
        )


SOURCE = Source(
    name="motionbert",
    summary="windows prepared by MotionBERT (MB3D_f243s81)",
    files="{AMASS,H36M-SH}/{train,test}/*.pkl",
    epilog=_EPILOG,
    find=_find,
    recognise=_recognise,
    add_options=_add_options,
    fields=("subset",),
    example_rule="subset=AMASS",
)
