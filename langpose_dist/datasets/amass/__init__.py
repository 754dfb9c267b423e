"""AMASS, with BABEL's labels, through the SMPL+H body; synthetic corpora have the same layout."""

import argparse
from collections.abc import Iterable

from langpose_dist.datasets.finding import Finding, Tree
from langpose_dist.datasets.source import Search, Source
from langpose_dist.host.arguments import local_path

_EPILOG = """\
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


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dataset",
        default="amass",
        metavar="NAME",
        help="what the data call themselves wherever a number is reported (default: amass)",
    )
    parser.add_argument(
        "--babel", type=local_path, metavar="DIR", help="BABEL's json files (default: no labels)"
    )
    parser.add_argument("--smplh", type=local_path, required=True, metavar="DIR", help="SMPL+H body models")
    parser.add_argument(
        "--regressor",
        type=local_path,
        required=True,
        metavar="FILE",
        help="vertices to joints, 17 x 6890 (.npy)",
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


def _find(args: argparse.Namespace) -> Search:
    from langpose_dist.datasets.amass.clips import find_clips
    from langpose_dist.datasets.smplh import find_body_models
    from langpose_dist.host.atomic import hash_file

    found = find_clips(
        args.input,
        fps=args.fps,
        dataset=args.dataset,
        babel=args.babel,
        smplh=args.smplh,
        regressor=args.regressor,
        label=args.label,
        gender=args.gender,
    )
    models = find_body_models(args.smplh)
    options = {
        "label": args.label,
        "gender": args.gender,
        "body_models": {gender: hash_file(path) for gender, path in sorted(models.items())},
        "regressor": hash_file(args.regressor),
    }
    return Search(args.dataset, found, options)


def _recognise(tree: Tree) -> Iterable[Finding]:
    from langpose_dist.datasets.amass.recognise import recognise

    return recognise(tree)


SOURCE = Source(
    name="amass",
    summary="AMASS motions with BABEL's labels, through the SMPL+H body",
    files="SUBSET/SUBJECT/NAME_poses.npz, at any depth",
    epilog=_EPILOG,
    find=_find,
    recognise=_recognise,
    add_options=_add_options,
    fields=("subset", "subject", "babel"),
    example_rule="subset=CMU,KIT",
)
