"""What stands in the way of a run is found before it starts, all of it at once."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from langpose_dist.config import RunConfig, UserError
from langpose_dist.data.shards import read_tar, tar_members
from langpose_dist.datasets.build import build_shards
from langpose_dist.models.langpose import LangPose
from langpose_dist.runs.tracker import NullTracker
from langpose_dist.tracking.tracker import MLflowTracker
from langpose_dist.train.distributed.processes import Layout, Meeting
from langpose_dist.train.preflight import (
    PreflightError,
    check_data,
    check_everything,
    check_output,
    check_run,
    compare_nodes,
    count_parameters,
)
from tests.corpus import MadeClip, build_corpus, tiny_config
from tests.disk import small_disk
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
ALONE = Layout(rank=0, world_size=1, local_rank=0, local_size=1, is_launched=False)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    folder = tmp_path / "shards"
    build_corpus(folder)
    return folder


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    with small_disk(tmp_path / "disk", "1m") as place:
        yield place


def flip_byte(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_nothing_stands_in_the_way_of_a_good_run(shards: Path, tmp_path: Path) -> None:
    config = tiny_config(shards, tmp_path / "run")
    check_everything(config, Meeting(ALONE, 5.0), NullTracker())
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize(("micro", "world_size"), [(5, 1), (4, 2), (None, 24), (12, 2)])
def test_batch_sizes_must_multiply_out(shards: Path, micro: int | None, world_size: int) -> None:
    [problem] = check_run(tiny_config(shards, train={"micro_batch_size": micro}), world_size)
    assert f"train.global_batch_size=12 must be a multiple of {world_size} ranks times" in problem


@pytest.mark.parametrize(("micro", "world_size"), [(4, 1), (4, 3), (None, 12), (1, 12)])
def test_batch_sizes_that_multiply_out_are_taken(shards: Path, micro: int | None, world_size: int) -> None:
    assert list(check_run(tiny_config(shards, train={"micro_batch_size": micro}), world_size)) == []


def test_every_reader_needs_a_window(shards: Path) -> None:
    # By hand: clips of 21, 12, 27, 30, 33 and 36 frames, windows of 9 frames that begin every 4 frames, as
    # long as one of them still reaches new frames.
    num_windows = sum(max(1, -(-(frames - 9 + 4) // 4)) for frames in (21, 12, 27, 30, 33, 36))
    config = tiny_config(shards, data={"num_workers": 2})
    fits = num_windows // 2
    assert list(check_data(config, fits)) == []
    [problem] = check_data(config, fits + 1)
    assert (
        f"split 'train' has {num_windows} windows for {fits + 1} ranks with data.num_workers=2 each"
        in problem
    )


def test_every_reader_of_the_stream_needs_a_shard(shards: Path) -> None:
    config = tiny_config(shards, data={"num_workers": 1, "order": "streaming"})
    assert list(check_data(config, 2)) == []
    [problem] = check_data(config, 3)
    assert "2 shards are too few for 3 readers with data.order=streaming" in problem


@pytest.mark.parametrize("verify", [True, False])
def test_a_missing_shard_is_named(shards: Path, verify: bool) -> None:
    (shards / "train-000001.tar").unlink()
    [problem] = check_data(tiny_config(shards, data={"verify": verify}), 1)
    assert "train-000001.tar is missing" in problem


def test_one_byte_that_changed_is_found_by_the_hash_alone(shards: Path) -> None:
    flip_byte(shards / "train-000000.tar", 3000)
    [problem] = check_data(tiny_config(shards), 1)
    assert "train-000000.tar is damaged: its SHA-256 is not the manifest's" in problem
    assert list(check_data(tiny_config(shards, data={"verify": False}), 1)) == []


def test_a_split_that_is_not_used_may_be_damaged(shards: Path) -> None:
    flip_byte(shards / "train-000000.tar", 3000)
    config = tiny_config(shards, data={"train_split": "validation", "validation_split": "validation"})
    assert list(check_data(config, 1)) == []


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("place", ["within a member", "between members"])
def test_a_truncated_shard_is_found_by_its_size(shards: Path, verify: bool, place: str) -> None:
    path = shards / "validation-000000.tar"
    whole = path.stat().st_size
    offset, size = next(iter(tar_members(path).values()))["poses_3d.npy"]
    length = offset + -(-size // 512) * 512 if place == "between members" else offset + 100
    os.truncate(path, length)
    if place == "between members":  # where the tar format itself sees nothing wrong
        assert len(list(read_tar(str(path)))) == 1
    [problem] = check_data(tiny_config(shards, data={"verify": verify}), 1)
    assert f"validation-000000.tar has {length} bytes, the manifest says {whole}" in problem


@pytest.mark.parametrize("place", ["/proc/nowhere/run", "{folder}/file/run", "{folder}/file"])
def test_an_output_that_cannot_be_written_is_named(shards: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    output = place.format(folder=tmp_path)
    [problem] = check_output(tiny_config(shards, Path(output)))
    assert problem.startswith(f"output={output} cannot be written: ")


def test_the_disk_must_hold_the_checkpoints_that_are_kept(shards: Path, disk: Path) -> None:
    config = tiny_config(shards, disk / "run")
    few, many = (tiny_config(shards, disk / "run", train={"keep_checkpoints": number}) for number in (1, 10))
    # Three checkpoints of the tiny model are about 0.6 MB, twelve are 2.5 MB.
    assert list(check_output(few)) == []
    [problem] = check_output(many)
    assert f"output={disk / 'run'} has 0.00 GB free, 12 checkpoints take 0.00 GB" in problem
    assert "lower train.keep_checkpoints" in problem
    # What a run has written already is counted as room for what will take its place.
    filler = disk / "filler"
    filler.write_bytes(bytes(700_000))
    assert len(list(check_output(few))) == 1
    checkpoint = disk / "run/checkpoints/step-00000001"
    checkpoint.mkdir(parents=True)
    filler.rename(checkpoint / "model.safetensors")
    assert list(check_output(few)) == []
    assert config.train.keep_checkpoints == 3


def test_parameters_are_counted_without_the_model(shards: Path) -> None:
    config = tiny_config(shards)
    model = LangPose.build(config, 384)
    assert count_parameters(config) == sum(parameter.numel() for parameter in model.parameters())


def test_all_problems_come_in_one_report(shards: Path, tmp_path: Path) -> None:
    (shards / "train-000001.tar").unlink()
    flip_byte(shards / "train-000000.tar", 3000)
    os.truncate(shards / "validation-000000.tar", 700)
    (tmp_path / "file").touch()
    config = tiny_config(
        shards,
        tmp_path / "file/run",
        train={"micro_batch_size": 5},
        optimizer={"warmup_steps": 9},
        tracking={"enabled": True, "uri": "http://127.0.0.1:9", "required": True},
    )
    with pytest.raises(PreflightError) as caught:
        check_everything(config, Meeting(ALONE, 5.0), MLflowTracker(config.tracking))
    head, *lines = str(caught.value).split("\n  ")
    assert head == "7 problems stand in the way:"
    expected = (
        "train.global_batch_size=12 must be a multiple",
        "optimizer.warmup_steps=9 must be below the run's 4 steps",
        "train-000000.tar is damaged",
        "train-000001.tar is missing",
        "validation-000000.tar has 700 bytes",
        "file/run cannot be written",
        "127.0.0.1:9",
    )
    assert len(lines) == len(expected)
    for line, words in zip(lines, expected, strict=True):
        assert words in line


def test_a_single_problem_is_one_line(shards: Path, tmp_path: Path) -> None:
    config = tiny_config(shards, tmp_path / "run", train={"micro_batch_size": 5})
    with pytest.raises(PreflightError, match=r"^train\.global_batch_size=12") as caught:
        check_everything(config, Meeting(ALONE, 5.0), NullTracker())
    assert "\n" not in str(caught.value)


def facts(node: str, configuration: str = "0123", **changes: str) -> dict[str, Any]:
    names = ("python", "torch", "deepspeed", "langpose_dist", "webdataset", "numpy", "git_commit", "devices")
    return {"node": node, "configuration": configuration, "environment": dict.fromkeys(names, "1") | changes}


@pytest.mark.parametrize("name", ["python", "torch", "deepspeed", "langpose_dist", "numpy", "git_commit"])
def test_nodes_with_other_versions_are_told_apart(name: str) -> None:
    [problem] = compare_nodes([facts("north"), facts("north"), facts("south", **{name: "2"})])
    assert problem == f"north and south differ in {name}: 1 and 2; install the same on all nodes"


def test_nodes_with_other_configurations_are_told_apart() -> None:
    [problem] = compare_nodes([facts("north"), facts("south", "4567")])
    assert "north and south were given different configurations" in problem


def test_nodes_may_have_other_devices() -> None:
    assert list(compare_nodes([facts("north"), facts("south", devices="2")])) == []


def check_on_two_nodes(config: RunConfig, other: RunConfig | None = None) -> list[str]:
    """What two nodes, here two threads that meet in one store, say; nothing where all is well."""
    layouts = [
        Layout(rank=rank, world_size=2, local_rank=0, local_size=1, is_launched=False) for rank in (0, 1)
    ]
    meetings = [Meeting(layout, 20.0) for layout in layouts]
    meetings[1].store = meetings[0].store
    said = ["no answer", "no answer"]

    def check(rank: int) -> None:
        try:
            check_everything([config, other or config][rank], meetings[rank], NullTracker())
            said[rank] = ""
        except PreflightError as error:
            said[rank] = str(error)

    threads = [threading.Thread(target=check, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return said


def test_a_node_that_calls_itself_loopback_cannot_be_reached(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "localhost")
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    config = tiny_config(shards, tmp_path / "run")
    one, other = check_on_two_nodes(config)
    assert one == other
    assert one.startswith("rank 0 on localhost: the name of this node, localhost, stands for 127.0.0.1")
    assert "set GLOO_SOCKET_IFNAME" in one
    assert "\n" not in one  # both nodes say the same
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    assert check_on_two_nodes(config) == ["", ""]


def test_a_problem_of_any_node_is_told_by_all_with_its_rank(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    away = tmp_path / "away"
    build_corpus(away)
    (away / "train-000000.tar").unlink()
    one, other = check_on_two_nodes(
        tiny_config(shards, tmp_path / "run"), tiny_config(away, tmp_path / "run")
    )
    assert one == other
    assert one.startswith(f"rank 1 on {socket.gethostname()}: {away}/train-000000.tar is missing")
    assert not list((tmp_path / "run").glob(".preflight-*"))


def test_ranks_that_never_come_are_named() -> None:
    layout = Layout(rank=0, world_size=3, local_rank=0, local_size=1, is_launched=False)
    meeting = Meeting(layout, 1.0)
    meeting.store.set("langpose/1/1", '"here"')
    with pytest.raises(UserError, match="ranks 2 did not come within 1 s"):
        meeting.gather("here")


def test_a_meeting_that_nobody_else_comes_to_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    port = str(free_port())
    variables = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1"}
    for name, value in {**variables, "MASTER_PORT": port, "LOCAL_WORLD_SIZE": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=r"^rank 0 \(.*\) could not meet the other 1 ranks at 127\.0\.0\.1:"):
        Meeting(Layout.from_environment(), 2.0)


_NODE = """
import sys
from langpose_dist.config import load_config
from langpose_dist.train import preflight
from langpose_dist.train.distributed.processes import Layout, Meeting
from langpose_dist.runs.tracker import NullTracker
preflight._VISIBLE_TIMEOUT_S = 1.0
config = load_config(sys.argv[1])
meeting = Meeting(Layout.from_environment(), 60.0)
try:
    preflight.check_everything(config, meeting, NullTracker())
    print("nothing", flush=True)
