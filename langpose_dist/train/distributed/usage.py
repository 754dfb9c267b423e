"""Use of device and process by each rank."""

import contextlib
import socket

import psutil
import torch

_GB = 1e9


class DeviceUsage:
    """Looks at one rank's process and device; whatever else runs on the node is left out."""

    def __init__(self, rank: int, device: torch.device) -> None:
        self._place = f"system/{socket.gethostname()}/rank{rank}"
        self._device = device
        self._process = psutil.Process()
        self._process.cpu_percent()  # the first look starts the clock

    def look(self) -> dict[str, float]:
        """Values since the last look, named ``system/NODE/rankN/...``.

        ``cpu_percent`` (100: one core busy) and ``memory_gb`` of the process; on a GPU also ``gpu_memory_gb``
        (the most that tensors took so far), ``gpu_reserved_gb`` and, where NVML answers, ``gpu_percent``.
        """
        values = {
            "cpu_percent": self._process.cpu_percent(),
            "memory_gb": self._process.memory_info().rss / _GB,
        }
        if self._device.type == "cuda":
            values["gpu_memory_gb"] = torch.cuda.max_memory_allocated(self._device) / _GB
            values["gpu_reserved_gb"] = torch.cuda.max_memory_reserved(self._device) / _GB
            with contextlib.suppress(Exception):  # NVML is missing, or refuses in this container
                values["gpu_percent"] = float(torch.cuda.utilization(self._device))
        return {f"{self._place}/{name}": value for name, value in values.items()}
