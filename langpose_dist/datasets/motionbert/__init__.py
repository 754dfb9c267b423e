"""Windows of AMASS and Human3.6M as MotionBERT prepares them."""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from langpose_dist.datasets.finding import Finding, Tree
from langpose_dist.datasets.source import Search, Source

_EPILOG = """\
example:
  langpose data build motionbert --input motion3d/MB3D_f243s81 --out data/mb3d

  MB3D_f243s81/{AMASS,H36M-SH}/{train,test}/*.pkl   windows as MotionBERT's own tools write them

Windows of the train folders overlap, have no labels and no names, and those of Human3.6M no metres: their
scale is estimated from bone lengths, as meta.json says. Build from the data sets themselves where you have
them.
"""


def _find(args: argparse.Namespace) -> Search:
    from langpose_dist.datasets.motionbert.clips import FRAME_RATES, find_clips

    return Search("motionbert", find_clips(args.input, fps=args.fps), {"rates": dict(FRAME_RATES)})


def _recognise(tree: Tree) -> Iterator[Finding]:
    from langpose_dist.datasets.motionbert.clips import SPLITS

    roots: dict[Path, set[str]] = {}
    for path in tree.ending(".pkl"):
        if path.parent.name in SPLITS and re.fullmatch(r"\d+", path.stem):
            roots.setdefault(path.parents[2], set()).add(path.parents[1].name)
    for root, subsets in roots.items():
        folder = root if root.is_relative_to(tree.root) else tree.root
        yield Finding(
            name="motionbert",
            path=folder,
            variant=root.name,
            facts={"folders": sorted(subsets)},
            build=("--input", str(folder)),
        )


SOURCE = Source(
    name="motionbert",
    summary="windows prepared by MotionBERT (MB3D_f243s81)",
    files="{AMASS,H36M-SH}/{train,test}/*.pkl",
    epilog=_EPILOG,
    find=_find,
    recognise=_recognise,
    fields=("subset",),
    example_rule="subset=AMASS",
)
