"""Recognises the data sets that are built from by themselves."""

import re
import shlex
from pathlib import Path
from typing import Any

from langpose_dist.data.sample import DataError
from langpose_dist.datasets.bvh.clips import PRESETS, parse_name
from langpose_dist.datasets.diagnosis.finding import (
    LARGE,
    Finding,
    Tools,
    Tree,
    build_command,
    build_finding,
    common_folder,
    group,
    size_of,
)
from langpose_dist.datasets.humanml3d.clips import SPLITS, recognise
from langpose_dist.datasets.motionbert import FRAME_RATES
from langpose_dist.datasets.mpi_inf_3dhp import FILES

_H36M_PICKLE = "h36m_sh_conf_cam_source_final.pkl"
_H36M_3D = "data_3d_h36m.npz"
_H36M_2D = "data_2d_h36m_"
_VIDEOPOSE3D = "https://github.com/facebookresearch/VideoPose3D/blob/main/DATASETS.md"
_TITLES = {"humanml3d": "HumanML3D", "kit-ml": "KIT-ML"}


def recognise_human36m(tree: Tree, tools: Tools) -> list[Finding]:
    """MotionBERT's pickle, VideoPose3D's archives, or the original files, which need preparation."""
    findings: list[Finding] = []
    for path in tree.named(_H36M_PICKLE):
        _say_if_large(path, tools)
        words = build_command("human36m", path)
        findings.append(build_finding(tools, "human36m", "Human3.6M", "MotionBERT's pickle", path, words))
    for folder, paths in group(path for path in tree.ending(".npz") if "h36m" in path.name.lower()).items():
        names = sorted(path.name for path in paths)
        detections = [name for name in names if name.startswith(_H36M_2D)]
        if _H36M_3D in names:
            _say_if_large(folder / _H36M_3D, tools)
            problems = () if detections else (f"no {_H36M_2D}*.npz beside it, so no 2D detections",)
            variant, facts = "VideoPose3D's files", {"2D": detections}
            choices = [name.removeprefix(_H36M_2D).removesuffix(".npz") for name in detections]
            choice = "cpn_ft_h36m_dbb" if "cpn_ft_h36m_dbb" in choices else (*choices, "none")[0]
            words = build_command("human36m", folder / _H36M_3D, "--detections", choice)
            finding = build_finding(tools, "human36m", "Human3.6M", variant, folder, words, facts, problems)
            findings.append(finding)
        elif detections:
            problem = f"{_H36M_3D} is missing: there are 2D keypoints only"
            advice = (f"make it as {_VIDEOPOSE3D} says",)
            facts = {"2D": detections}
            finding = Finding(
                "human36m", "Human3.6M", "VideoPose3D's files", folder, facts, (problem,), advice
            )
            findings.append(finding)
    if raw := tree.ending(".cdf"):
        folder = common_folder((path.parent for path in raw), tree.root)
        problem = "original files, which need preparation"
        advice = (f"make {_H36M_3D} of them as {_VIDEOPOSE3D} says",)
        facts = {"files": len(raw)}
        findings.append(Finding("human36m", "Human3.6M", "original", folder, facts, (problem,), advice))
    return findings


def recognise_mpi_inf_3dhp(tree: Tree, tools: Tools) -> list[Finding]:
    """The pair of npz files, or the original files, which need preparation."""
    findings: list[Finding] = []
    for folder, paths in group(tree.named(*FILES)).items():
        for path in paths:
            _say_if_large(path, tools)
        missing = [name for name in FILES if folder / name not in paths]
        problems = tuple(f"{name} is missing; the other can be used without it" for name in missing)
        words = build_command("mpi-inf-3dhp", folder)
        finding = build_finding(
            tools, "mpi-inf-3dhp", "MPI-INF-3DHP", "npz files", folder, words, {}, problems
        )
        findings.append(finding)
    if raw := tree.named("annot.mat", "annot_data.mat"):
        folder = common_folder((path.parent for path in raw), tree.root)
        problem = "original files, which need preparation"
        advice = (f"make {' and '.join(FILES)} of them as https://github.com/paTRICK-swk/P-STMO says",)
        facts = {"files": len(raw)}
        findings.append(
            Finding("mpi-inf-3dhp", "MPI-INF-3DHP", "original", folder, facts, (problem,), advice)
        )
    return findings


def recognise_captioned(tree: Tree, tools: Tools) -> list[Finding]:
    """HumanML3D and KIT-ML, also before their preparation is complete."""
    findings: list[Finding] = []
    motions = group(path for path in tree.ending(".npy") if path.parent.name == "new_joints")
    texts = group(path for path in tree.ending(".txt") if path.parent.name == "texts")
    for folder, paths in motions.items():
        findings.append(_captioned(folder.parent, paths, texts.get(folder.parent / "texts", []), tools))
    done = {finding.path for finding in findings}
    vectors = {path.parents[1] for path in tree.ending(".npy") if path.parent.name == "new_joint_vecs"}
    packed = {path.parent for path in tree.named("texts.zip")}
    for folder in sorted((vectors | packed | {folder.parent for folder in texts}) - done):
        findings.append(_unprepared(folder, has_vectors=folder in vectors, is_packed=folder in packed))
    return findings


