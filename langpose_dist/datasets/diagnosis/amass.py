"""Recognises AMASS, and says which command brings it together with labels and a body."""

import os
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from langpose_dist.data.sample import DataError
from langpose_dist.datasets.amass.file import NUM_COLUMNS, RATE_RANGE, RATES
from langpose_dist.datasets.amass.names import Motion
from langpose_dist.datasets.amass.subsets import ALIASES, AMASS_SUBSETS
from langpose_dist.datasets.diagnosis.body import REGRESSOR_DOWNLOAD, SMPLH_DOWNLOAD
from langpose_dist.datasets.diagnosis.finding import (
    Finding,
    Tools,
    Tree,
    build_command,
    common_folder,
    try_build,
)
from langpose_dist.datasets.diagnosis.npz_headers import NpzHeaders, read_npz_headers

SECONDS = 60.0
"""Time for opening motion files; what is not reached by then is left unopened, and said to be."""

SITE = "https://amass.is.tue.mpg.de"


@dataclass(frozen=True)
class Recordings:
    """What the headers of motion files say."""

    num_opened: int
    kinds: dict[str, int]
    """Kind of file -> number; ``SMPL+H`` is what can be used."""
    seconds: dict[str, float]
    """Subset -> length of its usable motions."""
    rates: tuple[float, ...]
    """Of the usable motions, sorted."""
    num_with_dmpls: int


def recognise_amass(
    tree: Tree,
    tools: Tools,
    parts: Sequence[Finding],
    corpora: Sequence[Path],
    clock: Callable[[], float] = time.monotonic,
) -> list[Finding]:
    """A finding for the motions of each synthetic corpus, and one for all others.

    Args:
        tree: What to look through.
        tools: The builder's search.
        parts: Findings of BABEL, bodies and regressors, which the motions go with.
        corpora: Folders of synthetic corpora.
        clock: Seconds, for the limit on opening files.
    """
    groups: dict[Path | None, dict[Path, Motion]] = defaultdict(dict)
    for path in tree.ending(".npz"):
        motion = motion_of(path)
        if motion is not None:
            groups[next((folder for folder in corpora if path.is_relative_to(folder)), None)][path] = motion
    return [
        _amass(tree, tools, parts, motions, folder is not None, clock)
        for folder, motions in sorted(groups.items(), key=lambda item: str(item[0]))
    ]


def motion_of(path: Path) -> Motion | None:
    """What AMASS calls the motion of a file, as the builder sees it."""
    return Motion.of(PurePosixPath(path.absolute().as_posix()))


def read_headers(
    motions: dict[Path, Motion], tools: Tools, clock: Callable[[], float] = time.monotonic
) -> Recordings:
    """Look into the files, evenly spread over all of them, as long as there is time."""
    paths = list(motions)
    steps = max(round(len(paths) ** 0.5), 1)
    spread = [path for start in range(steps) for path in paths[start::steps]]
    start = clock()
    kinds: Counter[str] = Counter()
    seconds: defaultdict[str, float] = defaultdict(float)
    rates: set[float] = set()
    num_with_dmpls = 0
    for path in tools.watch(spread):
        if clock() - start > SECONDS:
            break
        try:
            headers = read_npz_headers(path, ("poses",), (*RATES, "surface_model_type"))
        except DataError:
            kinds["unreadable file"] += 1
            continue
        kind, rate = _kind_of(headers)
        kinds[kind] += 1
        if rate is not None:
            seconds[motions[path].subset] += headers.shapes["poses"][0] / rate
            rates.add(round(rate, 2))
            num_with_dmpls += "dmpls" in headers.names
    return Recordings(
        kinds.total(), dict(kinds.most_common()), dict(seconds), tuple(sorted(rates)), num_with_dmpls
    )


def _kind_of(headers: NpzHeaders) -> tuple[str, float | None]:
    """Kind of file, in the words of the builder's reasons, and its rate if it can be used."""
    shape = headers.shapes.get("poses", ())
    columns = shape[1] if len(shape) == 2 else 0
    if columns == 165 or str(headers.values.get("surface_model_type")).lower().startswith("smplx"):
        return "SMPL-X motion", None
    if columns != NUM_COLUMNS:
        return ("SMPL motion (72 columns)" if columns == 72 else "not SMPL+H"), None
    value = next((headers.values[name] for name in RATES if name in headers.values), None)
    if value is None or value.size != 1 or value.dtype.kind not in "iuf":
        return "no frame rate", None
    rate = float(value.reshape(-1)[0])
    return ("SMPL+H", rate) if RATE_RANGE[0] <= rate <= RATE_RANGE[1] else ("unusable frame rate", None)


