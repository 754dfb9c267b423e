"""Expected positions are worked out by hand."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from langpose_dist.datasets.bvh.parse import BvhError, axis_rotation, joint_positions, parse_bvh, read_bvh

CHAIN = """HIERARCHY
ROOT root
{{
  OFFSET 5 5 5
  CHANNELS {root}
  JOINT arm
  {{
    OFFSET 0 1 0
    CHANNELS {arm}
    End Site
    {{
      OFFSET 0 2 0
    }}
  }}
}}
MOTION
Frames: {frames}
Frame Time: 0.0333333
{rows}
"""


def chain(root: str, arm: str, *rows: str) -> str:
    return CHAIN.format(root=root, arm=arm, frames=len(rows), rows="\n".join(rows))


def test_position_channels_replace_the_offset_and_joints_without_them_keep_it() -> None:
    positions = joint_positions(parse_bvh(chain("3 Xposition Yposition Zposition", "1 Xrotation", "1 2 3 0")))
    np.testing.assert_allclose(positions["root"], [[1, 2, 3]])
    np.testing.assert_allclose(positions["arm"], [[1, 3, 3]])
    np.testing.assert_allclose(positions["arm End"], [[1, 5, 3]])


def test_one_position_channel_replaces_one_coordinate() -> None:
    positions = joint_positions(parse_bvh(chain("1 Zposition", "1 Yposition", "7 4")))
    np.testing.assert_allclose(positions["root"], [[5, 5, 7]])
    np.testing.assert_allclose(positions["arm"], [[5, 9, 7]])


@pytest.mark.parametrize(
    ("channels", "row", "arm"),
    [
        ("1 Zrotation", "90", [-1, 0, 0]),  # z turns y to -x
        ("1 Xrotation", "90", [0, 0, 1]),  # x turns y to z
        ("1 Yrotation", "90", [0, 1, 0]),
        ("2 Zrotation Xrotation", "90 90", [0, 0, 1]),  # first about x to z, which z leaves
        ("2 Xrotation Zrotation", "90 90", [-1, 0, 0]),  # first about z to -x, which x leaves
        ("3 Yrotation Xrotation Zrotation", "90 90 0", [1, 0, 0]),  # x: to z, then y: to x
    ],
)
def test_rotations_compose_in_channel_order(channels: str, row: str, arm: list[float]) -> None:
    positions = joint_positions(parse_bvh(chain(channels, "0", row)))
    np.testing.assert_allclose(positions["arm"] - positions["root"], [arm], atol=1e-12)


def test_channels_may_mix_positions_and_rotations() -> None:
    text = chain("4 Zrotation Xposition Zposition Yposition", "1 Zrotation", "90 1 3 2 90")
    positions = joint_positions(parse_bvh(text))
    np.testing.assert_allclose(positions["root"], [[1, 2, 3]])
    np.testing.assert_allclose(positions["arm"], [[0, 2, 3]], atol=1e-12)
    np.testing.assert_allclose(positions["arm End"], [[0, 0, 3]], atol=1e-12)  # turned by 180 degrees in all


def test_a_point_turns_with_its_joint() -> None:
    bvh = parse_bvh(chain("1 Zrotation", "1 Xrotation", "90 0", "0 90"))
    positions = joint_positions(bvh, {"tip": ("arm", (0.0, 3.0, 0.0))})
    np.testing.assert_allclose(positions["tip"], [[1, 5, 5], [5, 6, 8]], atol=1e-12)
    with pytest.raises(BvhError, match=r"joint missing from the file: leg"):
        joint_positions(bvh, {"tip": ("leg", (0.0, 3.0, 0.0))})


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_axis_rotations_are_proper_and_add_up(axis: int) -> None:
    first, second = axis_rotation(axis, np.array([0.3, -1.2])), axis_rotation(axis, np.array([0.5, 2.0]))
    np.testing.assert_allclose(first @ second, axis_rotation(axis, np.array([0.8, 0.8])), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(first), 1)


def test_dialects_of_white_space_read_alike(make_bvh: Callable[..., str], tmp_path: Path) -> None:
    text = make_bvh(3, {"Neck": (10, 20, 30)})
    expected = joint_positions(parse_bvh(text))
    for dialect in (
        text.replace("\n", "\r\n"),
        text.replace("\n", " \n"),
        text.replace("OFFSET ", "\t\tOFFSET\t"),
        text.replace("Frames:\t", "Frames: "),
        text.replace("Frame Time: ", "Frame Time:\t"),
        "\ufeff" + text + "\n\n",
        text.rstrip("\n"),
    ):
        (tmp_path / "dialect.bvh").write_bytes(dialect.encode())
        found = joint_positions(read_bvh(tmp_path / "dialect.bvh"))
        for joint, positions in expected.items():
            np.testing.assert_array_equal(found[joint], positions)
    np.testing.assert_array_equal(
        joint_positions(parse_bvh(text.replace("\n", "\r\n")))["Head"], expected["Head"]
    )


WHOLE = chain("3 Xposition Yposition Zposition", "1 Xrotation", "1 2 3 0", "1 2 3 90")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not BVH"),
        ("\x89PNG\r\n", "not BVH"),
        ("<html>", "not BVH"),
        (WHOLE[:60], "truncated hierarchy"),
        (WHOLE.split("MOTION")[0], "truncated hierarchy: no MOTION"),
        (WHOLE.replace("}\nMOTION", "MOTION"), "truncated hierarchy"),
        (WHOLE.replace("}\nMOTION", "}\n}\nMOTION"), "a closing brace too many"),
        (WHOLE.replace("JOINT", "BONE"), "'BONE' where a joint or brace"),
        (WHOLE.replace("OFFSET 0 1 0", "OFFSET 0 one 0"), "'one' is not a number"),
        (WHOLE.replace("OFFSET 0 1 0", "OFFSET 0 inf 0"), "'inf' is not finite"),
        (WHOLE.replace("Xrotation", "Wrotation"), "unknown channel 'Wrotation'"),
        (WHOLE.replace("JOINT arm", "JOINT root"), "two joints 'root'"),
        (WHOLE.split("Frames")[0], "no Frames and Frame Time"),
        (WHOLE.replace("Frames: 2", "Frames: two"), "Frames 'two'"),
        (WHOLE.replace("Frames: 2", "Frames: -1"), "Frames '-1'"),
        (WHOLE.replace("Frames: 2\n", ""), "bad motion header"),
        (WHOLE.replace("Frames: 2", "Frames: 0"), "no frames"),
        (WHOLE.replace("0.0333333", "0"), "bad frame time"),
        (WHOLE.replace("0.0333333", "-0.03"), "bad frame time"),
        (WHOLE.replace("0.0333333", "33"), "bad frame time"),
        (WHOLE.replace("0.0333333", "nan"), "not finite"),
        (WHOLE.replace("0.0333333", "fast"), "not a number"),
        (WHOLE.replace("Frames: 2", "Frames: 3"), "truncated motion: 2 of 3 frames"),
        (WHOLE.replace("Frames: 2", "Frames: 1"), "more motion than Frames says"),
        (WHOLE.replace("1 2 3 90", "1 2"), "truncated motion: frame 1 has 2 of 4 values"),
        (WHOLE.replace("1 2 3 90", "1 2 3 90 5"), "frame 1 has more values than the 4 channels"),
        (WHOLE.replace("1 2 3 90", "1 2 x 90"), "bad number: in frame 1"),
        (WHOLE.replace("1 2 3 90", "1 2 nan 90"), "NaN or infinity: first in frame 1"),
        (WHOLE.replace("1 2 3 0\n", "1 2 -inf 0\n"), "NaN or infinity: first in frame 0"),
    ],
)
def test_what_is_not_a_whole_motion_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(BvhError) as caught:
        parse_bvh(text)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_cut_anywhere_is_refused() -> None:
    # A cut in the last number leaves a whole file with another number; nothing can tell.
    for length in range(len(WHOLE.rstrip()) - 1):
        with pytest.raises(BvhError):
            parse_bvh(WHOLE[:length])
    assert len(parse_bvh(WHOLE).motion) == 2


_ROOT = "HIERARCHY\nROOT H\n{\nOFFSET 0 0 0\nCHANNELS 3 Xposition Yposition Zposition\n"
_ONE_FRAME = "MOTION\nFrames: 1\nFrame Time: 0.03\n0 0 0\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("JOINT knee}\n}\n", "'}' after the name 'knee', where { must be"),
        ("JOINT knee\nOFFSET 0 0 0\n}\n}\n", "'OFFSET' after the name 'knee', where { must be"),
        ("End Site {\nOFFSET 0 0 0\n" * 9 + "}\n" * 10, "'End' where } must be"),
        ("".join(f"JOINT j{n} {{ OFFSET 0 0 0\n" for n in range(1001)), "more than 1000 joints"),
        ("JOINT " + "a " * 1000 + "\n", "'a' after the name"),
    ],
)
def test_a_hierarchy_is_refused_with_its_true_reason(text: str, reason: str) -> None:
    with pytest.raises(BvhError, match=f"^bad hierarchy: .*{re.escape(reason)}"):
        parse_bvh(_ROOT + text + _ONE_FRAME)


def test_braces_may_touch_words() -> None:
    text = _ROOT.replace("H\n{", "H{") + "JOINT a{\nOFFSET 0 0 0}\n}\n" + _ONE_FRAME
    assert [joint.name for joint in parse_bvh(text).joints] == ["H", "a"]


def test_rows_cost_what_they_hold() -> None:
    many = "HIERARCHY\nROOT H\n{\nOFFSET 0 0 0\nCHANNELS 100000 " + "Xposition " * 100_000 + "}\n"
    with pytest.raises(BvhError, match="frame 0 has 1 of 100000 values"):
        parse_bvh(many + "MOTION\nFrames: 100000\nFrame Time: 0.03\n" + "0\n" * 100_000)
