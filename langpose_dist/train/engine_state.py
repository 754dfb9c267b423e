"""Weights and optimizer state out of the engine and back, whole and by name, whatever the ZeRO stage.

Ranks of a sharded engine each hold a part. DeepSpeed's interface for single parameters puts the parts
together, so what is captured knows nothing of ranks and stages and can be restored to any of them.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from langpose_dist.train.checkpoint import Snapshot
from langpose_dist.train.distributed.processes import Processes

_MOMENTS = ("exp_avg", "exp_avg_sq")
"""AdamW's state of a parameter, besides the step."""


def capture(engine: Any, processes: Processes) -> Snapshot:
    """Copy everything into rank 0's memory; all ranks call it.

    Args:
        engine: Around a task whose ``model`` is saved; it has taken a step.
        processes: The ranks.

    Returns:
        The copies on rank 0, nothing on the others.
    """
    weights = full_weights(engine, processes)
    _link(engine)
    optimizer: dict[str, Tensor] = {}
    for name, parameter in _trained(engine):
        for moment in _MOMENTS:
            value = _full_moment(engine, parameter, moment)
            if processes.is_main:
                optimizer[f"{name}/{moment}"] = _copy(value)
    if not processes.is_main:
        return Snapshot()
    return Snapshot(weights, optimizer)


def full_weights(engine: Any, processes: Processes) -> dict[str, Tensor]:
    """The model's weights in rank 0's memory; all ranks call it."""
    model: nn.Module = engine.module.model
    if engine.zero_optimization_stage() < 3:
        return {name: _copy(value) for name, value in model.state_dict().items()} if processes.is_main else {}
    from deepspeed import zero
    from deepspeed.utils import safe_get_full_fp32_param

    weights: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            value = safe_get_full_fp32_param(parameter)
            assert value is not None
        else:
            with zero.GatheredParameters([parameter]):
                value = parameter.detach().clone()
        if processes.is_main:
            weights[name] = _copy(value)
    buffers = model.state_dict().keys() - {name for name, _ in model.named_parameters()}
    return weights | {name: _copy(model.get_buffer(name)) for name in buffers if processes.is_main}


def restore_optimizer(engine: Any, state: Mapping[str, Tensor], step: int) -> None:
    """Put AdamW's state into a fresh engine, each rank its part.

    Args:
        engine: Built with the checkpoint's weights and ``step``.
        state: From ``read_optimizer``; on the CPU.
        step: Updates done.
    """
    if step == 0:
        return  # AdamW makes its state in the first step
    stage = engine.zero_optimization_stage()
    if stage == 0:
        fused = any(group.get("fused") for group in engine.optimizer.param_groups)
        for name, parameter in _trained(engine):
            engine.optimizer.state[parameter] = {
                # A fused update wants its count beside the parameter.
                "step": torch.tensor(float(step), device=parameter.device if fused else None),
                **{moment: state[f"{name}/{moment}"].to(parameter.device).clone() for moment in _MOMENTS},
            }
        return
    from deepspeed.utils import safe_set_full_optimizer_state

    adamw = engine.optimizer.optimizer
    flat = "fp32_partitioned_groups_flat" if stage == 3 else "single_partition_of_fp32_groups"
    fused = any(group.get("fused") for group in adamw.param_groups)
    for part in getattr(engine.optimizer, flat):
        count = torch.tensor(float(step), device=part.device if fused else None)
        adamw.state[part] = {
            "step": count,
            **{moment: torch.zeros_like(part, requires_grad=False) for moment in _MOMENTS},
        }
    _link(engine)
    for name, parameter in _trained(engine):
        for moment in _MOMENTS:
            value = state[f"{name}/{moment}"]
            if stage == 3:
                _set_part(parameter, value, moment)
            else:
                safe_set_full_optimizer_state(parameter, value, moment)


def _trained(engine: Any) -> list[tuple[str, nn.Parameter]]:
    model: nn.Module = engine.module.model
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]


def _full_moment(engine: Any, parameter: nn.Parameter, moment: str) -> Tensor:
    """A moment of a whole parameter."""
    if engine.zero_optimization_stage() == 0:
        return engine.optimizer.state[parameter][moment]
    from deepspeed.utils import safe_get_full_optimizer_state

    value = safe_get_full_optimizer_state(parameter, moment)
    assert value is not None
    return value


def _link(engine: Any) -> None:
    # At stages 1 and 2 DeepSpeed links the states in the first group's first step, when the other groups
    # have none yet; linking again costs nothing.
    if engine.zero_optimization_stage() in (0, 3):
        return
    from deepspeed.utils import lazy_init_hp_params_optimizer_state

    zero = engine.optimizer
    for group, part in zip(zero.bit16_groups, zero.single_partition_of_fp32_groups, strict=True):
        lazy_init_hp_params_optimizer_state(group, part, zero.optimizer.state)


def _set_part(parameter: nn.Parameter, value: Tensor, moment: str) -> None:
    # safe_set_full_optimizer_state fails at stage 3 where ranks do not divide a parameter.
    from deepspeed.utils import safe_get_local_optimizer_state, safe_set_local_optimizer_state

    part = safe_get_local_optimizer_state(parameter, moment)
    assert part is not None
    size, ranks = part.numel(), dist.get_world_size()
    padded = nn.functional.pad(value.flatten(), (0, size * ranks - value.numel()))
    mine = padded[size * dist.get_rank() :][:size]
    safe_set_local_optimizer_state(parameter, mine.to(part.device).reshape(part.shape), moment)


def _copy(value: Tensor) -> Tensor:
    return value.detach().to("cpu", copy=True).contiguous()
