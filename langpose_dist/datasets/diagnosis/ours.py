"""Recognises what this package writes, and archives that are still packed."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from langpose_dist.data.manifest import FORMAT, MANIFEST, Manifest
from langpose_dist.data.sample import DataError
from langpose_dist.datasets.amass.subsets import ALIASES
from langpose_dist.datasets.build import LOCK, WORK
from langpose_dist.datasets.diagnosis.finding import Finding, Tree, group, size_of
from langpose_dist.synthesis.corpus import RECORD

_SHARD = re.compile(r"[a-z][a-z0-9_-]*-\d{6}[.]tar")
_ARCHIVE = re.compile(r"(?P<stem>.+?)[.](tar|tar[.](bz2|gz|xz|zst)|tgz|tbz2?|txz|zip|7z|rar)", re.IGNORECASE)
_CONTENTS = (
    (re.compile(r"smplh.*|extended_smplh.*"), "SMPL+H body models"),
    (re.compile(r"babel.*"), "BABEL"),
    (re.compile(r"dmpls.*"), "DMPL, which nothing here needs"),
    (re.compile(r".*3dhp.*"), "MPI-INF-3DHP"),
    (re.compile(r"h36m.*|human3.?6m.*"), "Human3.6M"),
    (re.compile(r"humanml3d.*"), "HumanML3D"),
    (re.compile(r"kit-?ml.*"), "KIT-ML"),
    (re.compile(r"mb3d.*"), "MotionBERT's windows"),
)


def recognise_shards(tree: Tree) -> list[Finding]:
    """Data sets of this package: complete, interrupted, or without their manifest."""
    findings: list[Finding] = []
    for path in tree.named(MANIFEST):
        if _read_json(path).get("format") == FORMAT:
            findings.append(_shards(path.parent))
    complete = {finding.path for finding in findings}
    for work in sorted(folder for folder in tree.folders if folder.name == WORK):
        if work.parent not in complete:
            findings.append(_interrupted(work, tree))
            complete.add(work.parent)
    left = [path for path in tree.ending(".tar") if _SHARD.fullmatch(path.name) and path.parent.name != WORK]
    for folder, paths in group(left).items():
        if folder not in complete:
            findings.append(
                Finding(
                    "shards",
                    "shards",
                    "without a manifest",
                    folder,
                    {"shards": len(paths)},
                    (f"no {MANIFEST}: nothing can read them",),
                    (f"copy {MANIFEST} from where the shards came, or build them again",),
                )
            )
    return findings


def recognise_corpora(tree: Tree) -> list[Finding]:
    """Synthetic corpora; what a complete one consists of is recognised like the real data."""
    return [_corpus(path) for path in tree.named(RECORD)]


def recognise_archives(tree: Tree) -> list[Finding]:
    """Archives of each folder, but for those whose content is there by their name."""
    archives: list[Path] = []
    unpacked = {part.name for path in tree.files for part in (path, *path.parents)}
    for path in tree.files:
        match = _ARCHIVE.fullmatch(path.name)
        is_shard = _SHARD.fullmatch(path.name) is not None
        if match and not is_shard and path.name != "texts.zip" and match["stem"] not in unpacked:
            archives.append(path)
    findings: list[Finding] = []
    for folder, paths in group(archives).items():
        held = [f"{path.name} ({content}, {size_of(path)})" for path in paths if (content := _content(path))]
        other = [f"{path.name} ({size_of(path)})" for path in paths if not _content(path)]
        findings.append(
            Finding(
                "archives",
                "archives",
                "not unpacked",
                folder,
                {"files": [*held, *other]},
                ("nothing is read from archives: unpack them, then ask again",),
                commands=(
                    ("mkdir", "-p", *dict.fromkeys(str(_target(path)) for path in paths)),
                    *(_unpack(path) for path in paths),
                ),
            )
        )
    return findings


def _shards(folder: Path) -> Finding:
    try:
        manifest = Manifest.load(folder)
    except DataError as error:
        advice = ("build the data again, or fetch a whole copy",)
        return Finding("shards", "shards", "damaged", folder, {}, (str(error),), advice)
    sizes = {path.name: path.stat().st_size for path in folder.iterdir() if path.suffix == ".tar"}
    missing = [shard.name for shard in manifest.shards if shard.name not in sizes]
    wrong = [
        shard.name for shard in manifest.shards if sizes.get(shard.name, shard.num_bytes) != shard.num_bytes
    ]
    problems = tuple(
        f"{len(names)} of {len(manifest.shards)} shards {what}, {names[0]} first"
        for names, what in ((missing, "are missing"), (wrong, "have another size than the manifest says"))
        if names
    )
    facts = {
        "dataset": manifest.dataset,
        "clips": {name: split.num_samples for name, split in manifest.splits.items()},
        "hours": sum(split.num_frames for split in manifest.splits.values()) / manifest.fps / 3600,
        "labels": len({label for split in manifest.splits.values() for label in split.label_counts}),
    }
    task = "verify" if problems else "inspect"
    return Finding(
        kind="shards",
        name="shards",
        variant="incomplete" if problems else "complete",
        path=folder,
        facts=facts,
        problems=problems,
        advice=("copy the missing shards again, or build again with --overwrite",) if problems else (),
        commands=(("langpose", "data", task, str(folder)),),
        ready=not problems,
    )


def _interrupted(work: Path, tree: Tree) -> Finding:
    done = sum(path.parent == work and path.suffix == ".tar" for path in tree.files)
    running = (work.parent / LOCK).exists()
    return Finding(
        "shards",
        "shards",
        "unfinished build",
        work.parent,
        {"shards": done},
        ("being built right now, or killed while it was" if running else "the build was interrupted",),
        ("give the same `langpose data build` command again: it goes on where it was",),
    )


def _corpus(path: Path) -> Finding:
    record, folder = _read_json(path), path.parent
    hours, seed = record.get("hours"), record.get("seed")
    if not isinstance(hours, int | float) or not isinstance(seed, int):
        problem = f"{path.name} is damaged: it holds no hours and no seed"
        advice = (f"delete {folder} and run `langpose data synthesize` again",)
        return Finding("synthetic", "synthetic corpus", "damaged", folder, {}, (problem,), advice)
    facts = {"hours": float(hours), "seed": str(seed)}
    if record.get("complete") is True:
        facts["motions"] = record.get("num_recordings", 0)
        return Finding("synthetic", "synthetic corpus", "complete", folder, facts)
    words = (
        "langpose",
        "data",
        "synthesize",
        "--out",
        str(folder),
        "--hours",
        f"{hours:g}",
        "--seed",
        str(seed),
    )
    problem = "its making was interrupted; the same command goes on"
    return Finding(
        "synthetic", "synthetic corpus", "unfinished", folder, facts, (problem,), commands=(words,)
    )


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _content(path: Path) -> str | None:
    match = _ARCHIVE.fullmatch(path.name)
    stem = match["stem"].lower() if match else ""
    if subset := ALIASES.get(re.sub(r"[^a-z0-9]", "", stem)):
        return f"{subset} of AMASS"
    return next((content for pattern, content in _CONTENTS if pattern.fullmatch(stem)), None)


def _target(path: Path) -> Path:
    """Folder to unpack an archive to: one for all of AMASS, else one for each."""
    if (_content(path) or "").endswith("of AMASS"):
        return path.parent if "amass" in path.parent.name.lower() else path.parent / "amass"
    match = _ARCHIVE.fullmatch(path.name)
    assert match is not None
    return path.parent if match["stem"].endswith((".pkl", ".npz")) else path.parent / match["stem"]


def _unpack(path: Path) -> tuple[str, ...]:
    ending, target = path.suffix.lower(), _target(path)
    if ending == ".zip":
        return ("unzip", str(path), "-d", str(target))
    if ending in (".7z", ".rar"):
        return ("7z", "x", str(path), f"-o{target}")
    return ("tar", "-xf", str(path), "-C", str(target))
