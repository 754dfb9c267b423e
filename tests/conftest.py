"""Set up before the package is imported: shapes are checked, and two test processes share the cores."""

import os
import signal

# Read by torch when it loads: two workers with a pool of threads each are slower than two threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from jaxtyping import install_import_hook

from tests import typecheck

# A shell that starts the tests in the background, cron and nohup have signals ignored, which every process
# that a test starts would inherit. A handler is not inherited, and keeps this process deaf.
for _number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, lambda number, frame: None)
signal.pthread_sigmask(signal.SIG_SETMASK, ())

# A user's own tracking server is none of the tests' business.
for _name in [name for name in os.environ if name.startswith(("MLFLOW_", "DATABRICKS_"))]:
    del os.environ[_name]

# Every annotation of the package is checked in the tests, tensor shapes included.
install_import_hook("langpose_dist", f"{typecheck.__name__}.check")

pytest_plugins = ("tests.made",)  # fixtures of several folders


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run, with the reason."""
    without_data = pytest.mark.skip(reason="LANGPOSE_BVH_DIR does not name the Bandai-Namco motion dataset")
    without_gpu = pytest.mark.skip(reason="no CUDA device")
    has_data = bool(os.environ.get("LANGPOSE_BVH_DIR"))
    has_gpu = _has_gpu() if any(item.get_closest_marker("gpu") for item in items) else False
    for item in items:
        if item.get_closest_marker("data") and not has_data:
            item.add_marker(without_data)
        if item.get_closest_marker("gpu") and not has_gpu:
            item.add_marker(without_gpu)


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
