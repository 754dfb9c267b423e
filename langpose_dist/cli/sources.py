"""The sources that shards are built from: their options, and how their clips are found."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langpose_dist.data.clip import Found


@dataclass(frozen=True)
class Search:
    """What came of looking through the input."""

    dataset: str
    """Name of the data set."""
    found: "Found[Any]"
    options: Mapping[str, Any]
    """What else decides the content of the shards; kept in the manifest."""


@dataclass(frozen=True)
class Source:
    """One kind of input."""

    name: str
    text: str
    """One line for the help."""
    input_help: str
    epilog: str
    """An example and what the options mean."""
    add_options: Callable[[argparse.ArgumentParser], None]
    find: Callable[[argparse.Namespace], Search]
    fields: tuple[str, ...]
    """Fields for split rules, or some of them."""
    example_rule: str
    """``field=value,value``."""
    fps: float = 30.0
    """Default rate of the shards."""


_BVH = """\
example:
  langpose data build bvh --input mocap/data --out data/shards --skeleton bandai-namco \\
      --split validation:style=old,sad,tired

--skeleton is 'bandai-namco' or a YAML file such as:
  dataset: my-mocap
  pattern: '(?P<subject>s\\d+)_(?P<action>[a-z-]+)_(?P<number>\\d+)'   # whole name without .bvh
  unit_scale: 0.01              # metres per unit of the files
  up: y                         # or z
  points:                       # optional: points fixed to a joint, in its own axes
    Crown: {joint: Head, offset: [0, 18, 0]}
  joints:                       # all 17 joints, as weights of joints, points or 'JOINT End' sites
    pelvis: {LeftUpLeg: 0.5, RightUpLeg: 0.5}
    right_hip: {RightUpLeg: 1}
    head: {Crown: 1}            # and so on
"""


def _add_bvh_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--skeleton", required=True, metavar="NAME", help="bandai-namco, or a YAML file (see below)"
    )
    parser.add_argument(
        "--label",
        default="action",
        help="field of the file name that is the label, or a template such as '{style} {action}' "
        "(default: action)",
    )


def _find_bvh(args: argparse.Namespace) -> Search:
    from langpose_dist.data.sources.bvh import find_clips, load_skeleton

    skeleton = load_skeleton(args.skeleton)
    return Search(
        dataset=skeleton.dataset,
        found=find_clips(args.input, skeleton, label=args.label, fps=args.fps),
        options={"skeleton": skeleton.model_dump(mode="json"), "label": args.label},
    )


BVH = Source(
    name="bvh",
    text="BVH files with labels in their names",
    input_help="searched to any depth for .bvh",
    epilog=_BVH,
    add_options=_add_bvh_options,
    find=_find_bvh,
    fields=("those that the skeleton's pattern names",),
    example_rule="style=old,sad",
)

SOURCES = (BVH,)
"""All of them, in the order of the help."""
