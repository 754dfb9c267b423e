"""Problems of a run, found on every node before any device is held, in one report."""

import os
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from langpose_dist.config import RegistryConfig, RunConfig, UserError
from langpose_dist.data.corpus import Corpus
from langpose_dist.data.remote import is_url
from langpose_dist.data.sample import DataError
from langpose_dist.host.environment import describe_environment
from langpose_dist.host.paths import make_folder
from langpose_dist.runs.folder import RunFolder
from langpose_dist.runs.tracker import Tracker
from langpose_dist.tasks.task import Task, check_metric, load_task
from langpose_dist.train.checkpoint import checkpoint_folders
from langpose_dist.train.distributed.processes import Layout, Meeting, choose_device, share_cores
from langpose_dist.train.engine import count_steps, micro_batch_size, resolve_autocast

_SAME_ON_ALL_NODES = ("python", "torch", "deepspeed", "langpose_dist", "webdataset", "numpy", "git_commit")
_BYTES_PER_PARAMETER = 12
"""Bytes per parameter of a checkpoint: weight and two moments in float32."""
_CHECK_TIMEOUT_S = 3600.0
"""Longest wait for the checks of the slowest node, which hashes at the speed of its disk."""
_VISIBLE_TIMEOUT_S = 15.0
"""Longest time that a network file system takes to show a new file."""


class PreflightError(UserError):
    """Problems that prevent a run; the same on every rank, so one of them reports."""

    is_told = False
    """True once rank 0 has printed it."""


@dataclass(frozen=True)
class Prepared:
    """Findings of the checks, for the run to use."""

    config: RunConfig
    task: Task
    """With its first weights, on the CPU."""
    corpus: Corpus
    num_steps: int
    """Optimizer updates of the whole run."""
    micro_batch_size: int
    """Windows per rank and forward pass."""


def check_everything(config: RunConfig, meeting: Meeting, tracker: Tracker) -> Prepared:
    """Every check, on every node; all ranks call it.

    Raises:
        PreflightError: On every rank, with all problems of all nodes.
    """
    layout = meeting.layout
    share_cores(config.train, layout)
    if layout.rank == 0:
        with suppress(OSError, UserError):  # check_output tells why not
            make_folder(Path(config.output))
    meeting.gather(None)  # who is missing is known before anybody reads much
    corpus, problems = _open_corpus(config)
    if corpus is not None and layout.is_first_of_node:
        problems += _check_corpus(corpus, layout.world_size)
    if layout.rank == 0:
        problems = [*check_run(config, layout.world_size), *problems, *check_output(config)]
        problems += error_messages_of(tracker.check)
    problems += _check_address(layout)
    task, found = _build_task(config, corpus, layout.local_rank)
    problems += found
    facts = {
        "node": socket.gethostname(),
        "environment": describe_environment(),
        "configuration": config.hash(),
        "problems": problems,
        "token": _leave_token(config) if layout.rank == 0 and not problems else None,
    }
    everyone = meeting.gather(facts, timeout=_CHECK_TIMEOUT_S)
    found = [
        f"rank {rank} on {other['node']}: {problem}" if layout.world_size > 1 else problem
        for rank, other in enumerate(everyone)
        for problem in other["problems"]
    ]
    found += _check_shared_folder(config, meeting, everyone)
    found += compare_nodes(everyone)
    raise_problems(deduplicate(found))
    assert corpus is not None
    assert task is not None
    return Prepared(
        config=config,
        task=task,
        corpus=corpus,
        num_steps=count_steps(config, len(corpus.training_set)),
        micro_batch_size=micro_batch_size(config, layout.world_size),
    )


def check_here(
    config: RunConfig, world_size: int, tracker: Tracker, *, is_resumed: bool = False
) -> list[str]:
    """Problems that one machine can find without its other ranks."""
    return [
        *check_run(config, world_size),
        *error_messages_of(lambda: check_folder(config, is_resumed=is_resumed)),
        *check_output(config),
        *check_data(config, world_size),
        *error_messages_of(tracker.check),
    ]


