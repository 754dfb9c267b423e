"""The processes of one trial: Ray Tune's own is rank 0, the other ranks are actors in its placement group."""

import os
import socket
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.exceptions import RayError
from ray.util import get_node_ip_address
from ray.util.placement_group import get_current_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from langpose_dist.train.distributed.stop import EarlyStop
from tuning.settings import SWEEP_FILE, ResourcesConfig, load_sweep
from tuning.trial import STEP, from_tune, logged, train_beside, train_trial, trial_folder

_POLL_S = 1.0
_GRACE_S = 10.0
"""Longest time that rank 0 may take to notice by itself that another rank is lost."""

Location = tuple[str, Sequence[str]]
"""A rank's node and the GPUs that Ray gave it."""


def trial_resources(wanted: ResourcesConfig) -> tune.PlacementGroupFactory:
    """Resources of a trial: a bundle for each rank, on one node or several."""
    each = {"CPU": wanted.cpus, **({"GPU": wanted.gpus} if wanted.gpus else {})}
    return tune.PlacementGroupFactory([each] * wanted.workers)


def run_trial(config: Mapping[str, Any]) -> None:
    """Train a trial; Ray Tune calls it in a process of its own."""
    output, trial = Path(config["output"]), from_tune(config)
    sweep = load_sweep([output / SWEEP_FILE])
    resources = sweep.settings.resources
    ranks: AbstractContextManager[None] = nullcontext()
    if resources.workers > 1:
        ranks = _other_ranks(config, resources)
    with logged(trial_folder(output, trial.trial_id) / "trial.log"):
        try:
            train_trial(sweep, trial, _report, ranks)
        except EarlyStop as stop:
            print(stop, file=sys.stderr)
            raise SystemExit(0) from None


def _report(metrics: Mapping[str, Any]) -> None:
    try:
        tune.report(dict(metrics))
    except SystemExit:  # how Tune ends a trial
        raise EarlyStop(f"stopped after step {metrics[STEP]}") from None


class Rank:
    """Actor of one of the other ranks."""

    def location(self) -> Location:
        """Node and GPUs of this process."""
        context = ray.get_runtime_context()
        return context.get_node_id(), context.get_accelerator_ids().get("GPU", [])

    def train(self, config: Mapping[str, Any], variables: Mapping[str, str]) -> None:
        """Train until rank 0 ends."""
        os.environ.update(variables)
        output, trial = Path(config["output"]), from_tune(config)
        with logged(trial_folder(output, trial.trial_id) / f"rank-{variables['RANK']}.log"):
            try:
                train_beside(load_sweep([output / SWEEP_FILE]), trial)
            except Exception as error:
                print(f"error: {error}", file=sys.stderr)
                raise


@contextmanager
def _other_ranks(config: Mapping[str, Any], resources: ResourcesConfig) -> Iterator[None]:
    """Have the other ranks train along; they end with this process, however that ends."""
    group = get_current_placement_group()
    assert group is not None
    actor = ray.remote(num_cpus=resources.cpus, num_gpus=resources.gpus)(Rank)
    others: list[Any] = [
        actor.options(  # pyright: ignore[reportAttributeAccessIssue]
            scheduling_strategy=PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=bundle)
        ).remote()
        for bundle in range(1, resources.workers)
    ]
    try:
        locations = [Rank().location(), *ray.get([other.location.remote() for other in others])]
        mine, *theirs = launch_variables(locations, get_node_ip_address(), _free_port())
        os.environ.update(mine)
        trainings = [
            other.train.remote(config, variables) for other, variables in zip(others, theirs, strict=True)
        ]
        with _ending_with(trainings):
            yield
    finally:
        for other in others:
            ray.kill(other)


def launch_variables(locations: Sequence[Location], address: str, port: int) -> list[dict[str, str]]:
    """A launcher's variables for each rank, as torchrun sets them; rank 0 listens at the address."""
    found = []
    for rank, (node, gpus) in enumerate(locations):
        on_node = [other for other, (its_node, _) in enumerate(locations) if its_node == node]
        variables = {
            "MASTER_ADDR": address,
            "MASTER_PORT": str(port),
            "RANK": str(rank),
            "WORLD_SIZE": str(len(locations)),
            "LOCAL_RANK": str(on_node.index(rank)),
            "LOCAL_WORLD_SIZE": str(len(on_node)),
        }
        if gpus:  # a rank finds its GPU by its number among the node's ranks
            visible = [gpu for other in on_node for gpu in locations[other][1]]
            variables["CUDA_VISIBLE_DEVICES"] = ",".join(visible)
        found.append(variables)
    return found


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("", 0))
        return listener.getsockname()[1]


@contextmanager
def _ending_with(trainings: Sequence[Any]) -> Iterator[None]:
    """End this process soon after another rank was lost, also where it hangs waiting for that rank."""
    is_over = threading.Event()

    def watch() -> None:
        left = list(trainings)
        while left and not is_over.wait(_POLL_S):
            ended, left = ray.wait(left, timeout=0)
            try:
                ray.get(ended)
            except RayError as error:
                print(f"error: another rank was lost: {error}", file=sys.stderr, flush=True)
                if not is_over.wait(_GRACE_S):
                    os._exit(1)

    threading.Thread(target=watch, name="ranks", daemon=True).start()
    try:
        yield
    finally:
        is_over.set()
