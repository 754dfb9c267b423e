"""The DeepSpeed engine: batch arithmetic, optimizer, schedule, clipping, sharding."""

from functools import partial
from typing import Any

import torch
from torch import nn

from langpose_dist.config import ConfigError, OptimizerConfig, RunConfig, UserError
from langpose_dist.tasks.task import Task
from langpose_dist.train.distributed.processes import Processes
from langpose_dist.train.schedule import learning_rate_factor


def micro_batch_size(config: RunConfig, world_size: int) -> int:
    """Windows per rank and micro step.

    Raises:
        ConfigError: If ranks and micro batches do not divide the global batch, or gradients would add up in
            CUDA graphs, which overwrite them.
    """
    train = config.train
    micro = train.micro_batch_size or train.global_batch_size // world_size
    if micro == 0 or train.global_batch_size % (micro * world_size):
        raise ConfigError(
            f"train.global_batch_size={train.global_batch_size} must be a multiple of "
            f"{world_size} ranks times train.micro_batch_size={micro or 1}"
        )
    has_graphs = config.model.compile and config.model.compile_mode == "reduce-overhead"
    if has_graphs and micro * world_size < train.global_batch_size:
        raise ConfigError(
            f"model.compile_mode=reduce-overhead does not go with train.micro_batch_size={micro}, which adds "
            "up gradients; leave one of them out"
        )
    return micro


def count_steps(config: RunConfig, num_windows: int) -> int:
    """Optimizer updates of the whole run.

    Raises:
        ConfigError: If the warm-up does not end within the run.
    """
    train = config.train
    steps = train.max_steps or max(1, round(train.epochs * num_windows / train.global_batch_size))
    if config.optimizer.warmup_steps >= steps:
        raise ConfigError(
            f"optimizer.warmup_steps={config.optimizer.warmup_steps} must be below the run's {steps} steps"
        )
    return steps


def build_optimizer(task: Task, config: OptimizerConfig, *, fused: bool) -> torch.optim.AdamW:
    """AdamW, a group of parameters for each learning rate and for matrices and the others.

    Biases, norms and position embeddings do not decay unless ``decay_all`` says so.
    """
    # The highest rate comes first: the log shows the first group's.
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in task.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((task.rate_factor(name), parameter.ndim != 2), []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "lr": config.learning_rate * factor,
                # A schedule that begins in mid-run looks for the initial rate.
                "initial_lr": config.learning_rate * factor,
                "weight_decay": config.weight_decay if config.decay_all or not is_other else 0.0,
            }
            for (factor, is_other), parameters in sorted(groups.items(), key=_order)
        ],
        lr=config.learning_rate,
        betas=config.betas,
        fused=fused,
    )


def _order(group: tuple[tuple[float, bool], list[nn.Parameter]]) -> tuple[float, bool]:
    factor, is_other = group[0]
    return -factor, is_other


def build_engine(
    task: Task, config: RunConfig, processes: Processes, num_steps: int, *, step: int = 0
) -> Any:
    """Wrap a task for training on this run's ranks.

    Args:
        task: On the CPU, with the same weights on every rank.
        config: Batch, optimizer, clipping and ZeRO stage.
        processes: This run's ranks.
        num_steps: Updates in the whole run, for the schedule.
        step: Updates that are done already.

    Returns:
        A ``deepspeed.DeepSpeedEngine``.
    """
    import deepspeed

    micro = micro_batch_size(config, processes.world_size)
    fused = processes.device.type == "cuda" and config.train.offload == "none"
    task.to(processes.device)
    optimizer = build_optimizer(task, config.optimizer, fused=fused)
    factor = partial(
        learning_rate_factor,
        num_steps=num_steps,
        warmup_steps=config.optimizer.warmup_steps,
        schedule=config.optimizer.schedule,
        final_ratio=config.optimizer.final_ratio,
    )
    # The default bucket has 500 million numbers.
    num_parameters = sum(parameter.numel() for parameter in task.parameters())
    zero: dict[str, Any] = {"stage": config.train.zero_stage, "reduce_bucket_size": num_parameters}
    if config.train.offload != "none":
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": processes.device.type == "cuda"}
    if config.train.offload == "parameters":
        zero["offload_param"] = {"device": "cpu", "pin_memory": processes.device.type == "cuda"}
    engine, *_ = deepspeed.initialize(
        model=task,
        optimizer=optimizer,
        # The annotation names a base class that torch has renamed since.
        lr_scheduler=torch.optim.lr_scheduler.LambdaLR(  # pyright: ignore[reportArgumentType]
            optimizer, factor, last_epoch=step - 1
        ),
        config={
            "train_batch_size": config.train.global_batch_size,
            "train_micro_batch_size_per_gpu": micro,
            "gradient_accumulation_steps": config.train.global_batch_size // (micro * processes.world_size),
            # Without sharding the trainer clips: DeepSpeed would wait for the GPU twice, as its timer does.
            "gradient_clipping": config.optimizer.clip_norm if config.train.zero_stage else 0.0,
            "timers": {"throughput": {"enabled": False}},
            "zero_optimization": zero,
            # AdamW is torch's own, which needs no compiler; with offloading, too.
            "zero_allow_untested_optimizer": True,
            "zero_force_ds_cpu_optimizer": False,
            "steps_per_print": 2**62,
        },
    )
    if processes.world_size == 1 and config.train.zero_stage == 0:
        engine.enable_backward_allreduce = False  # it copies every gradient twice, also for one rank
    return engine


def resolve_autocast(config: RunConfig, device: torch.device) -> torch.dtype | None:
    """Type of the activations: ``None`` for float32.

    Raises:
        UserError: If bfloat16 is asked of a GPU that does not have it.
    """
    match config.train.precision:
        case "float32":
            return None
        case "auto":
            # On a CPU it pays only with matrix instructions for it; see benchmarks/results.
            return torch.bfloat16 if device.type == "cuda" and _has_bfloat16(device) else None
        case "bfloat16":
            if not _has_bfloat16(device):
                raise UserError("train.precision=bfloat16: this GPU does not have it; set float32")
            return torch.bfloat16


def _has_bfloat16(device: torch.device) -> bool:
    return device.type == "cpu" or torch.cuda.get_device_properties(device).major >= 8