def raise_problems(problems: Sequence[str]) -> None:
    """Report problems, if there are any.

    Raises:
        PreflightError: With a line for each, or in one line if it is one.
    """
    if len(problems) == 1:
        raise PreflightError(problems[0])
    if problems:
        raise PreflightError("\n  ".join([f"{len(problems)} problems stand in the way:", *problems]))


def check_run(config: RunConfig, world_size: int) -> Iterator[str]:
    """Batch sizes that do not multiply out; looks at no file."""
    yield from error_messages_of(lambda: micro_batch_size(config, world_size))


def check_data(config: RunConfig, world_size: int) -> Iterator[str]:
    """Reasons why this machine cannot train on the data: not whole, too few, or not what the task needs."""
    corpus, problems = _open_corpus(config)
    yield from problems if corpus is None else _check_corpus(corpus, world_size)
    yield from _build_task(config, corpus, 0)[1]


def _open_corpus(config: RunConfig) -> tuple[Corpus | None, list[str]]:
    """The data with both splits cut into windows, or why that cannot be."""
    try:
        corpus = load_task(config.task).open(config)
        _ = corpus.training_set
        corpus.windows(config.data.validation_split, stride=config.window.num_frames)
    except UserError as error:
        return None, [str(error)]
    return corpus, []


def _build_task(config: RunConfig, corpus: Corpus | None, local_rank: int) -> tuple[Task | None, list[str]]:
    """The task that the run will train, or why this rank cannot train it."""
    task: Task | None = None
    try:
        device = choose_device(config.train, local_rank)
        dtype = resolve_autocast(config, device)
        if corpus is not None:
            task = load_task(config.task).build(config, corpus)
            task.autocast = dtype
    except UserError as error:
        return None, [str(error)]
    return task, []


def _check_corpus(corpus: Corpus, world_size: int) -> Iterator[str]:
    config, num_windows = corpus.config, len(corpus.training_set)
    yield from error_messages_of(lambda: count_steps(config, num_windows))
    yield from load_task(config.task).problems(config, corpus)
    yield from check_metrics(config, corpus)
    readers = world_size * max(1, config.data.num_workers)
    if num_windows < readers:
        yield (
            f"{config.data.path}: split {config.data.train_split!r} has {num_windows} windows for "
            f"{world_size} ranks with data.num_workers={config.data.num_workers} each; "
            "start fewer, or lower window.stride"
        )
    used = [shard for shard in corpus.manifest.shards if shard.split == config.data.train_split]
    if config.data.order == "streaming" and len(used) < readers:
        yield (
            f"{config.data.path}: {len(used)} shards are too few for {readers} readers with "
            "data.order=streaming; lower data.num_workers, or build smaller shards"
        )
    if not is_url(config.data.path) or (config.data.verify and config.data.order == "exact"):
        yield from _check_shards(corpus, config)


def _check_shards(corpus: Corpus, config: RunConfig) -> Iterator[str]:
    splits = (config.data.train_split, config.data.validation_split)
    for index, shard in enumerate(corpus.manifest.shards):
        if shard.split not in splits:
            continue
        try:
            if config.data.verify:
                corpus.reader.verify(index)
            else:
                corpus.reader.check_size(index)
        except DataError as error:
            yield str(error)
    corpus.reader.close()


def check_output(config: RunConfig) -> Iterator[str]:
    """Reasons why the run's folder cannot be written or has no room for the checkpoints that are kept."""
    run_dir = Path(config.output)
    try:
        make_folder(run_dir)
        probe = run_dir / f".preflight-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        yield f"output={run_dir} cannot be written: {error.strerror or error}"
        return
    checkpoints = config.train.keep_checkpoints + 2  # the best, and the one being written
    needed = checkpoints * count_parameters(config) * _BYTES_PER_PARAMETER
    present = sum(file.stat().st_size for file in run_dir.glob("checkpoints/step-*/*"))
    free = shutil.disk_usage(run_dir).free
    if free + present < needed:
        yield (
            f"output={run_dir} has {free / 1e9:.2f} GB free, {checkpoints} checkpoints take "
            f"{needed / 1e9:.2f} GB; free space, or lower train.keep_checkpoints"
        )


