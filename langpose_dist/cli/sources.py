"""The sources that shards are built from: their options, and how their clips are found."""

import argparse
import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langpose_dist.datasets.clip import Found


MIN_RATE, MAX_RATE = 0.1, 1000.0
"""Frames per second that shards may have."""


@dataclass(frozen=True)
class Search:
    """What came of looking through the input."""

    dataset: str
    """Name of the data set."""
    found: "Found[Any]"
    options: Mapping[str, Any]
    """What else decides the content of the shards; kept in the manifest."""


@dataclass(frozen=True)
class Source:
    """One kind of input."""

    name: str
    text: str
    """One line for the help."""
    input_help: str
    epilog: str
    """An example and what the options mean."""
    add_options: Callable[[argparse.ArgumentParser], None]
    find: Callable[[argparse.Namespace], Search]
    fields: tuple[str, ...]
    """Fields for split rules, or some of them."""
    example_rule: str
    """``field=value,value``."""
    fps: float = 30.0
    """Default rate of the shards."""


def positive_number(text: str) -> float:
    """Type of an option that is a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number above 0")
    return value


_BVH = """\
example:
  langpose data build bvh --input mocap/data --out data/shards --skeleton bandai-namco \\
      --split validation:style=old,sad,tired

--skeleton is 'bandai-namco' or a YAML file such as:
  dataset: my-mocap
  pattern: '(?P<subject>s\\d+)_(?P<action>[a-z-]+)_(?P<number>\\d+)'   # whole name without .bvh
  unit_scale: 0.01              # metres per unit of the files
  up: y                         # or z
  points:                       # optional: points fixed to a joint, in its own axes
    Crown: {joint: Head, offset: [0, 18, 0]}
  joints:                       # all 17 joints, as weights of joints, points or 'JOINT End' sites
    pelvis: {LeftUpLeg: 0.5, RightUpLeg: 0.5}
    right_hip: {RightUpLeg: 1}
    head: {Crown: 1}            # and so on
"""


def frame_rate(text: str) -> float:
    """Type of an option that is a number of frames per second."""
    rate = positive_number(text)
    if not MIN_RATE <= rate <= MAX_RATE:
        raise argparse.ArgumentTypeError(f"{text!r} must be a rate from {MIN_RATE:g} to {MAX_RATE:g}")
    return rate


def _add_bvh_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--skeleton", required=True, metavar="NAME", help="bandai-namco, or a YAML file (see below)"
    )
    parser.add_argument(
        "--label",
        default="action",
        help="field of the file name that is the label, or a template such as '{style} {action}' "
        "(default: action)",
    )


def _find_bvh(args: argparse.Namespace) -> Search:
    from langpose_dist.datasets.bvh.clips import find_clips, load_skeleton

    skeleton = load_skeleton(args.skeleton)
    return Search(
        dataset=skeleton.dataset,
        found=find_clips(args.input, skeleton, label=args.label, fps=args.fps),
        options={"skeleton": skeleton.model_dump(mode="json"), "label": args.label},
    )


_AMASS = """\
example:
  langpose data build amass --input amass --babel babel_v1.0_release --smplh smplh \\
      --regressor J_regressor_h36m_correct.npy --out data/amass --workers 8

  amass/SUBSET/SUBJECT/NAME_poses.npz           'SMPL+H G' of https://amass.is.tue.mpg.de
  babel_v1.0_release/train.json, val.json ...   https://babel.is.tue.mpg.de
  smplh/GENDER/model.npz, with 16 shapes        'Extended SMPL+H' of https://mano.is.tue.mpg.de
  J_regressor_h36m_correct.npy                  17 x 6890, to Human3.6M's joints, as Pose2Mesh publishes it

`langpose data synthesize` writes all four without a licence. `langpose data doctor DIR` says what is missing.

