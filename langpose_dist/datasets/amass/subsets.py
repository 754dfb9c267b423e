"""The parts that AMASS consists of."""

from langpose_dist.datasets.amass.names import SUBSETS

AMASS_SUBSETS = (
    *("ACCAD", "BMLhandball", "BMLmovi", "BMLrub", "CMU", "CNRS", "DanceDB", "DFaust", "EKUT"),
    *("EyesJapanDataset", "GRAB", "HDM05", "HUMAN4D", "HumanEva", "KIT", "MoSh", "PosePrior", "SFU"),
    *("SOMA", "SSM", "TCDHands", "TotalCapture", "Transitions", "WEIZMANN"),
)
"""Names as of today, each a download of its own."""

ALIASES = {**{name.lower(): name for name in AMASS_SUBSETS}, **SUBSETS}
"""Name of any release, in lower case without other signs -> the name as of today."""