except preflight.PreflightError as error:
    print(error, flush=True)
sys.stdin.read()  # rank 0 keeps the store until the other has read it
"""


@pytest.mark.dist
def test_the_output_must_be_one_folder_for_all_nodes(shards: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(tiny_config(shards, Path("run")).to_yaml(), encoding="utf-8")
    (tmp_path / "elsewhere").mkdir()
    for folder, expected in ((tmp_path / "elsewhere", "output=run of "), (tmp_path, "nothing")):
        port = str(free_port())
        variables = {"WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "PYTHONPATH": str(ROOT)}
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GLOO_SOCKET_IFNAME": "lo"}
        nodes = [
            subprocess.Popen(
                [sys.executable, "-c", _NODE, str(config)],
                cwd=cwd,
                env=os.environ | variables | address | {"RANK": str(rank)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for rank, cwd in enumerate((tmp_path, folder))
        ]
        try:
            said = [node.stdout.readline() for node in nodes if node.stdout is not None]
            for node in nodes:
                node.communicate(timeout=30)
        finally:
            for node in nodes:
                node.kill()
        assert said[0] == said[1]
        assert said[0].startswith(expected)
        assert ("choose one that all nodes share" in said[0]) is (folder != tmp_path)
        assert not list(tmp_path.glob("**/.preflight-*"))


@pytest.mark.parametrize(
    ("metric", "problem"),
    [
        ("clean/mpjpe", "; did you mean 'mpjpe_mm'?"),
        ("clean/most_frequent_r_at_1", "task=pretrain does not evaluate most_frequent_r_at_1; choose one of"),
    ],
)
def test_a_best_metric_that_no_evaluation_gives_is_a_problem(shards: Path, metric: str, problem: str) -> None:
    [found] = check_data(tiny_config(shards, train={"best_metric": metric}), 1)
    assert problem in found


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"loss": {"contrastive": "none"}}, "loss.contrastive=none"),
        ({"loss": {"lambda_con": 0}}, "loss.lambda_con=0"),
        ({"data": {"validation_split": "bare"}}, "no window of split 'bare' has a label"),
    ],
)
def test_a_metric_that_needs_labels_is_a_problem_without_them(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    clips = [("train", MadeClip(f"{label}", label, 12)) for label in ("kick", "stand")]
    clips += [("validation", MadeClip("other", "kick", 12)), ("bare", MadeClip("bare", None, 12))]
    build_shards(clips, tmp_path, dataset="m", source="s", fps=30.0, options={}, shard_size=4)
    named: dict[str, dict[str, Any]] = {
        "train": {"best_metric": "clean/any_r_at_1"},
        "registry": {"metrics": ["clean/any_r_at_1"]},
    }
    assert list(check_data(tiny_config(tmp_path, None, **named), 1)) == []
    found = list(check_data(tiny_config(tmp_path, None, **named, **changes), 1))
    said = f"=clean/any_r_at_1: evaluation does not give any_r_at_1: {reason}"
    assert found == [f"train.best_metric{said}", f"registry.metrics{said}"]


def test_what_training_needs_of_the_labels_is_a_problem_of_the_data(tmp_path: Path) -> None:
    clips = [
        (split, MadeClip(f"{split}{n}", None, 12)) for split in ("train", "validation") for n in range(3)
    ]
    build_shards(clips, tmp_path, dataset="x", source="x", fps=30.0, options={}, shard_size=4)
    [found] = check_data(tiny_config(tmp_path), 1)
    assert "the contrastive loss needs two labels or more" in found
    assert list(check_data(tiny_config(tmp_path, loss={"contrastive": "none"}), 1)) == []


def test_labels_that_are_one_to_the_text_encoder_are_too_few(tmp_path: Path) -> None:
    clips = [
        (split, MadeClip(f"{split}{n}", label, 12))
        for split in ("train", "validation")
        for n, label in enumerate(("caf\u00e9", "cafe"))
    ]
    build_shards(clips, tmp_path, dataset="x", source="x", fps=30.0, options={}, shard_size=4)
    [found] = check_data(tiny_config(tmp_path), 1)
    assert (
        "it has 1; set loss.contrastive=none (2 of 2 labels cannot be told apart by text.encoder=off" in found
    )


def test_preflight_returns_what_it_prepared(shards: Path, tmp_path: Path) -> None:
    config = tiny_config(shards, tmp_path / "run")
    prepared = check_everything(config, Meeting(ALONE, 5.0), NullTracker())
    assert (prepared.num_steps, prepared.micro_batch_size) == (4, 12)
    assert prepared.task.key_metric == "mpjpe_mm"
    assert len(prepared.corpus.training_set) > 0