def _amass(
    tree: Tree,
    tools: Tools,
    parts: Sequence[Finding],
    motions: dict[Path, Motion],
    is_synthetic: bool,
    clock: Callable[[], float],
) -> Finding:
    root = common_folder((path.parents[2] for path in motions), tree.root)
    tools.say(f"reading the headers of {len(motions):,} motion files in {root}")
    headers = read_headers(motions, tools, clock)
    subsets = Counter(motion.subset for motion in motions.values())
    facts: dict[str, Any] = {"motions": len(motions)}
    if headers.num_opened < len(motions):
        facts["opened"] = f"{headers.num_opened:,} of the files, evenly spread; hours and kinds are of these"
    facts["files"] = headers.kinds
    if headers.rates:
        low, high = headers.rates[0], headers.rates[-1]
        facts["hours"] = sum(headers.seconds.values()) / 3600
        facts["rates"] = f"{low:g} to {high:g} Hz" if low < high else f"{low:g} Hz"
    if headers.num_with_dmpls:
        facts["DMPL"] = f"in {headers.num_with_dmpls:,} files (not needed)"
    facts["subsets"] = {
        name: {"motions": count, "hours": headers.seconds.get(name, 0.0) / 3600}
        for name, count in sorted(subsets.items())
    }
    problems = [*_wrong_places(motions), *_wrong_kinds(headers)]
    absent = [name for name in AMASS_SUBSETS if name not in subsets]
    if not is_synthetic and len(absent) < len(AMASS_SUBSETS):
        facts["not here"] = absent
    variant = f"{_variant(headers, motions)}{', synthetic' if is_synthetic else ''}"
    usable = headers.kinds.get("SMPL+H", 0) > 0
    advice: list[str] = []
    if _is_smplx(headers):
        advice.append(f"download the same subsets as SMPL+H G from {SITE}")
    words, missing = _command(root, parts, is_synthetic)
    if not usable:
        return Finding("amass", "AMASS", variant, root, facts, tuple(problems), tuple(advice))
    if words is None:
        return Finding(
            "amass", "AMASS", variant, root, facts, (*problems, *missing[0]), (*advice, *missing[1])
        )
    found, counts, wrong = try_build(tools, words)
    if found:
        counts["labelled"] = sum(bool(clip.annotation and clip.annotation.labels) for clip in found.clips)
    return Finding(
        kind="amass",
        name="AMASS",
        variant=variant,
        path=root,
        facts={**facts, **counts},
        problems=(*problems, *missing[0], *wrong),
        advice=(*advice, *missing[1]),
        commands=(words,) if found else (),
        ready=found is not None,
    )


def _command(
    root: Path, parts: Sequence[Finding], is_synthetic: bool
) -> tuple[tuple[str, ...] | None, tuple[list[str], list[str]]]:
    """The command, ``None`` if something for it is missing; and what is missing, and where to get it."""
    problems: list[str] = []
    advice: list[str] = []
    options: list[str] = []

    def nearest(kind: str) -> Finding | None:
        chosen = [part for part in parts if part.kind == kind and (kind != "smplh" or part.facts["genders"])]
        return min(chosen, key=lambda part: _distance(root, part.path), default=None)

    babel, body, regressor = nearest("babel"), nearest("smplh"), nearest("regressor")
    if babel is not None:
        options += ["--babel", str(babel.path)]
    else:
        problems.append("no BABEL, so the motions would have no labels")
        advice.append("download babel_v1.0_release.zip from https://babel.is.tue.mpg.de")
    if body is None:
        problems.append("no SMPL+H body model, which a build needs")
        advice.append(SMPLH_DOWNLOAD)
    if regressor is None:
        problems.append("no regressor of Human3.6M's joints, which a build needs")
        advice.append(REGRESSOR_DOWNLOAD)
    if body is None or regressor is None:
        return None, (problems, advice)
    options += ["--smplh", str(body.path), "--regressor", str(regressor.path)]
    genders = body.facts["genders"]
    if not {"male", "female"} <= set(genders):
        options += ["--gender", next(name for name in ("neutral", "female", "male") if name in genders)]
    if is_synthetic:
        options += ["--dataset", "synthetic"]
    name = "synthetic" if is_synthetic else "amass"
    return build_command("amass", root, *options, out=name), (problems, advice)


def _distance(root: Path, path: Path) -> tuple[int, str]:
    """How many steps lead from one to the other."""
    return len(Path(os.path.relpath(path, root)).parts), str(path)


def _is_smplx(headers: Recordings) -> bool:
    return any(kind.startswith("SMPL") and kind != "SMPL+H" for kind in headers.kinds)


def _variant(headers: Recordings, motions: dict[Path, Motion]) -> str:
    kinds = set(headers.kinds)
    if "SMPL+H" in kinds:
        newer = sum(path.stem.lower().endswith("_stageii") for path in motions)
        names = ["SMPL+H"] if newer else ["SMPL+H G"]
        if newer:
            names[0] += " (_stageii)" if newer == len(motions) else " (_poses and _stageii)"
    else:
        names = []
    names += [kind.removesuffix(" motion") for kind in sorted(kinds) if kind.startswith("SMPL-X")]
    return " and ".join(names) or "another release"


def _wrong_kinds(headers: Recordings) -> list[str]:
    return [
        f"{count:,} of {headers.num_opened:,} opened files: {kind}; a build skips them"
        for kind, count in headers.kinds.items()
        if kind != "SMPL+H"
    ]


def _wrong_places(motions: dict[Path, Motion]) -> list[str]:
    """Files that are not SUBSET/SUBJECT/NAME, by where the name of a subset stands."""
    counts: Counter[str] = Counter()
    for path, motion in motions.items():
        if motion.subset in AMASS_SUBSETS:
            continue
        parents = path.absolute().parents
        if _subset(parents[0]):
            counts["without a folder of the subject"] += 1
        elif len(parents) > 2 and _subset(parents[2]):
            counts["one folder too deep"] += 1
    return [
        f"{count:,} files lie {place}: BABEL's labels find them only as SUBSET/SUBJECT/NAME_poses.npz"
        for place, count in counts.items()
    ]


def _subset(folder: Path) -> str | None:
    return ALIASES.get(re.sub(r"[^a-z0-9]", "", folder.name.lower()))
