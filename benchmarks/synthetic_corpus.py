"""Contact sheet of the synthetic actions: stick figures in three-quarter view, in order of time.

    python -m benchmarks.synthetic_corpus --out sheet.png [--labels walk "wave left hand"] [--seed 0]

The left side is blue, the right side red; a grey line is the floor.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from langpose_dist.synthesis.actions import ACTIONS, Action
from langpose_dist.synthesis.figure import JOINTS, PARENTS, pose_joints, rest_joints, to_matrices
from langpose_dist.synthesis.motion import Person
from langpose_dist.synthesis.sequence import perform

_SHOWN = [index for index, name in enumerate(JOINTS) if index < 22 or name.endswith("middle1")]
_HEAD = JOINTS.index("head")
_COLOURS = {"left": "tab:blue", "right": "tab:red"}


def _nose(
    poses: Float64[np.ndarray, "T 156"], joints: Float64[np.ndarray, "T 52 3"]
) -> Float64[np.ndarray, "T 3"]:
    """A point in front of the face, to show where the head looks."""
    turns = to_matrices(poses.reshape(len(poses), -1, 3))
    joint, turn = _HEAD, np.eye(3)
    while joint >= 0:
        turn = turns[:, joint] @ turn
        joint = PARENTS[joint]
    return joints[:, _HEAD] + turn @ np.array([0.0, 0.1, 0.16])


def action_joints(action: Action, seed: int, num_frames: int) -> Float64[np.ndarray, "T 53 3"]:
    """Joints, and the nose, at evenly spread times; the person faces the world's x at the beginning."""
    rng = np.random.default_rng(seed)
    person = Person.draw(rng, rest_joints())
    before = [other for other in ACTIONS if other.after == action.before and other.before == "standing"]
    actions = (action,) if action.before == "standing" else (before[0], action)
    sequence = perform(person, actions, rng)
    segment = sequence.segments[-1]
    poses, trans = sequence.sample(120.0)
    joints = pose_joints(poses, trans)
    joints = np.concatenate((joints, _nose(poses, joints)[:, None]), axis=1)
    first, last = round(segment.start * 120), min(round(segment.end * 120), len(joints) - 1)
    hips = joints[first, 1, :2] - joints[first, 2, :2]
    angle = np.arctan2(-hips[0], hips[1])  # of the facing direction
    cosine, sine = np.cos(angle), np.sin(angle)
    joints[..., :2] = (joints[..., :2] - joints[first, 0, :2]) @ np.array([[cosine, -sine], [sine, cosine]])
    return joints[np.linspace(first, last, num_frames).round().astype(int)]


def draw_sheet(actions: Sequence[Action], out: Path, *, seed: int, num_frames: int, num_columns: int) -> None:
    """Write the contact sheet as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    num_rows = -(-len(actions) // num_columns)
    figure, axes = plt.subplots(
        num_rows,
        num_columns * num_frames,
        figsize=(0.75 * num_columns * num_frames, 1.15 * num_rows),
        squeeze=False,
    )
    for axis in axes.ravel():
        axis.axis("off")
    rows = axes.reshape(num_rows * num_columns, num_frames)  # an action's frames stay together
    view = np.radians(35)  # the camera stands in front, to the person's left
    for row, action in zip(rows, actions, strict=False):
        joints = action_joints(action, seed, num_frames)
        across = -joints[..., 0] * np.sin(view) + joints[..., 1] * np.cos(view)
        centre = across[:, 0].mean()
        for axis, x, z in zip(row, across, joints[..., 2], strict=True):
            axis.axhline(0.0, color="0.7", linewidth=1)
            for joint in _SHOWN[1:]:
                parent = PARENTS[joint]
                colour = _COLOURS.get(JOINTS[joint].partition("_")[0], "0.2")
                axis.plot(x[[parent, joint]], z[[parent, joint]], color=colour, linewidth=1.2)
            axis.plot(x[_HEAD], z[_HEAD] + 0.1, "o", color="0.2", markersize=4, markerfacecolor="none")
            axis.plot([x[_HEAD], x[-1]], [z[_HEAD] + 0.1, z[-1]], color="0.2", linewidth=1.0)
            middle = x[0] if np.ptp(across[:, 0]) > 0.8 else centre
            axis.set(
                xlim=(middle - 0.8, middle + 0.8), ylim=(-0.1, 2.15), aspect="equal", xticks=[], yticks=[]
            )
        row[0].set_title(action.label, loc="left", fontsize=8, pad=1)
    figure.tight_layout(pad=0.3)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=80)
    plt.close(figure)


def main() -> None:
    """Draw the sheet of all actions, or of some."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--labels", nargs="*", default=[], help="labels to draw (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--frames", type=int, default=6, help="frames per action")
    parser.add_argument("--columns", type=int, default=3, help="actions per row")
    arguments = parser.parse_args()
    known = {action.label for action in ACTIONS}
    if unknown := sorted(set(arguments.labels) - known):
        parser.error(f"no action {unknown[0]!r}; there are {', '.join(sorted(known))}")
    chosen = [action for action in ACTIONS if not arguments.labels or action.label in arguments.labels]
    draw_sheet(
        chosen,
        arguments.out,
        seed=arguments.seed,
        num_frames=arguments.frames,
        num_columns=arguments.columns,
    )


if __name__ == "__main__":
    main()
