"""Several ranks of one trial, as workers of Ray Train: the trial's process leads them and trains nothing."""

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray.train
from ray.train._internal.utils import get_address_and_port
from ray.train.backend import Backend, BackendConfig
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.tune.integration.ray_train import TuneReportCallback

from tuning.settings import Sweep, load_sweep
from tuning.trial import STATE_FOLDER, SWEEP_FILE, TrialPlan, handed_over, logged, train_trial, trial_folder


class LauncherConfig(BackendConfig):
    """Gives each worker the variables of a launcher; ``train`` joins the ranks itself, as under any other."""

    @property
    def backend_cls(self) -> type[Backend]:
        """What does it."""
        return _Launcher


class _Launcher(Backend):
    share_cuda_visible_devices = True
    """A rank finds its GPU by its number among the node's ranks, as under torchrun."""

    def on_start(self, worker_group: Any, backend_config: BackendConfig) -> None:
        address, port = worker_group.execute_single(0, get_address_and_port)
        worker_group.execute(_set_variables, address=address, port=port)


class _WorkersTrainer(DataParallelTrainer):
    """Leaves the places of workers to the sweep's driver, see ``cluster.free_places``.

    Ray Train has an actor that frees them. It needs the state API, which only a full dashboard has; without
    one it frees nothing, and being detached it outlives the sweep.
    """

    def _create_default_callbacks(self) -> list[Any]:
        callbacks = super()._create_default_callbacks()
        return [one for one in callbacks if not isinstance(one, PlacementGroupCleanerCallback)]


def _set_variables(address: str, port: int) -> None:
    context = ray.train.get_context()
    os.environ |= {
        "MASTER_ADDR": address,
        "MASTER_PORT": str(port),
        "RANK": str(context.get_world_rank()),
        "WORLD_SIZE": str(context.get_world_size()),
        "LOCAL_RANK": str(context.get_local_rank()),
        "LOCAL_WORLD_SIZE": str(context.get_local_world_size()),
    }


def run_workers(sweep: Sweep, plan: TrialPlan, trial_id: str) -> None:
    """Start the ranks of a trial and wait for their end.

    Raises:
        Exception: What a rank fails of, from Ray Train.
    """
    output, resources = Path(sweep.config.output), sweep.settings.resources
    trainer = _WorkersTrainer(
        _train_rank,
        train_loop_config={"output": str(output), "plan": asdict(plan), "trial_id": trial_id},
        backend_config=LauncherConfig(),
        scaling_config=ray.train.ScalingConfig(
            num_workers=resources.workers,
            use_gpu=resources.gpus > 0,
            resources_per_worker={
                "CPU": resources.cpus,
                **({"GPU": resources.gpus} if resources.gpus else {}),
            },
        ),
        run_config=ray.train.RunConfig(
            name=trial_id,
            storage_path=str(output / STATE_FOLDER / "workers"),
            # Tune starts the trial again, from its own folder.
            failure_config=ray.train.FailureConfig(max_failures=0),
            callbacks=[TuneReportCallback()],
        ),
    )
    trainer.fit()


def _train_rank(config: Mapping[str, Any]) -> None:
    """What each worker runs."""
    output, trial_id = Path(config["output"]), config["trial_id"]
    rank = ray.train.get_context().get_world_rank()
    sweep = load_sweep([output / SWEEP_FILE])
    with logged(trial_folder(output, trial_id) / f"rank-{rank}.log"):
        train_trial(sweep, TrialPlan(**config["plan"]), trial_id, _report)


def _report(metrics: Mapping[str, Any], folder: Path | None) -> None:
    """Every rank reports; the checkpoint is rank 0's."""
    if folder is None or ray.train.get_context().get_world_rank() > 0:
        ray.train.report(dict(metrics))
        return
    with handed_over(folder, is_whole=False) as place:
        ray.train.report(dict(metrics), checkpoint=ray.train.Checkpoint.from_directory(place))