Labels are BABEL's of frames where a motion has them, else those of the whole motion; 'transition' is no
label. The data set's own splits are BABEL's: val becomes 'validation'; a motion that BABEL does not know is
for training, without a label.
"""


def _add_amass_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dataset",
        default="amass",
        metavar="NAME",
        help="what the data call themselves wherever a number is reported (default: amass)",
    )
    parser.add_argument("--babel", type=Path, metavar="DIR", help="BABEL's json files (default: no labels)")
    parser.add_argument("--smplh", type=Path, required=True, metavar="DIR", help="SMPL+H body models")
    parser.add_argument(
        "--regressor", type=Path, required=True, metavar="FILE", help="vertices to joints, 17 x 6890 (.npy)"
    )
    parser.add_argument(
        "--label",
        choices=("proc_label", "raw_label", "act_cat"),
        default="proc_label",
        help="BABEL's field that is the label (default: proc_label)",
    )
    parser.add_argument(
        "--gender",
        choices=("file", "neutral", "female", "male"),
        default="file",
        help="whose body the motions are given (default: file, the recorded person's)",
    )
    _add_unlabelled(parser)


def _find_amass(args: argparse.Namespace) -> Search:
    from langpose_dist.data.shards import hash_file
    from langpose_dist.datasets.amass.clips import find_clips
    from langpose_dist.datasets.smplh import find_body_models

    found = find_clips(
        args.input,
        fps=args.fps,
        dataset=args.dataset,
        babel=args.babel,
        smplh=args.smplh,
        regressor=args.regressor,
        label=args.label,
        gender=args.gender,
        unlabelled=args.unlabelled,
    )
    models = find_body_models(args.smplh)
    options = {
        "label": args.label,
        "gender": args.gender,
        "unlabelled": args.unlabelled,
        "body_models": {gender: hash_file(path) for gender, path in sorted(models.items())},
        "regressor": hash_file(args.regressor),
    }
    return Search(args.dataset, found, options)


def _add_unlabelled(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--unlabelled",
        choices=("keep", "skip"),
        default="keep",
        help="motions without a label: they train the poses and not the words (default: keep)",
    )


_HUMAN36M = """\
example:
  langpose data build human36m --input motion3d --out data/h36m

  motion3d/h36m_sh_conf_cam_source_final.pkl   MotionBERT's table, with its detections; or
  data_3d_h36m.npz, data_2d_h36m_*.npz         VideoPose3D's, with the 2D file that --detections names

One clip per recording and camera, in the room's own axes, with the camera in meta.json and the 2D joints
beside the 3D; without 2D (--detections none) one clip per recording. Labels are the actions. S9 and S11 are
the split 'test'. Three recordings of S9 whose 3D has drifted are left out, as MotionBERT does.
"""


def _add_human36m_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--form",
        choices=("motionbert", "videopose3d"),
        help="which of two forms in the same folder to read (default: the one that is there)",
    )
    parser.add_argument(
        "--detections",
        metavar="NAME",
        help="VideoPose3D's 2D joints: cpn_ft_h36m_dbb or gt for data_2d_h36m_NAME.npz, or none",
    )


def _find_human36m(args: argparse.Namespace) -> Search:
    from langpose_dist.datasets.human36m.clips import find_clips

    found = find_clips(args.input, fps=args.fps, detections=args.detections, form=args.form)
    return Search("human36m", found, {"form": args.form, "detections": args.detections})


_MPI_INF_3DHP = """\
example:
  langpose data build mpi-inf-3dhp --input motion3d --out data/3dhp

  motion3d/data_train_3dhp.npz, data_test_3dhp.npz   as used by P-STMO and MotionAGFormer; one is enough