def recognise_motionbert(tree: Tree, tools: Tools) -> list[Finding]:
    """Windows SUBSET/train/*.pkl and SUBSET/test/*.pkl."""
    roots: dict[Path, set[str]] = {}
    for path in tree.ending(".pkl"):
        if path.parent.name in ("train", "test") and re.fullmatch(r"\d+", path.stem):
            roots.setdefault(path.parents[2], set()).add(path.parents[1].name)
    findings: list[Finding] = []
    for root, subsets in sorted(roots.items()):
        folder = root if root.is_relative_to(tree.root) else tree.root
        # Other folders come from other tools of the kind, which all have windows of Human3.6M.
        other = sorted(subsets - FRAME_RATES.keys())
        rates = [word for name in other for word in ("--rate", f"{name}=50")]
        problems = tuple(f"frame rate of {name} unknown: 50, as of Human3.6M, is a guess" for name in other)
        words = build_command("motionbert", folder, *rates)
        facts = {"folders": sorted(subsets)}
        finding = build_finding(
            tools, "motionbert", "MotionBERT's windows", root.name, folder, words, facts, problems
        )
        findings.append(finding)
    return findings


def recognise_bvh(tree: Tree, tools: Tools) -> list[Finding]:
    """BVH files: those of Bandai-Namco, by their names, and others."""
    known: list[Path] = []
    other: list[Path] = []
    for path in tree.ending(".bvh"):
        try:
            parse_name(path.stem, PRESETS["bandai-namco"])
            known.append(path)
        except DataError:
            other.append(path)
    findings: list[Finding] = []
    if known:
        folder = common_folder((path.parent for path in known), tree.root)
        words = build_command("bvh", folder, "--skeleton", "bandai-namco", out="bandai-namco")
        findings.append(build_finding(tools, "bvh", "BVH files", "Bandai-Namco", folder, words))
    if other:
        folder = common_folder((path.parent for path in other), tree.root)
        facts = {"files": len(other), "first": other[0].name}
        problem = "not a known data set: which joints they have and what their names mean must be said"
        advice = (
            "write a YAML file as `langpose data build bvh --help` shows, then: "
            + shlex.join(build_command("bvh", folder, "--skeleton", "FILE.yaml")),
        )
        findings.append(Finding("bvh", "BVH files", "unknown", folder, facts, (problem,), advice))
    return findings


def _captioned(folder: Path, paths: list[Path], texts: list[Path], tools: Tools) -> Finding:
    facts: dict[str, Any] = {"motions": len(paths)}
    try:
        dataset, _ = recognise(paths, None)
    except DataError as error:
        name = "HumanML3D or KIT-ML"
        return Finding("captioned", name, "not recognised", folder, facts, (str(error),))
    captioned = len({path.stem for path in texts} & {path.stem for path in paths})
    facts["captioned"] = captioned
    problems: list[str] = []
    if captioned < len(paths):
        where = "texts holds" if texts else "there is no folder texts:"
        problems.append(f"{where} no captions for {len(paths) - captioned:,} of {len(paths):,} motions")
    lists = [f"{name}.txt" for name in SPLITS.values() if not (folder / f"{name}.txt").is_file()]
    if lists:
        problems.append(f"no {', '.join(lists)}: their motions would be for training")
    words = build_command(dataset, folder)
    return build_finding(tools, dataset, _TITLES[dataset], "", folder, words, facts, tuple(problems))


def _unprepared(folder: Path, *, has_vectors: bool, is_packed: bool) -> Finding:
    kind = "kit-ml" if "kit" in folder.name.lower() else "humanml3d"
    problem = "no new_joints: the captions are here, the motions not"
    if has_vectors:
        problem = "no new_joints, only new_joint_vecs, which are features without positions"
    advice = (
        "make new_joints from AMASS: raw_pose_processing.ipynb and motion_representation.ipynb of "
        "https://github.com/EricGuo5513/HumanML3D; or build from AMASS and BABEL"
    )
    if kind == "kit-ml":
        advice = "download KIT-ML with new_joints, see https://github.com/EricGuo5513/HumanML3D"
    words = ("unzip", str(folder / "texts.zip"), "-d", str(folder))
    return Finding(
        kind=kind,
        name=_TITLES[kind],
        variant="unfinished preparation",
        path=folder,
        problems=(problem,),
        advice=(advice,),
        commands=(words,) if is_packed else (),
    )


def _say_if_large(path: Path, tools: Tools) -> None:
    if path.stat().st_size > LARGE:
        tools.say(f"reading {path} ({size_of(path)}), which takes a minute or two")
