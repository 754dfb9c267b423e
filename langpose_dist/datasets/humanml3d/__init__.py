"""HumanML3D and KIT-ML: motions with captions, in one layout."""

import argparse
import functools
from collections.abc import Iterator

from langpose_dist.datasets.finding import Finding, Tree, group
from langpose_dist.datasets.source import Search, Source, name_of

_EPILOG = """\
example:
  langpose data build {name} --input {title} --out data/{name}

  {title}/new_joints/*.npy, texts/*.txt, train.txt, val.txt, test.txt

Captions, with their times where they have some, and their processed words serve task=caption, for which
--fps 12.5 keeps KIT-ML's rate. They are no action labels unless --captions-as-labels makes them such, for
pretraining: nearly each is then a label of its own. val.txt becomes the split 'validation'. Files whose names
begin with M are mirrored copies that belong to the data set; pretraining mirrors motions itself, and loses
nothing by --mirrored drop.
"""

_PREPARE = (
    "make new_joints as https://github.com/EricGuo5513/HumanML3D says, or build from AMASS and BABEL; "
    "KIT-ML can be downloaded with new_joints there"
)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--mirrored", choices=("keep", "drop"), default="keep", help="the mirrored copies (default: keep)"
    )
    parser.add_argument(
        "--captions-as-labels", action="store_true", help="make each caption an action label too"
    )


def _find(name: str, args: argparse.Namespace) -> Search:
    from langpose_dist.datasets.humanml3d.clips import find_clips

    options = {"mirrored": args.mirrored, "captions_as_labels": args.captions_as_labels}
    found = find_clips(args.input, fps=args.fps, dataset=name, **options)
    return Search(name_of(name, args.input), found, options)


def _recognise(name: str, tree: Tree) -> Iterator[Finding]:
    from langpose_dist.data.sample import DataError
    from langpose_dist.datasets.humanml3d.clips import is_left_handed

    motions = group(path for path in tree.ending(".npy") if path.parent.name == "new_joints")
    for folder, paths in motions.items():
        try:
            is_left_handed(paths, name)
        except DataError:
            continue
        place = folder.parent
        yield Finding(name, place, facts={"motions": len(paths)}, build=("--input", str(place)))
    incomplete = {path.parents[1] for path in tree.ending(".npy") if path.parent.name == "new_joint_vecs"}
    incomplete |= {path.parent for path in tree.named("texts.zip")}
    for folder in sorted(incomplete - {folder.parent for folder in motions}):
        if ("kit" in folder.name.lower()) == (name == "kit-ml"):
            problem = "no new_joints: captions and new_joint_vecs hold no positions"
            yield Finding(name, folder, "unfinished preparation", {}, (problem,), (_PREPARE,))


def _source(name: str, title: str) -> Source:
    return Source(
        name=name,
        summary=f"{title}: motions with captions",
        files="new_joints/*.npy and texts/*.txt",
        epilog=_EPILOG.format(name=name, title=title),
        find=functools.partial(_find, name),
        recognise=functools.partial(_recognise, name),
        add_options=_add_options,
        fields=("mirrored",),
        example_rule="mirrored=yes",
    )


SOURCES = (_source("humanml3d", "HumanML3D"), _source("kit-ml", "KIT-ML"))
