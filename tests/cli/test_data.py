"""The commands as a user types them, in this process and, where one is killed, in another."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from langpose_dist.cli.main import main
from langpose_dist.config import TextConfig
from langpose_dist.data.manifest import Manifest
from langpose_dist.data.sample import DataError
from langpose_dist.datasets.registry import SOURCES
from langpose_dist.skeleton import H36M17
from tests.corpus import swing

MOTION = "HIERARCHY\nROOT {root}\n{{\nOFFSET 0 0 0\nCHANNELS 3 Xposition Yposition Zposition\n}}\nMOTION\n"
SKELETON = """\
dataset: dots
pattern: '(?P<action>[a-z-]+)_(?P<style>[a-z-]+)_(?P<number>[0-9]+)'
unit_scale: 1
up: z
joints:
"""


def write_clip(folder: Path, name: str, num_frames: int = 4, root: str = "dot") -> None:
    rows = "\n".join(f"{frame} 0 0" for frame in range(num_frames))
    text = f"{MOTION.format(root=root)}Frames: {num_frames}\nFrame Time: 0.0333333\n{rows}\n"
    (folder / f"{name}.bvh").write_text(text)


@pytest.fixture
def mocap(tmp_path: Path) -> Path:
    """Six clips of a body that stands stiff on one dot, and the skeleton file that reads them."""
    folder = tmp_path / "mocap"
    folder.mkdir()
    for action in ("walk-turn-left", "run"):
        for style in ("normal", "not-confident", "old"):
            write_clip(folder, f"{action}_{style}_001")
    figure = zip(H36M17.joints, swing(None, 1)[0].tolist(), strict=True)
    points = "".join(f"  {joint}: {{joint: dot, offset: {place}}}\n" for joint, place in figure)
    lines = "".join(f"  {joint}: {{{joint}: 1}}\n" for joint in H36M17.joints)
    (tmp_path / "dot.yaml").write_text(f"{SKELETON}{lines}points:\n{points}")
    return folder


def words(mocap: Path, *options: str) -> list[str]:
    folder = mocap.parent
    return [
        *("data", "build", "bvh", "--input", str(mocap), "--out", str(folder / "out")),
        *("--skeleton", str(folder / "dot.yaml"), *options),
    ]


def test_build_inspect_verify(mocap: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(mocap.parent / "out")
    assert main(words(mocap, "--split", "validation:style=not-confident", "--shard-size", "3")) == 0
    assert "train" in capsys.readouterr().out
    assert main(["data", "inspect", out, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["splits"]["train"]["clips"] == 4
    assert summary["splits"]["train"]["frames"] == 16
    assert summary["splits"]["train"]["shards"] == 2
    assert summary["splits"]["validation"]["label_counts"] == {"run": 1, "walk turn left": 1}
    assert summary["ranges"]["head"]["max"] == pytest.approx([0, 0, 0.8])
    assert summary["build"]["split"] == ["validation:style=not-confident"]
    assert summary["groups"] == {
        "action": {"train": {"run": 2, "walk turn left": 2}, "validation": {"run": 1, "walk turn left": 1}}
    }
    assert main(["data", "inspect", out]) == 0
    shown = capsys.readouterr().out
    assert "2 actions, clips per split" in shown
    assert "subjects" not in shown
    assert main(["data", "verify", out]) == 0
    assert capsys.readouterr().out == f"{out}: whole\n"
    assert main(["data", "verify", out, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"root": out, "whole": True, "problems": []}


def label_notes(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)["label_notes"]


def test_labels_that_the_text_encoder_does_not_know_are_noted(
    mocap: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = TextConfig(encoder=str(tiny_folder), max_tokens=4)
    monkeypatch.setattr("langpose_dist.cli.label_notes.TextConfig", lambda: config)
    cut, unknown = label_notes(capsys, *words(mocap))
    assert cut.startswith("1 of 2 labels are longer than text.max_tokens=4 and are cut: 'walk turn left'")
    assert unknown.startswith("1 of 2 labels hold no word that text.encoder=")
    out = str(mocap.parent / "out")
    assert label_notes(capsys, "data", "inspect", out) == [cut, unknown]
    assert main(["data", "inspect", out]) == 0
    assert f"  {cut}\n  {unknown}\n" in capsys.readouterr().out


def test_a_text_encoder_that_is_not_there_is_no_reason_to_fail(
    mocap: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = TextConfig(encoder=str(mocap / "nothing"))
    monkeypatch.setattr("langpose_dist.cli.label_notes.TextConfig", lambda: config)
    [note] = label_notes(capsys, *words(mocap))
    assert note.startswith("the labels were not tried on a text encoder: ")


def test_the_summary_as_json_is_all_that_is_on_standard_output(
    mocap: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(mocap, "--json", "--label", "{style} {action}")) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["splits"]["train"]["label_counts"]["not confident run"] == 1
    assert summary["fingerprint"] == Manifest.load(mocap.parent / "out").fingerprint


def test_the_same_input_gives_the_same_data(mocap: Path) -> None:
    assert main(words(mocap)) == 0
    first = {path.name: path.read_bytes() for path in (mocap.parent / "out").iterdir()}
    assert main(words(mocap, "--overwrite")) == 0
    assert {path.name: path.read_bytes() for path in (mocap.parent / "out").iterdir()} == first


def test_bad_input_is_skipped_counted_and_listed(mocap: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = (mocap / "run_old_001.bvh").read_text()
    bad = {
        "bad_old_001": "not a motion",
        "bad_old_002": good[:40],
        "bad_old_003": good.replace("Frames: 4", "Frames: 9"),
        "bad_old_004": good.replace("Frames: 4", "Frames: 0"),
        "bad_old_005": good.replace("2 0 0", "2 nan 0"),
        "bad_old_006": good.replace("ROOT dot", "ROOT other"),
        "noname": good,
    }
    for name, text in bad.items():
        (mocap / f"{name}.bvh").write_text(text)
    (mocap / "notes.txt").write_text("")
    assert main(words(mocap)) == 0
    shown = capsys.readouterr().out
    assert "skipped 7: " in shown
    assert "1 NaN or infinity" in shown
    assert "1 files of other kinds" in shown
    skipped = {item.source: item.reason for item in Manifest.load(mocap.parent / "out").skipped}
    assert skipped == {
        "bad_old_001.bvh": "not BVH: it does not begin with HIERARCHY",
        "bad_old_002.bvh": "truncated hierarchy: no MOTION section",
        "bad_old_003.bvh": "truncated motion: 4 of 9 frames",
        "bad_old_004.bvh": "no frames",
        "bad_old_005.bvh": "NaN or infinity: first in frame 2",
        "bad_old_006.bvh": "joint missing from the file: dot",
        "noname.bvh": "name does not match the pattern: noname",
    }


def drop_clips(mocap: Path) -> None:
    for path in mocap.iterdir():
        path.unlink()


def spoil_clips(mocap: Path) -> None:
    for path in mocap.iterdir():
        path.write_text("x")


def misname_clips(mocap: Path) -> None:
    for number, path in enumerate(sorted(mocap.iterdir())):
        path.rename(mocap / f"{number}.bvh")


def occupy_output(mocap: Path) -> None:
    (mocap.parent / "out").mkdir()
    (mocap.parent / "out" / "thesis.doc").touch()


@pytest.mark.parametrize(
    ("spoil", "options", "problem"),
    [
        (drop_clips, [], "has no .bvh file"),
        (shutil.rmtree, [], "does not exist"),
        (spoil_clips, [], "no clip is left of 6: 6 not BVH"),
        (misname_clips, [], "no clip is left of 6: 6 name does not match the pattern"),
        (occupy_output, [], "is not empty"),
        (None, ["--split", "validation"], "must have the form"),
        (None, ["--split", "validation:style=sad"], "there are normal, not confident, old"),
        (None, ["--label", "mood"], "no field of the file names"),
        (None, ["--skeleton", "bandai"], "neither a .yaml file nor one of bandai-namco"),
        (None, ["--skeleton", "bandai-namco"], "no clip is left of 6"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(
    mocap: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Path], None] | None,
    options: list[str],
    problem: str,
) -> None:
    if spoil:
        spoil(mocap)
    assert main(words(mocap, *options)) == 2
    printed = capsys.readouterr()
    *_, line = printed.err.strip().split("\n")
    assert line.startswith("langpose: error: ")
    assert problem in line
    assert printed.out == ""
    assert not (mocap.parent / "out" / "manifest.json").exists()


@pytest.mark.parametrize(
    "option", ["--fps=0", "--fps=nan", "--fps=fast", "--shard-size=0", "--shard-size=1.5"]
)
def test_numbers_out_of_range_are_refused(
    mocap: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words(mocap, option))
    assert caught.value.code == 2
    assert "must be a" in capsys.readouterr().err


def test_a_complete_folder_is_not_replaced_by_accident(
    mocap: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(mocap)) == 0
    assert main(words(mocap)) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(["data", "verify", str(mocap.parent / "out")]) == 0


def test_verify_prints_a_line_per_problem(mocap: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(mocap, "--shard-size", "2")) == 0
    out = mocap.parent / "out"
    (out / "train-000000.tar").unlink()
    os.truncate(out / "train-000001.tar", 5000)
    capsys.readouterr()
    assert main(["data", "verify", str(out)]) == 2
    printed = capsys.readouterr()
    lines = [line for line in printed.err.splitlines() if line.startswith("langpose: ")]
    assert ["train-00000" in line for line in lines] == [True, True]
    assert main(["data", "verify", str(out), "--json"]) == 2
    assert len(json.loads(capsys.readouterr().out)["problems"]) == 2
    assert main(["data", "verify", str(mocap)]) == 2


def test_inspect_of_something_else_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "inspect", str(tmp_path)]) == 2
    assert "langpose: error: " in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", [*(["build", source.name] for source in SOURCES), ["synthesize"], ["inspect"], ["verify"]]
)
def test_help_teaches_with_an_example(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["data", *command, "--help"])
    assert caught.value.code == 0
    assert f"langpose data {' '.join(command)}" in capsys.readouterr().out.split("example:")[1]


INTERRUPTED = """
import sys, time
from langpose_dist.cli.main import main
from langpose_dist.datasets.bvh import clips

