"""``langpose data synthesize``: motion, labels and a body, or motion under cameras, that need no licence."""

import argparse
import json
from collections.abc import Mapping
from typing import Any

from langpose_dist.config import UserError
from langpose_dist.host.arguments import count, local_path, positive_number, whole_number
from langpose_dist.host.bars import Bar, tracked

_EPILOG = """\
example:
  langpose data synthesize --out data/synthetic --hours 0.5
  langpose data build amass --input data/synthetic/amass --babel data/synthetic/babel \\
      --smplh data/synthetic/smplh --regressor data/synthetic/J_regressor_h36m_correct.npy \\
      --dataset synthetic --out data/shards

  langpose data synthesize --layout human36m --out data/h36m
  langpose data build human36m --input data/h36m/h36m_sh_conf_cam_source_final.pkl --out data/h36m_shards

  langpose data synthesize --layout kit-ml --out data/kit
  langpose data build kit-ml --input data/kit --fps 12.5 --out data/kit_shards

--layout amass (the default) writes
  amass/SUBSET/SUBJECT/NAME_poses.npz   labelled actions, alone and in sequence, as SMPL+H poses at 59.94
                                        to 250 Hz
  babel/train.json, val.json ...        their labels, for whole sequences and for frames; the people in val
                                        and test are not in train
  smplh/GENDER/model.npz                a body of 6890 vertices made of capsules
  J_regressor_h36m_correct.npy          from its vertices to the 17 joints

--layout human36m writes the same recordings twice, 15 actions of each subject in two takes, at 50 Hz
  h36m_sh_conf_cam_source_final.pkl     as MotionBERT prepared them, with detections and confidences
  data_3d_h36m.npz, data_2d_h36m_*.npz  as VideoPose3D did, with the true 2D (gt) and detections
                                        (cpn_ft_h36m_dbb)

--layout kit-ml writes
  new_joints/*.npy                      one or two actions each, 21 joints at 12.5 Hz, and mirror images whose
                                        names begin with M
  texts/*.txt                           two to four captions of each, with their processed words
  train.txt, val.txt, test.txt          lists; the people in val and test are not in train

--layout mpi_inf_3dhp writes
  data_train_3dhp.npz                   S1 to S8, two sequences each at 25 or 50 Hz, eight cameras
  data_test_3dhp.npz                    TS1 to TS6, with the frames that count

The real data take the same path. The motion comes from formulas: good for trying everything out and for tests
of the system, not for results about people. An hour of amass takes about 450 MB and a quarter of a minute.
Human3.6M's default of S1, S9 and S11 takes 55 MB, MPI-INF-3DHP's of S1 to S3 and TS1 to TS6 takes 7 MB, each
less than a minute. synthesis.json says what was made, and which recordings are awkward on purpose: too short
for a window, with a tail, with 3D that drifts, with a video missing. The same options give the same bytes.
"""

LAYOUTS = ("amass", "human36m", "kit-ml", "mpi_inf_3dhp")
_BY_HOURS = ("amass", "kit-ml")


