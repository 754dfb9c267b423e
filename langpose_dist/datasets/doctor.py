"""Says of a folder what data it holds, whether they can be built from, and what to do next."""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from langpose_dist.data.sample import DataError
from langpose_dist.datasets.diagnosis.amass import motion_of, recognise_amass
from langpose_dist.datasets.diagnosis.babel import recognise_babel
from langpose_dist.datasets.diagnosis.body import recognise_bodies, recognise_regressors
from langpose_dist.datasets.diagnosis.finding import Finding, Tools, Tree, Words
from langpose_dist.datasets.diagnosis.others import (
    recognise_bvh,
    recognise_captioned,
    recognise_human36m,
    recognise_motionbert,
    recognise_mpi_inf_3dhp,
)
from langpose_dist.datasets.diagnosis.ours import recognise_archives, recognise_corpora, recognise_shards

LOOKED_FOR = (
    "AMASS (*_poses.npz)",
    "BABEL (train.json, val.json)",
    "SMPL+H bodies (GENDER/model.npz, SMPLH_*.pkl)",
    "regressors (*regressor*.npy)",
    "Human3.6M (h36m_sh_conf_cam_source_final.pkl, data_3d_h36m.npz)",
    "MPI-INF-3DHP (data_train_3dhp.npz, data_test_3dhp.npz)",
    "HumanML3D and KIT-ML (new_joints, texts)",
    "MotionBERT's windows (AMASS/train/*.pkl)",
    "BVH files",
    "this package's shards and synthetic corpora",
    "archives of any of them",
)
"""In words, for a folder where nothing was found."""

_PARTS = frozenset({"new_joints", "new_joint_vecs", "texts", "male", "female", "neutral", ".langpose-build"})
"""Folders that are recognised only together with the one above them."""


@dataclass(frozen=True)
class Report:
    """What a folder holds."""

    root: Path
    """What was looked through: the folder given, or the one above if that is but a part."""
    findings: tuple[Finding, ...]
    endings: dict[str, int]
    """Ending -> number of files."""
    unreadable: tuple[Path, ...]
    """Folders without access."""

    @property
    def ready(self) -> bool:
        """Whether something is built or can be."""
        return any(finding.ready for finding in self.findings)


def examine(folder: Path, tools: Tools) -> Report:
    """Look through a folder; nothing in it can run, and nothing is written.

    Args:
        folder: Of one or several data sets, at any depth.
        tools: The builder's search, and signs of life.

    Raises:
        DataError: If there is no such folder.
    """
    if not folder.is_dir():
        what = "is a file; name the folder that it lies in" if folder.exists() else "does not exist"
        raise DataError(f"{folder} {what}")
    root = folder.resolve()
    if root.name in _PARTS:
        root = root.parent
    whole = Tree.scan(root)
    corpora = recognise_corpora(whole)
    unfinished = [finding.path for finding in corpora if finding.variant != "complete"]
    shards = recognise_shards(whole)
    tree = whole.without([*unfinished, *(finding.path for finding in shards)])
    motions = [motion for path in tree.ending(".npz") if (motion := motion_of(path))]
    bodies = recognise_bodies(tree, tools)
    parts = [*recognise_babel(tree, motions), *bodies, *recognise_regressors(tree, bodies)]
    complete = [finding.path for finding in corpora if finding.variant == "complete"]
    findings = [
        *corpora,
        *recognise_amass(tree, tools, parts, complete),
        *parts,
        *recognise_human36m(tree, tools),
        *recognise_mpi_inf_3dhp(tree, tools),
        *recognise_captioned(tree, tools),
        *recognise_motionbert(tree, tools),
        *recognise_bvh(tree, tools),
        *shards,
        *recognise_archives(tree),
    ]
    return Report(root, tuple(_apart(findings)), whole.endings(), whole.unreadable)


def _apart(findings: Iterable[Finding]) -> Iterator[Finding]:
    """The same findings, no two of whose commands write to the same folder."""
    counts: Counter[str] = Counter()
    for finding in findings:
        commands: list[Words] = []
        for words in finding.commands:
            if "build" in words and "--out" in words:
                counts[words[-1]] += 1
                if (count := counts[words[-1]]) > 1:
                    words = (*words[:-1], f"{words[-1]}-{count}")
            commands.append(words)
        yield dataclasses.replace(finding, commands=tuple(commands))