def read(path, read=clips.read_bvh):
    if path.stem == "walk_old_000004":
        print("reads", flush=True)
        time.sleep(600)
    return read(path)

clips.read_bvh = read
sys.exit(main())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_build_that_is_stopped_is_not_data_and_can_be_run_again(
    mocap: Path, number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    for clip in range(20):
        write_clip(mocap, f"walk_old_{clip:06d}")
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, *words(mocap, "--shard-size", "1")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        # A shell starts what runs in its background with Ctrl-C ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "reads\n"
        process.send_signal(number)
        _, printed = process.communicate(timeout=60)
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert "Traceback" not in printed
        assert printed.rstrip().split("\n")[-1] == "langpose: interrupted"
    else:
        assert process.returncode == -signal.SIGKILL
    out = mocap.parent / "out"
    with pytest.raises(DataError, match="did not finish"):
        Manifest.load(out)
    assert main(["data", "verify", str(out)]) == 2

    for path in mocap.glob("walk_old_00001*.bvh"):
        path.unlink()
    assert main(words(mocap, "--shard-size", "10")) == 0
    manifest = Manifest.load(out)
    assert sorted(path.name for path in out.iterdir()) == [
        "manifest.json",
        *[shard.name for shard in manifest.shards],
    ]
    assert main(["data", "verify", str(out)]) == 0


@pytest.mark.parametrize("source", ["human36m", "mpi-inf-3dhp", "humanml3d", "kit-ml", "motionbert"])
def test_an_input_that_is_not_the_source_is_one_line(
    tmp_path: Path, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").touch()
    assert main(["data", "build", source, "--input", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    lines = capsys.readouterr().err.strip().split("\n")
    assert [line for line in lines if line.startswith("langpose: error: input folder ") or "input" in line]
    assert not (tmp_path / "out").exists()