def add_parser(commands: Any) -> None:
    """Add ``synthesize`` to the sub-commands of ``langpose data``."""
    parser = commands.add_parser(
        "synthesize",
        help="make motion in the layouts of AMASS and BABEL, of Human3.6M, of KIT-ML or of MPI-INF-3DHP",
        description="Make motion in the layouts of AMASS, BABEL and SMPL+H, of Human3.6M, of KIT-ML or of "
        "MPI-INF-3DHP.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=local_path, required=True, metavar="DIR", help="new or empty folder")
    parser.add_argument("--layout", choices=LAYOUTS, default="amass", help="default: amass")
    parser.add_argument(
        "--hours", type=positive_number, help="amass and kit-ml: at least so much motion (default: 0.5)"
    )
    parser.add_argument(
        "--subjects", nargs="+", metavar="NAME", help="the other layouts: whom to record, such as S1 S9"
    )
    parser.add_argument(
        "--frames",
        type=count,
        help="the other layouts: usual length of a recording (default: 160 of human36m, 300 of mpi_inf_3dhp)",
    )
    parser.add_argument("--seed", type=whole_number, default=0, help="seed of the motion (default: 0)")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    parser.set_defaults(handler=_synthesize)


def _synthesize(args: argparse.Namespace) -> int:
    is_by_hours = args.layout in _BY_HOURS
    foreign = ("subjects", "frames") if is_by_hours else ("hours",)
    if given := [name for name in foreign if getattr(args, name) is not None]:
        remedy = "give --hours" if is_by_hours else "give --frames and --subjects"
        raise UserError(f"--{given[0]} is no option of --layout {args.layout}; {remedy}")
    record = _write_corpus(args) if is_by_hours else _write_recordings(args)
    if args.json:
        print(json.dumps({"out": str(args.out), **record}, indent=2))
    elif args.layout == "amass":
        _print_corpus(args.out, record)
    elif args.layout == "kit-ml":
        print(
            f"{args.out}: {record['num_recordings']} motions and their mirror images, {record['num_frames']} "
            f"frames and {record['num_captions']} captions without these, seed {record['seed']}\n"
            f"next: langpose data build kit-ml --input {args.out} --fps 12.5 --out SHARDS"
        )
    else:
        _print_recordings(args.out, record)
    return 0


def _write_corpus(args: argparse.Namespace) -> dict[str, Any]:
    from langpose_dist.synthesis.corpus import synthesize
    from langpose_dist.synthesis.kit_ml import write_kit_ml

    hours = 0.5 if args.hours is None else args.hours
    write = synthesize if args.layout == "amass" else write_kit_ml
    with Bar(hours * 60, "synthesizing", "minute") as bar:
        return write(
            args.out,
            hours=hours,
            seed=args.seed,
            on_seconds=lambda seconds: bar.update(seconds / 60),
        )


def _write_recordings(args: argparse.Namespace) -> dict[str, Any]:
    from langpose_dist.synthesis.human36m import write_human36m
    from langpose_dist.synthesis.mpi_inf_3dhp import write_mpi_inf_3dhp

    options = {"subjects": args.subjects, "frames": args.frames}
    write = write_human36m if args.layout == "human36m" else write_mpi_inf_3dhp
    return write(
        args.out,
        seed=args.seed,
        progress=lambda recordings: tracked(recordings, "synthesizing", "recording"),
        **{name: value for name, value in options.items() if value is not None},
    )


def _print_corpus(out: Any, record: Mapping[str, Any]) -> None:
    annotated = ", ".join(f"{count} in {name}" for name, count in record["num_annotated"].items())
    print(
        f"{out}: {record['num_recordings']} motions, {record['num_seconds'] / 3600:.2f} hours, "
        f"{record['num_frames']} frames, seed {record['seed']}"
    )
    print(f"  annotated: {annotated}")
    print(
        f"next: langpose data build amass --input {out}/amass --babel {out}/babel "
        f"--smplh {out}/smplh --regressor {out}/J_regressor_h36m_correct.npy "
        "--dataset synthetic --out SHARDS"
    )


def _print_recordings(out: Any, record: Mapping[str, Any]) -> None:
    print(
        f"{out}: {record['num_recordings']} recordings of {', '.join(record['subjects'])}, "
        f"{record['num_frames']} frames, seed {record['seed']}"
    )
    if record["layout"] == "mpi_inf_3dhp":
        print(f"next: langpose data build mpi-inf-3dhp --input {out} --out SHARDS")
        return
    num_awkward = sum(bool(row["notes"]) for row in record["recordings"])
    print(f"  awkward on purpose: {num_awkward}, listed in {out}/synthesis.json")
    print(f"next: langpose data build human36m --input {out}/h36m_sh_conf_cam_source_final.pkl --out SHARDS")
    print(f"  or with --input {out}/data_3d_h36m.npz --detections cpn_ft_h36m_dbb")
