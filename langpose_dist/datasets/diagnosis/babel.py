"""Recognises BABEL."""

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from langpose_dist.data.sample import DataError
from langpose_dist.datasets.amass.babel import FILES, load_annotations
from langpose_dist.datasets.amass.names import Motion
from langpose_dist.datasets.diagnosis.finding import Finding, Tree, group

_KINDS = {"frame": "frames", "sequence": "whole motions", "none": "nothing"}
"""What an annotation's labels describe, in words."""


def recognise_babel(tree: Tree, motions: Sequence[Motion]) -> list[Finding]:
    """A finding for each folder with BABEL's json files.

    Args:
        tree: What to look through.
        motions: All motion files there are.
    """
    here = {motion.lower() for motion in motions}
    findings: list[Finding] = []
    for folder, paths in group(tree.named(*(f"{name}.json" for name in FILES))).items():
        try:
            annotations, skipped = load_annotations(folder, "proc_label")
        except DataError as error:
            # A train.json that is damaged may be anybody's; BABEL has several files.
            if len(paths) > 1:
                remedy = ("unpack babel_v1.0_release.zip again, from https://babel.is.tue.mpg.de",)
                findings.append(Finding("other-babel", "BABEL", "damaged", folder, {}, (str(error),), remedy))
            continue
        if not annotations:
            continue
        named = {
            motion.lower(): motion
            for entry in annotations
            if (motion := Motion.of(PurePosixPath(entry.path)))
        }
        facts: dict[str, Any] = {
            "motions": {
                path.stem: sum(entry.file == path.stem for entry in annotations) for path in sorted(paths)
            },
            "labels of": dict(Counter(_KINDS[entry.kind] for entry in annotations)),
            "labels": len({label.text for entry in annotations for label in entry.labels}),
        }
        if skipped:
            facts["skipped"] = dict(Counter(item.reason.partition(":")[0] for item in skipped))
        problems: list[str] = []
        advice: list[str] = []
        missing = Counter(named[key].subset for key in named.keys() - here)
        facts["with a motion file"] = f"{len(named) - missing.total():,} of {len(named):,}"
        if missing:
            subsets = ", ".join(f"{name} {count:,}" for name, count in missing.most_common(8))
            more = f" and {len(missing) - 8} more" if len(missing) > 8 else ""
            problems.append(f"{missing.total():,} annotated motions have no file here: {subsets}{more}")
            advice.append("download these parts of AMASS as SMPL+H G from https://amass.is.tue.mpg.de")
        if absent := [f"{name}.json" for name in ("train", "val") if folder / f"{name}.json" not in paths]:
            problems.append(f"no {' and no '.join(absent)}, so no motions of that split")
        variant = "with extra files" if any("extra" in path.stem for path in paths) else ""
        findings.append(Finding("babel", "BABEL", variant, folder, facts, tuple(problems), tuple(advice)))
    return findings
