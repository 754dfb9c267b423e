"""``langpose data synthesize``: motion, labels and a body that need no licence."""

import argparse
import json
from typing import Any

from langpose_dist.host.arguments import local_path, positive_number, whole_number
from langpose_dist.host.bars import Bar

_EPILOG = """\
example:
  langpose data synthesize --out data/synthetic --hours 0.5
  langpose data build amass --input data/synthetic/amass --babel data/synthetic/babel \\
      --smplh data/synthetic/smplh --regressor data/synthetic/J_regressor_h36m_correct.npy \\
      --dataset synthetic --out data/shards

writes
  amass/SUBSET/SUBJECT/NAME_poses.npz   labelled actions, alone and in sequence, as SMPL+H poses at 59.94
                                        to 250 Hz
  babel/train.json, val.json ...        their labels, for whole sequences and for frames; the people in val
                                        and test are not in train
  smplh/GENDER/model.npz                a body of 6890 vertices made of capsules
  J_regressor_h36m_correct.npy          from its vertices to the 17 joints

in the layouts of AMASS, BABEL and SMPL+H, so the real data take the same path. The motion comes from
formulas: good for trying everything out and for tests of the system, not for results about people. An hour
takes about 450 MB and a quarter of a minute. The same seed and hours give the same bytes.
"""


def add_parser(commands: Any) -> None:
    """Add ``synthesize`` to the sub-commands of ``langpose data``."""
    parser = commands.add_parser(
        "synthesize",
        help="make motion, labels and a body in the layouts of AMASS, BABEL and SMPL+H",
        description="Make motion, labels and a body in the layouts of AMASS, BABEL and SMPL+H.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=local_path, required=True, metavar="DIR", help="new or empty folder")
    parser.add_argument(
        "--hours", type=positive_number, default=0.5, help="at least so much motion (default: 0.5)"
    )
    parser.add_argument("--seed", type=whole_number, default=0, help="seed of the motion (default: 0)")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    parser.set_defaults(handler=_synthesize)


def _synthesize(args: argparse.Namespace) -> int:
    from langpose_dist.synthesis.corpus import synthesize

    with Bar(args.hours * 60, "synthesizing", "minute") as bar:
        record = synthesize(
            args.out,
            hours=args.hours,
            seed=args.seed,
            on_seconds=lambda seconds: bar.update(seconds / 60),
        )
    if args.json:
        print(json.dumps({"out": str(args.out), **record}, indent=2))
        return 0
    annotated = ", ".join(f"{count} in {name}" for name, count in record["num_annotated"].items())
    print(
        f"{args.out}: {record['num_recordings']} motions, {record['num_seconds'] / 3600:.2f} hours, "
        f"{record['num_frames']} frames, seed {record['seed']}"
    )
    print(f"  annotated: {annotated}")
    print(
        f"next: langpose data build amass --input {args.out}/amass --babel {args.out}/babel "
        f"--smplh {args.out}/smplh --regressor {args.out}/J_regressor_h36m_correct.npy "
        "--dataset synthetic --out SHARDS"
    )
    return 0
