"""Recognises the motions of AMASS and of synthetic corpora, and what a build of them needs beside them."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from langpose_dist.data.sample import DataError
from langpose_dist.datasets.amass.babel import FILES
from langpose_dist.datasets.amass.file import read_recording
from langpose_dist.datasets.amass.names import Motion
from langpose_dist.datasets.clip import reason_of
from langpose_dist.datasets.finding import Finding, Tree
from langpose_dist.datasets.source import SYNTHETIC

NUM_OPENED = 64
"""Motion files that are opened to see of which release they are, evenly spread over all."""

_AMASS = "download 'SMPL+H G' from https://amass.is.tue.mpg.de"
_MISSING = {
    "--smplh": "no SMPL+H body models, which a build needs: download 'Extended SMPL+H model (used in AMASS "
    "project)' from https://mano.is.tue.mpg.de and unpack it into a folder smplh",
    "--regressor": "no regressor of Human3.6M's joints, which a build needs: get "
    "J_regressor_h36m_correct.npy (17 x 6890) from data/Human36M of https://github.com/hongsukchoi/Pose2Mesh_RELEASE",
    "--babel": "no BABEL, so the motions would have no labels: download babel_v1.0_release.zip from "
    "https://babel.is.tue.mpg.de and unpack it",
}


def recognise(tree: Tree) -> Iterator[Finding]:
    """Find the motions of each synthetic corpus and those of AMASS."""
    parts = {
        "--smplh": [path.parents[1] for path in tree.named("model.npz") if path.parents[1].name == "smplh"],
        "--regressor": tree.named("J_regressor_h36m_correct.npy"),
        "--babel": [path.parent for path in tree.named(*(f"{name}.json" for name in FILES))],
    }
    corpora = [path.parent for path in tree.named(SYNTHETIC)]
    groups: dict[Path | None, list[Path]] = {}
    for path in tree.ending(".npz"):
        if Motion.of(PurePosixPath(path)) is not None:
            corpus = next((folder for folder in corpora if path.is_relative_to(folder)), None)
            groups.setdefault(corpus, []).append(path)
    for corpus, paths in groups.items():
        root = tree.common_folder(path.parents[2] for path in paths)
        yield _motions(root, paths, parts, is_synthetic=corpus is not None)


def _motions(
    root: Path, paths: Sequence[Path], parts: Mapping[str, Sequence[Path]], *, is_synthetic: bool
) -> Finding:
    opened = paths[:: max(len(paths) // NUM_OPENED, 1)]
    kinds: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for path in opened:
        try:
            read_recording(path)
            kinds["SMPL+H"] += 1
        except DataError as error:
            reason = reason_of(error, path)
            kind = reason.partition(":")[0]
            kinds[kind] += 1
            examples.setdefault(kind, f"{path.name}: {reason}")
    problems = [f"{kinds[kind]} of {len(opened)} opened files: {text}" for kind, text in examples.items()]
    problems += [problem for option, problem in _MISSING.items() if not parts[option]]
    options = ["--input", str(root)]
    for option, places in parts.items():
        if places:
            nearest = min(places, key=lambda place: len(Path(os.path.relpath(place, root)).parts))
            options += [option, str(nearest)]
    if is_synthetic:
        options += ["--dataset", "synthetic"]
    can_be_built = kinds["SMPL+H"] and parts["--smplh"] and parts["--regressor"]
    return Finding(
        name="amass",
        path=root,
        variant="synthetic" if is_synthetic else "",
        facts={"motions": len(paths), "opened": dict(kinds)},
        problems=tuple(problems),
        advice=() if kinds["SMPL+H"] else (_AMASS,),
        build=tuple(options) if can_be_built else None,
    )
