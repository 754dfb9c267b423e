"""Recognises AMASS and what a build of it needs: labels, body models, a regressor; and synthetic corpora."""

import os
import re
import shlex
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path, PurePosixPath

from langpose_dist.data.sample import DataError
from langpose_dist.datasets.amass.babel import FILES, load_annotations
from langpose_dist.datasets.amass.file import read_recording
from langpose_dist.datasets.amass.names import Motion
from langpose_dist.datasets.amass.synthetic import RECORD, SyntheticRecord, read_record
from langpose_dist.datasets.finding import Finding, Tree, group
from langpose_dist.datasets.smplh import (
    check_joint_order,
    find_body_models,
    load_body_model,
    load_regressor,
)

NUM_OPENED = 64
"""Motion files that are opened to see of which release they are, evenly spread over all."""

_AMASS = "download 'SMPL+H G' from https://amass.is.tue.mpg.de"
_BABEL = "download babel_v1.0_release.zip from https://babel.is.tue.mpg.de and unpack it"
_SMPLH = "download 'Extended SMPL+H model (used in AMASS project)' from https://mano.is.tue.mpg.de"
_REGRESSOR = (
    "get J_regressor_h36m_correct.npy (17 x 6890) from data/Human36M of "
    "https://github.com/hongsukchoi/Pose2Mesh_RELEASE"
)

_IN_GENDER = re.compile(r"(male|female|neutral)/model[.](npz|pkl)")
_BODY = re.compile(r"(smpl[hx]?_.*|basicmodel_.*)[.](npz|pkl)")


def recognise(tree: Tree) -> Iterator[Finding]:
    """Find the motions of each synthetic corpus and those of AMASS, and the parts that go with them."""
    records = {path.parent: record for path in tree.named(RECORD) if (record := read_record(path))}
    unfinished = [folder for folder, record in records.items() if not record.complete]
    for folder in unfinished:
        yield _unfinished(folder, records[folder])
    tree = tree.without(unfinished)
    named = {path: Motion.of(PurePosixPath(path)) for path in tree.ending(".npz")}
    motions = {path: motion for path, motion in named.items() if motion is not None}
    bodies = _bodies([path for path in tree.ending(".npz", ".pkl") if path not in motions])
    parts = [*_annotations(tree, motions.values()), *bodies, *_regressors(tree, bodies)]
    groups: dict[Path | None, list[Path]] = {}
    for path in motions:
        corpus = next((folder for folder in records if path.is_relative_to(folder)), None)
        groups.setdefault(corpus, []).append(path)
    for corpus, paths in groups.items():
        root = tree.common_folder(path.parents[2] for path in paths)
        subsets = Counter(motions[path].subset for path in paths)
        yield _motions(root, paths, subsets, parts, is_synthetic=corpus is not None)
    yield from parts


def _unfinished(folder: Path, record: SyntheticRecord) -> Finding:
    out = shlex.quote(str(folder))
    return Finding(
        name="synthetic corpus",
        path=folder,
        variant="unfinished",
        problems=("it was interrupted; the same command resumes it",),
        commands=(f"langpose data synthesize --out {out} --hours {record.hours:g} --seed {record.seed}",),
    )