def check_folder(config: RunConfig, *, is_resumed: bool) -> None:
    """Refuse a folder whose run would be overwritten, or one that holds no run to resume.

    Raises:
        UserError: With the remedy.
    """
    folder = RunFolder(config.output)
    if is_resumed:
        if not folder.config.exists():
            raise UserError(f"{folder.path} holds no run to resume; leave out --resume")
    # A run that ended before its first line of metrics left nothing worth keeping.
    elif folder.metrics.exists() or checkpoint_folders(folder.checkpoints):
        raise UserError(f"{folder.path} already holds a run; resume with --resume or choose another output=")


def check_metrics(config: RunConfig, corpus: Corpus) -> Iterator[str]:
    """Metrics of the best checkpoint and of the registry's gate that no evaluation will give."""
    gate, task = config.registry.metrics, load_task(config.task)
    if config.registry == RegistryConfig():  # another task's metrics, or no gate at all
        known = task.metrics if config.tracking.register_as else ()
        gate = [name for name in gate if name.rpartition("/")[2] in known]
    best = [config.train.best_metric] if config.train.best_metric else []
    chosen = {"train.best_metric": best, "registry.metrics": gate}
    for key, names in chosen.items():
        for name in names:
            for problem in error_messages_of(partial(check_metric, name, config, corpus)):
                yield f"{key}={name}: {problem}"


def count_parameters(config: RunConfig) -> int:
    """Parameters of the configured model, without allocating it; a trained text encoder is not counted."""
    with torch.device("meta"):
        model = load_task(config.task).rebuild(config, {})
    return sum(parameter.numel() for parameter in model.parameters())


def compare_nodes(facts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Differences of code and configuration between the ranks."""
    first = facts[0]
    for other in facts[1:]:
        pair = f"{first['node']} and {other['node']}"
        for name in _SAME_ON_ALL_NODES:
            values = first["environment"][name], other["environment"][name]
            if values[0] != values[1]:
                yield f"{pair} differ in {name}: {values[0]} and {values[1]}; install the same on all nodes"
        if first["configuration"] != other["configuration"]:
            yield f"{pair} were given different configurations; start all ranks with the same"


def _check_address(layout: Layout) -> Iterator[str]:
    """A name of this node that other nodes cannot reach: gloo takes the address that it stands for."""
    if layout.local_size == layout.world_size or os.environ.get("GLOO_SOCKET_IFNAME"):
        return
    name = socket.gethostname()
    try:
        address = socket.gethostbyname(name)
    except OSError:
        address = "no address"
    if address == "no address" or address.startswith("127."):
        yield (
            f"the name of this node, {name}, stands for {address}, which other nodes cannot reach; set "
            "GLOO_SOCKET_IFNAME (and NCCL_SOCKET_IFNAME) to the interface that leads to them"
        )


def error_messages_of(action: Callable[[], Any]) -> list[str]:
    """Message of the error that an action raises for the user; empty if none."""
    try:
        action()
    except UserError as error:
        return [str(error)]
    return []


def _check_shared_folder(
    config: RunConfig, meeting: Meeting, everyone: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Nodes that do not see rank 0's output folder, by the token that it left there."""
    layout, token = meeting.layout, everyone[0]["token"]
    output = Path(config.output)
    sees_output = token is None or not layout.is_first_of_node or _wait_until_visible(output / token)
    shared = meeting.gather(sees_output)
    if token is not None and layout.rank == 0:
        (output / token).unlink(missing_ok=True)
    return [
        f"output={config.output} of {everyone[0]['node']} is not the folder that {other['node']} sees under "
        "this name; choose one that all nodes share"
        for other, sees in zip(everyone, shared, strict=True)
        if not sees
    ]


def _leave_token(config: RunConfig) -> str:
    name = f".preflight-{secrets.token_hex(8)}"
    (Path(config.output) / name).write_bytes(b"")
    return name


def _wait_until_visible(path: Path) -> bool:
    deadline = time.monotonic() + _VISIBLE_TIMEOUT_S
    while not path.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True


def deduplicate(lines: Sequence[str]) -> list[str]:
    """Drop repeated problems, also those that several ranks of a node report alike."""
    seen: dict[str, str] = {}
    for line in lines:
        seen.setdefault(line.partition(": ")[2] if line.startswith("rank ") else line, line)
    return list(seen.values())
