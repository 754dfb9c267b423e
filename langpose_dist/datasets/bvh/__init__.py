"""BVH files of any data set whose file names say what the motions show."""

import argparse
import shlex
from collections.abc import Iterator
from pathlib import Path

from langpose_dist.datasets.finding import Finding, Tree
from langpose_dist.datasets.source import Search, Source
from langpose_dist.host.arguments import place

_EPILOG = """\
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


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--skeleton",
        type=place,
        required=True,
        metavar="NAME",
        help="bandai-namco, or a YAML file (see below)",
    )
    parser.add_argument(
        "--label",
        default="action",
        help="field of the file name that is the label, or a template such as '{style} {action}' "
        "(default: action)",
    )
    parser.add_argument(
        "--captions",
        nargs="+",
        default=[],
        metavar="TEMPLATE",
        help="captions for caption.text_form=raw, such as 'someone does {action} in a {style} way' (default: "
        "none)",
    )


def _find(args: argparse.Namespace) -> Search:
    from langpose_dist.datasets.bvh.clips import find_clips, load_skeleton

    skeleton = load_skeleton(args.skeleton)
    return Search(
        dataset=skeleton.dataset,
        found=find_clips(args.input, skeleton, label=args.label, captions=tuple(args.captions), fps=args.fps),
        options={"skeleton": skeleton.model_dump(mode="json"), "label": args.label}
        | ({"captions": args.captions} if args.captions else {}),
    )


def _recognise(tree: Tree) -> Iterator[Finding]:
    from langpose_dist.datasets.bvh.clips import find_preset

    groups: dict[str | None, list[Path]] = {}
    for path in tree.ending(".bvh"):
        groups.setdefault(find_preset(path.stem), []).append(path)
    for preset, paths in groups.items():
        folder = tree.common_folder(path.parent for path in paths)
        if preset is not None:
            options = ("--input", str(folder), "--skeleton", preset)
            yield Finding(name="bvh", path=folder, variant=preset, build=options)
            continue
        command = f"langpose data build bvh --input {shlex.quote(str(folder))} --skeleton FILE.yaml --out DIR"
        yield Finding(
            name="bvh",
            path=folder,
            variant="unknown data set",
            facts={"files": len(paths), "first": paths[0].name},
            problems=("a build must be told which joints the files have and what their names mean",),
            advice=(f"write a YAML file as `langpose data build bvh --help` shows, then: {command}",),
        )


SOURCE = Source(
    name="bvh",
    summary="BVH files with labels in their names",
    files="*.bvh, at any depth",
    epilog=_EPILOG,
    find=_find,
    recognise=_recognise,
    add_options=_add_options,
    fields=("the pattern's groups",),
    example_rule="style=old,sad",
)
