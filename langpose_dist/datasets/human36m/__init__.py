"""Human3.6M, as MotionBERT or VideoPose3D prepared it."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from langpose_dist.datasets.finding import Finding, Tree, group
from langpose_dist.datasets.source import Search, Source, name_of

_PREPARE = (
    "make data_3d_h36m.npz as https://github.com/facebookresearch/VideoPose3D/blob/main/DATASETS.md says"
)

_EPILOG = """\
example:
  langpose data build human36m --input motion3d --out data/h36m

  motion3d/h36m_sh_conf_cam_source_final.pkl   MotionBERT's table, with its detections; or
  data_3d_h36m.npz, data_2d_h36m_*.npz         VideoPose3D's, with the 2D file that --detections names

One clip per recording and camera, in the room's own axes, with the camera in meta.json and the 2D joints
beside the 3D; without 2D (--detections none) one clip per recording. Labels are the actions. S9 and S11 are
the split 'test'. Three recordings of S9 whose 3D has drifted are kept with the remark 'drifting', as only
some protocols leave them out; --split drifting:remark=drifting puts them aside.
"""


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--detections",
        metavar="NAME",
        help="VideoPose3D's 2D joints: cpn_ft_h36m_dbb or gt for data_2d_h36m_NAME.npz, or none",
    )


def _find(args: argparse.Namespace) -> Search:
    from langpose_dist.datasets.human36m.clips import find_clips

    found = find_clips(args.input, fps=args.fps, detections=args.detections)
    return Search(name_of("human36m", args.input), found, {"detections": args.detections})


def _recognise(tree: Tree) -> Iterator[Finding]:
    for path in tree.named("h36m_sh_conf_cam_source_final.pkl"):
        yield Finding("human36m", path, "MotionBERT's pickle", build=("--input", str(path)))
    for folder, paths in group(path for path in tree.ending(".npz") if "_h36m" in path.name).items():
        yield from _recognise_npz(folder, {path.name for path in paths})
    if raw := tree.ending(".cdf"):
        folder = tree.common_folder(path.parent for path in raw)
        problem = "these files need preparation"
        yield Finding("human36m", folder, "original files", {}, (problem,), (_PREPARE,))


def _recognise_npz(folder: Path, names: set[str]) -> Iterator[Finding]:
    from langpose_dist.datasets.human36m.videopose3d import DETECTIONS, POSITIONS

    detections = sorted(
        name.removeprefix(DETECTIONS).removesuffix(".npz") for name in names if name.startswith(DETECTIONS)
    )
    variant, facts = "VideoPose3D's files", {"2D": detections}
    if POSITIONS in names:
        problems = () if detections else (f"no 2D detections: there is no {DETECTIONS}*.npz beside it",)
        best = "cpn_ft_h36m_dbb" if "cpn_ft_h36m_dbb" in detections else (*detections, "none")[0]
        options = ("--input", str(folder / POSITIONS), "--detections", best)
        yield Finding("human36m", folder, variant, facts, problems, build=options)
    elif detections:
        problem = f"{POSITIONS} is missing: there are 2D joints only"
        yield Finding("human36m", folder, variant, facts, (problem,), (_PREPARE,))


SOURCE = Source(
    name="human36m",
    summary="Human3.6M, as MotionBERT or VideoPose3D prepared it",
    files="h36m_sh_conf_cam_source_final.pkl or data_3d_h36m.npz, or one of the files",
    epilog=_EPILOG,
    find=_find,
    recognise=_recognise,
    add_options=_add_options,
    fields=("subject", "action", "take", "camera", "remark"),
    example_rule="subject=s8",
    fps=50.0,
)