The shards have the data set's 2D joints beside the 3D, and no labels. Of the test recordings only some frames
count: meta.json lists them as valid_frames. They are single frames, so the rate must stay 25 for the
protocol; `langpose evaluate` does not know them yet and refuses the split.
"""


def _find_mpi_inf_3dhp(args: argparse.Namespace) -> Search:
    from langpose_dist.datasets.mpi_inf_3dhp import find_clips

    return Search("mpi-inf-3dhp", find_clips(args.input, fps=args.fps), {})


_CAPTIONED = """\
example:
  langpose data build {name} --input {folder} --out data/{name}

  {folder}/new_joints/*.npy, texts/*.txt, train.txt, val.txt, test.txt

Captions are the labels, with their times where they have some. val.txt becomes the split 'validation'. Files
whose names begin with M are mirrored copies that belong to the data set; training mirrors motions itself, so
--mirrored drop loses nothing there.
"""


def _add_captioned_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--mirrored", choices=("keep", "drop"), default="keep", help="the mirrored copies (default: keep)"
    )
    _add_unlabelled(parser)


def _find_captioned(dataset: str, args: argparse.Namespace) -> Search:
    from langpose_dist.datasets.humanml3d.clips import find_clips

    found = find_clips(
        args.input, fps=args.fps, dataset=dataset, mirrored=args.mirrored, unlabelled=args.unlabelled
    )
    return Search(dataset, found, {"mirrored": args.mirrored, "unlabelled": args.unlabelled})


def _captioned(name: str, title: str, folder: str) -> Source:
    return Source(
        name=name,
        text=f"{title}: motions with captions",
        input_help="folder with new_joints and texts",
        epilog=_CAPTIONED.format(name=name, folder=folder),
        add_options=_add_captioned_options,
        find=functools.partial(_find_captioned, name),
        fields=("mirrored",),
        example_rule="mirrored=yes",
    )


_MOTIONBERT = """\
example:
  langpose data build motionbert --input motion3d/MB3D_f243s81 --out data/mb3d

  MB3D_f243s81/{AMASS,H36M-SH}/{train,test}/*.pkl   windows as MotionBERT's own tools write them

Windows of the train folders overlap, have no labels and no names, and those of Human3.6M no metres: their
scale is estimated from bone lengths, as meta.json says. Build from the data sets themselves where you have
them. --rate gives the frames per second of folders with other names.
"""


def _add_motionbert_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rate",
        action="append",
        default=[],
        type=_folder_rate,
        metavar="FOLDER=FPS",
        help="frame rate of a folder's windows (default: AMASS=60 H36M-SH=50); repeatable",
    )


def _folder_rate(text: str) -> tuple[str, float]:
    folder, _, rate = text.rpartition("=")
    if not folder:
        raise argparse.ArgumentTypeError(f"{text!r} must have the form FOLDER=FPS")
    return folder, positive_number(rate)


def _find_motionbert(args: argparse.Namespace) -> Search:
    from langpose_dist.datasets.motionbert import FRAME_RATES, find_clips

    rates = {**FRAME_RATES, **dict(args.rate)}
    return Search("motionbert", find_clips(args.input, fps=args.fps, source_fps=rates), {"rates": rates})


def _add_nothing(parser: argparse.ArgumentParser) -> None:
    pass


SOURCES = (
    Source(
        name="amass",
        text="AMASS motions with BABEL's labels, through the SMPL+H body",
        input_help="searched to any depth for AMASS's .npz",
        epilog=_AMASS,
        add_options=_add_amass_options,
        find=_find_amass,
        fields=("subset", "subject", "babel"),
        example_rule="subset=CMU,KIT",
    ),
    Source(
        name="human36m",
        text="Human3.6M, as MotionBERT or VideoPose3D prepared it",
        input_help="folder with the files, or the pickle itself",
        epilog=_HUMAN36M,
        add_options=_add_human36m_options,
        find=_find_human36m,
        fields=("subject", "action", "take", "camera"),
        example_rule="subject=s8",
        fps=50.0,
    ),
    Source(
        name="mpi-inf-3dhp",
        text="MPI-INF-3DHP, from its two npz files",
        input_help="folder with the npz files, or one of them",
        epilog=_MPI_INF_3DHP,
        add_options=_add_nothing,
        find=_find_mpi_inf_3dhp,
        fields=("subject", "sequence", "camera"),
        example_rule="subject=s8",
        fps=25.0,
    ),
    _captioned("humanml3d", "HumanML3D", "HumanML3D"),
    _captioned("kit-ml", "KIT-ML", "KIT-ML"),
    Source(
        name="motionbert",
        text="windows prepared by MotionBERT (MB3D_f243s81)",
        input_help="folder of the windows",
        epilog=_MOTIONBERT,
        add_options=_add_motionbert_options,
        find=_find_motionbert,
        fields=("subset",),
        example_rule="subset=AMASS",
    ),
    Source(
        name="bvh",
        text="BVH files with labels in their names",
        input_help="searched to any depth for .bvh",
        epilog=_BVH,
        add_options=_add_bvh_options,
        find=_find_bvh,
        fields=("the pattern's groups",),
        example_rule="style=old,sad",
    ),
)
"""All of them, in the order of the help."""
