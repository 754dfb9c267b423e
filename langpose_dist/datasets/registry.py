"""The data sets that shards can be built from; a new one is a line here and a package beside it."""

from langpose_dist.datasets import amass, bvh, human36m, humanml3d, motionbert, mpi_inf_3dhp
from langpose_dist.datasets.source import Source

SOURCES: tuple[Source, ...] = (
    amass.SOURCE,
    human36m.SOURCE,
    mpi_inf_3dhp.SOURCE,
    *humanml3d.SOURCES,
    motionbert.SOURCE,
    bvh.SOURCE,
)
"""In the order of the help."""