def _motions(
    root: Path, paths: Sequence[Path], subsets: Counter[str], parts: Sequence[Finding], *, is_synthetic: bool
) -> Finding:
    opened = paths[:: max(len(paths) // NUM_OPENED, 1)]
    kinds: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for path in opened:
        try:
            read_recording(path)
            kinds["SMPL+H"] += 1
        except DataError as error:
            kind = str(error).partition(":")[0]
            kinds[kind] += 1
            examples.setdefault(kind, f"{path.name}: {error}")
    problems = [f"{kinds[kind]} of {len(opened)} opened files: {text}" for kind, text in examples.items()]
    options, missing = _choose_parts(root, parts)
    if is_synthetic and options is not None:
        options += ("--dataset", "synthetic")
    return Finding(
        name="amass",
        path=root,
        variant="synthetic" if is_synthetic else "",
        facts={"motions": len(paths), "opened": dict(kinds), "subsets": dict(subsets)},
        problems=(*problems, *missing),
        advice=() if kinds["SMPL+H"] else (_AMASS,),
        build=options if kinds["SMPL+H"] else None,
    )


def _choose_parts(root: Path, parts: Sequence[Finding]) -> tuple[tuple[str, ...] | None, list[str]]:
    """Options of a build, ``None`` if a part that it needs is missing; and what is missing."""
    chosen: dict[str, Finding] = {}
    for part in sorted(parts, key=lambda part: (_distance(root, part.path), part.path)):
        if part.ready:
            chosen.setdefault(part.name, part)
    missing = [
        problem
        for name, problem in (
            ("BABEL", f"no BABEL, so the motions would have no labels: {_BABEL}"),
            ("body models", f"no SMPL+H body models, which a build needs: {_SMPLH}"),
            ("regressor", f"no regressor of Human3.6M's joints, which a build needs: {_REGRESSOR}"),
        )
        if name not in chosen
    ]
    babel, bodies, regressor = map(chosen.get, ("BABEL", "body models", "regressor"))
    if bodies is None or regressor is None:
        return None, missing
    options = ["--input", str(root), "--smplh", str(bodies.path), "--regressor", str(regressor.path)]
    if babel is not None:
        options += ["--babel", str(babel.path)]
    genders = bodies.facts["genders"]
    if not {"male", "female"} <= set(genders):
        options += ["--gender", "neutral" if "neutral" in genders else genders[0]]
    return tuple(options), missing


def _distance(root: Path, path: Path) -> int:
    """Number of steps from one to the other."""
    return len(Path(os.path.relpath(path, root)).parts)


def _annotations(tree: Tree, motions: Collection[Motion]) -> Iterator[Finding]:
    present = {motion.lower() for motion in motions}
    for folder, paths in group(tree.named(*(f"{name}.json" for name in FILES))).items():
        try:
            annotations, _ = load_annotations(folder, "proc_label")
        except DataError as error:
            if len(paths) > 1:  # a train.json alone may be anybody's
                yield Finding("BABEL", folder, "damaged", problems=(str(error),), advice=(_BABEL,))
            continue
        if not annotations:
            continue
        named = [motion for entry in annotations if (motion := Motion.of(PurePosixPath(entry.path)))]
        missing = Counter(motion.subset for motion in set(named) if motion.lower() not in present)
        facts = {
            "motions": dict(Counter(entry.file for entry in annotations)),
            "labels": len({label.text for entry in annotations for label in entry.labels}),
        }
        problems: list[str] = []
        if missing:
            subsets = ", ".join(f"{count:,} {name}" for name, count in missing.most_common())
            problems.append(
                f"{missing.total():,} of {len(set(named)):,} annotated motions have no file here as "
                f"SUBSET/SUBJECT/NAME_poses.npz: {subsets}"
            )
        yield Finding("BABEL", folder, "", facts, tuple(problems), ready=True)


def _bodies(paths: Sequence[Path]) -> list[Finding]:
    """Folders of usable SMPL+H models; if there are none, what is wrong with the others."""
    folders: dict[Path, None] = {}
    for path in paths:
        if _IN_GENDER.fullmatch(f"{path.parent.name}/{path.name}".lower()):
            folders[path.parents[1]] = None
        elif _BODY.fullmatch(path.name.lower()):
            folders[path.parent] = None
    found = [_body_models(folder) for folder in folders]
    return [finding for finding in found if finding.ready] or found


def _body_models(folder: Path) -> Finding:
    genders: list[str] = []
    problems: list[str] = []
    try:
        for gender, path in sorted(find_body_models(folder).items()):
            try:
                load_body_model(path)
                genders.append(gender)
            except DataError as error:
                problems.append(str(error))
    except DataError as error:
        problems.append(str(error))
    advice = ()
    if missing := sorted({"male", "female"} - set(genders)):
        problems.append(f"no usable model for {', '.join(missing)}, whom most recordings of AMASS show")
        advice = (f"{_SMPLH}; or give everyone one body with --gender",)
    facts = {"genders": genders}
    return Finding("body models", folder, "", facts, tuple(problems), advice, ready=bool(genders))


def _regressors(tree: Tree, bodies: Sequence[Finding]) -> Iterator[Finding]:
    paths = [path for path in tree.ending(".npy") if "regressor" in path.name.lower()]
    model = None
    if paths and bodies and bodies[0].ready:
        model = load_body_model(find_body_models(bodies[0].path)[bodies[0].facts["genders"][0]])
    for path in paths:
        try:
            regressor = load_regressor(path)
            if model is not None:
                check_joint_order(model, regressor)
        except DataError as error:
            yield Finding("regressor", path, "not usable", {}, (str(error),), (_REGRESSOR,))
            continue
        facts = {"left and right": "checked on the body" if model else "not checked, there is no body"}
        yield Finding("regressor", path, "", facts, ready=True)
