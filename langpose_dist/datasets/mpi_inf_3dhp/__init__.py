"""MPI-INF-3DHP, from two npz files."""

import argparse
from collections.abc import Iterator

from langpose_dist.datasets.finding import Finding, Tree, group
from langpose_dist.datasets.source import Search, Source, name_of

_EPILOG = """\
example:
  langpose data build mpi-inf-3dhp --input motion3d --out data/3dhp

  motion3d/data_train_3dhp.npz, data_test_3dhp.npz   as used by P-STMO and MotionAGFormer; one is enough

The shards have the data set's 2D joints beside the 3D, and no labels. Of the test recordings only some frames
count: meta.json lists them as valid_frames. They are single frames, so the rate must stay 25 for the
protocol (langpose evaluate MODEL --protocol mpi_3dhp).
"""


def _find(args: argparse.Namespace) -> Search:
    from langpose_dist.datasets.mpi_inf_3dhp.clips import find_clips

    return Search(name_of("mpi-inf-3dhp", args.input), find_clips(args.input, fps=args.fps), {})


def _recognise(tree: Tree) -> Iterator[Finding]:
    from langpose_dist.datasets.mpi_inf_3dhp.clips import FILES

    for folder, paths in group(tree.named(*FILES)).items():
        missing = [name for name in FILES if folder / name not in paths]
        yield Finding(
            name="mpi-inf-3dhp",
            path=folder,
            problems=tuple(f"{name} is missing; the other can be used without it" for name in missing),
            build=("--input", str(folder)),
        )
    if raw := tree.named("annot.mat", "annot_data.mat"):
        yield Finding(
            name="mpi-inf-3dhp",
            path=tree.common_folder(path.parent for path in raw),
            variant="original files",
            problems=("these files need preparation",),
            advice=(f"make {' and '.join(FILES)} of them as https://github.com/paTRICK-swk/P-STMO says",),
        )


SOURCE = Source(
    name="mpi-inf-3dhp",
    summary="MPI-INF-3DHP, from its two npz files",
    files="data_train_3dhp.npz or data_test_3dhp.npz, or one of the files",
    epilog=_EPILOG,
    find=_find,
    recognise=_recognise,
    fields=("subject", "sequence", "camera"),
    example_rule="subject=s8",
    fps=25.0,
)
