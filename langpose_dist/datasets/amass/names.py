"""Names of motions, the same for all releases of AMASS.

``BioMotionLab_NTroje/rub001/0000 walk_poses.npz`` of an earlier release is
``BMLrub/rub001/0000_walk_stageii.npz`` of a later one. Both are reduced to subset, subject and name, and so
are BABEL's paths, which begin with the folder of the download: ``BMLrub/BioMotionLab_NTroje/rub001/...``.
"""

import re
from dataclasses import dataclass
from pathlib import PurePath

SUBSETS = {
    "biomotionlabntroje": "BMLrub",
    "dfaust67": "DFaust",
    "eyesjapandataset": "EyesJapanDataset",
    "mpihdm05": "HDM05",
    "mpilimits": "PosePrior",
    "mpimosh": "MoSh",
    "ssmsynced": "SSM",
    "tcdhandmocap": "TCDHands",
    "transitionsmocap": "Transitions",
}
"""Folder of an earlier release, in lower case without other signs -> the subset's name today. The other
subsets (ACCAD, BMLhandball, BMLmovi, CMU, EKUT, KIT, ...) never changed theirs."""

_NAME = re.compile(r"(?P<name>.+)_(?P<suffix>poses|stageii)[.]npz", re.IGNORECASE)


@dataclass(frozen=True)
class Motion:
    """Name of a motion, the same for all releases."""

    subset: str
    subject: str
    name: str

    @classmethod
    def of(cls, path: PurePath) -> "Motion | None":
        """From the last three parts of a path; ``None`` where they do not name a motion."""
        match = _NAME.fullmatch(path.name)
        parts = [part for part in path.parts if part != path.anchor]
        if match is None or len(parts) < 3:
            return None
        # Earlier releases have blanks where later ones have underscores, one for one.
        subset, subject, name = (re.sub(r"\s", "_", part) for part in (*parts[-3:-1], match["name"]))
        letters = re.sub(r"[^a-z0-9]", "", subset.lower())
        return cls(SUBSETS.get(letters, subset), subject, name)
