"""Estimate of the memory that a training step takes on a GPU, without a GPU."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks

from langpose_dist.batch import WindowBatch
from langpose_dist.config import RunConfig, UserError
from langpose_dist.models.dstformer import DSTformer
from langpose_dist.tasks.task import Task, load_task, total_loss

_USABLE = 0.94
"""Share of a GPU's memory that is left beside CUDA's own, and that the allocator can fill."""


@dataclass(frozen=True)
class StepMemory:
    """Bytes on one GPU."""

    fixed: int
    """Weights, gradients, the optimizer's state, and the weights in the activations' type."""
    per_window: float
    """What each window of a forward pass keeps for the backward pass."""

    def of(self, num_windows: int) -> float:
        """Bytes with so many windows in a forward pass."""
        return self.fixed + num_windows * self.per_window

    def largest(self, available: float) -> int:
        """Windows of a forward pass that fit into so many bytes."""
        return max(0, int((available - self.fixed) / self.per_window))

    def describe(self, num_windows: int, available: int | None) -> str:
        """Line for a person; ``available``: bytes of this machine's GPU."""
        size = available or 80 * 10**9
        gpu = "this GPU" if available else "one of 80 GB"
        largest = self.largest(_USABLE * size)
        line = (
            f"memory of a GPU: about {self.of(num_windows) / 2**30:.1f} GiB for {num_windows} windows in a "
            f"forward pass; {gpu} holds {largest}"
        )
        if largest < num_windows:
            smaller = "set train.micro_batch_size to that or less" if largest else "it takes a larger GPU"
            line += f"; {smaller}, or see model.recompute and model.stream"
        return line


def estimate_step_memory(
    task: Task, config: RunConfig, windows: Callable[[int], WindowBatch], world_size: int
) -> StepMemory:
    """Count what the backward pass will need by forward passes without values.

    Compared with a GPU without ZeRO alone; see docs/performance.md. What the allocator wastes is not in it.

    Args:
        task: On the CPU, with ``autocast`` as on the GPU.
        config: ZeRO stage and offloading.
        windows: Gives a batch of so many windows.
        world_size: Ranks that share what ZeRO shares out.
    """
    two, four = (_bytes_kept(task, windows(count), config) for count in (2, 4))
    per_window = (four - two) / 2
    stage, offload = config.train.zero_stage, config.train.offload
    bytes_per_parameter = (
        (0 if offload == "parameters" else 4) / (world_size if stage >= 3 else 1)  # weights
        + 4 / (world_size if stage >= 2 else 1)  # gradients
        + (8 if offload == "none" else 0) / (world_size if stage >= 1 else 1)  # AdamW's moments
        # DeepSpeed's copy of the weights that a rank updates, and the bucket that gradients are reduced in.
        + (4 + (4 if offload == "none" else 0) / world_size if stage >= 1 else 0)
    )
    trained = sum(parameter.numel() for parameter in task.parameters() if parameter.requires_grad)
    frozen = sum(parameter.numel() for parameter in task.parameters() if not parameter.requires_grad)
    # What does not grow with the windows are the weights: as they are, or in the activations' type.
    casts = 0 if task.autocast is None else two - 2 * per_window
    return StepMemory(int(bytes_per_parameter * trained + 4 * frozen + casts), per_window)


def _bytes_kept(task: Task, windows: WindowBatch, config: RunConfig) -> float:
    """Bytes kept for the backward pass, with those of the one level that is computed again at a time."""
    kept = float(_bytes_saved(task, windows))
    if config.model.recompute:
        encoders = [module for module in task.modules() if isinstance(module, DSTformer)]
        for encoder in encoders:
            encoder.recompute = False
        kept += _bytes_saved(task, windows) / config.model.depth
        for encoder in encoders:
            encoder.recompute = True
    return kept


def _bytes_saved(task: Task, windows: WindowBatch) -> int:
    """Bytes that a forward pass saves for the backward pass."""
    sizes: dict[int, int] = {}
    alive: list[Tensor] = []  # so that no address comes twice

    def keep(tensor: Tensor) -> Tensor:
        storage: Any = tensor.untyped_storage()
        sizes[storage._cdata] = storage.nbytes()
        alive.append(tensor)
        return tensor

    task.train()
    with FakeTensorMode(allow_non_fake_inputs=True), saved_tensors_hooks(keep, lambda tensor: tensor):
        total_loss(task(windows), task.weights, {}).mean()
    return sum(sizes.values())


def estimate_memory(config: RunConfig, world_size: int) -> StepMemory:
    """The estimate for a run, from its configuration and data.

    Raises:
        UserError: If they do not allow the run.
    """
    task_class = load_task(config.task)
    corpus = task_class.open(config)
    task = task_class.build(config, corpus)
    task.autocast = None if config.train.precision == "float32" else torch.bfloat16

    def windows(count: int) -> WindowBatch:
        batch = corpus.training_set[[(0, 0)] * count]
        if isinstance(batch, UserError):
            raise batch
        return batch

    return estimate_step_memory(task, config, windows, world_size)


def gpu_memory() -> int | None:
    """Bytes of this machine's first GPU; ``None`` without one."""
    return torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else None
