"""HumanML3D and KIT-ML: motions with captions, in one layout."""

import argparse
import functools
from collections.abc import Iterator
from pathlib import Path

from langpose_dist.datasets.finding import Finding, Tree, group
from langpose_dist.datasets.source import Search, Source, add_unlabelled

_EPILOG = """\
example:
  langpose data build {name} --input {title} --out data/{name}

  {title}/new_joints/*.npy, texts/*.txt, train.txt, val.txt, test.txt

Captions are the labels, with their times where they have some. val.txt becomes the split 'validation'. Files
whose names begin with M are mirrored copies that belong to the data set; training mirrors motions itself, so
--mirrored drop loses nothing there.
"""

_PREPARE = (
    "make new_joints as https://github.com/EricGuo5513/HumanML3D says, or build from AMASS and BABEL; "
    "KIT-ML can be downloaded with new_joints there"
)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--mirrored", choices=("keep", "drop"), default="keep", help="the mirrored copies (default: keep)"
    )
    add_unlabelled(parser)


def _find(name: str, args: argparse.Namespace) -> Search:
    from langpose_dist.datasets.humanml3d.clips import find_clips

    found = find_clips(
        args.input, fps=args.fps, dataset=name, mirrored=args.mirrored, unlabelled=args.unlabelled
    )
    return Search(name, found, {"mirrored": args.mirrored, "unlabelled": args.unlabelled})


def _recognise(name: str, tree: Tree) -> Iterator[Finding]:
    from langpose_dist.data.sample import DataError
    from langpose_dist.datasets.humanml3d.clips import recognise

    motions = group(path for path in tree.ending(".npy") if path.parent.name == "new_joints")
    for folder, paths in motions.items():
        try:
            if recognise(paths, None)[0] == name:
                yield _describe(name, folder.parent, paths)
        except DataError as error:
            if _guess(folder.parent) == name:
                yield Finding(name, folder.parent, "not recognised", problems=(str(error),))
    incomplete = {path.parents[1] for path in tree.ending(".npy") if path.parent.name == "new_joint_vecs"}
    incomplete |= {path.parents[1] for path in tree.ending(".txt") if path.parent.name == "texts"}
    incomplete |= {path.parent for path in tree.named("texts.zip")}
    for folder in sorted(incomplete - {folder.parent for folder in motions}):
        if _guess(folder) == name:
            problem = "no new_joints: captions and new_joint_vecs hold no positions"
            yield Finding(name, folder, "unfinished preparation", {}, (problem,), (_PREPARE,))


def _describe(name: str, folder: Path, paths: list[Path]) -> Finding:
    from langpose_dist.datasets.humanml3d.clips import SPLITS

    problems: list[str] = []
    texts = {path.stem for path in (folder / "texts").glob("*.txt")}
    captioned = sum(path.stem in texts for path in paths)
    if captioned < len(paths):
        problems.append(f"texts holds no captions for {len(paths) - captioned:,} of {len(paths):,} motions")
    if lists := [f"{file}.txt" for file in SPLITS.values() if not (folder / f"{file}.txt").is_file()]:
        problems.append(f"no {', '.join(lists)}: their motions would be for training")
    facts = {"motions": len(paths), "captioned": captioned}
    return Finding(name, folder, "", facts, tuple(problems), build=("--input", str(folder)))


def _guess(folder: Path) -> str:
    return "kit-ml" if "kit" in folder.name.lower() else "humanml3d"


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
