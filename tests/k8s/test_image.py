"""The image: linted here; built and run under the manifests' security context where buildah is at hand."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.k8s.manifests import K8S, render, templates
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
TOOLS = ("buildah", "debootstrap", "runc")
IMAGE = "localhost/langpose-dist:test"
PYTHON_PACKAGES = "python3,python3-venv,python3-pip,ca-certificates"


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, K8S / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_context_holds_what_is_copied_and_nothing_else() -> None:
    lines = (K8S / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    kept = {line[1:] for line in lines if line.startswith("!")}
    copied = {
        word
        for line in (K8S / "Dockerfile").read_text(encoding="utf-8").splitlines()
        if line.startswith("COPY") and "--from" not in line
        for word in line.split()[1:-1]
    }
    assert lines[1] == "*"
    assert kept == copied
    assert all((ROOT / name).exists() for name in kept)


class Image:
    """The built image, unpacked, and a place for bundles.

    Args:
        folder: Holds the images and all else.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._options = [f"--root={folder / 'images'}", f"--runroot={folder / 'run'}"]
        self.rootfs = Path()

    def buildah(self, command: str, *words: str | Path, timeout: int = 120) -> str:
        """Call buildah; returns what it printed."""
        done = subprocess.run(
            ["buildah", *self._options, command, *words],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            timeout=timeout,
            check=True,
        )
        return done.stdout.strip()

    def build(self) -> None:
        """Make a Debian with Python as the base, and the image on it with torch for the processor."""
        system = self.folder / "debian"
        subprocess.run(
            ["debootstrap", "--variant=minbase", f"--include={PYTHON_PACKAGES}", "bookworm", system],
            check=True,
        )
        base = self.buildah("from", "scratch")
        self.buildah("add", "-q", base, system, "/", timeout=600)
        self.buildah("commit", "-q", base, "localhost/base:test", timeout=600)
        shutil.rmtree(system)
        words = [
            "--isolation",
            "chroot",
            "--ignorefile",
            "k8s/Dockerfile.dockerignore",
            "-f",
            "k8s/Dockerfile",
        ]
        words += ["--build-arg", "BASE=localhost/base:test", "-t", IMAGE]
        words += [
            "--build-arg",
            f"TORCH_INDEX={os.environ.get('TORCH_INDEX', 'https://download.pytorch.org/whl/cpu')}",
        ]
        # A mirror of PyPI on this machine, and its certificates.
        for place in filter(None, os.environ.get("LANGPOSE_IMAGE_VOLUMES", "").split(",")):
            words += ["--volume", f"{place}:ro"]
        self.buildah("bud", *words, ".", timeout=2400)
        self.rootfs = Path(self.buildah("mount", self.buildah("from", IMAGE)))

    @contextmanager
    def running(self, words: Sequence[str], writable: dict[str, Path]) -> Iterator[subprocess.Popen[str]]:
        """A container of the image, as the manifests have it: uid 1000, root read-only, no capabilities.

        Args:
            words: The command.
            writable: Place in the container -> folder here.
        """
        bundle = self.folder / f"bundle-{time.monotonic_ns()}"
        bundle.mkdir()
        (bundle / "config.json").write_text(json.dumps(self._spec(words, writable)), encoding="utf-8")
        process = subprocess.Popen(
            ["runc", "--root", self.folder / "runc", "run", "--bundle", bundle, bundle.name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            yield process
        finally:
            runc = ["runc", "--root", self.folder / "runc"]
            if process.poll() is None:
                subprocess.run([*runc, "kill", bundle.name, "TERM"], check=True)
            process.communicate(timeout=60)

    def _spec(self, words: Sequence[str], writable: dict[str, Path]) -> dict[str, Any]:
        environment = ["PATH=/opt/langpose/bin:/usr/bin:/bin", "PYTHONPATH=/app", "HOME=/scratch"]
        environment += ["PYTHONUNBUFFERED=1", "OMP_NUM_THREADS=1"]
        mounts = [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["mode=1777"]},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmp", "options": ["mode=1777"]},
        ]
        for place, folder in writable.items():
            folder.mkdir(exist_ok=True)
            os.chown(folder, 1000, 1000)
            mounts.append(
                {"destination": place, "type": "bind", "source": str(folder), "options": ["rbind", "rw"]}
            )
        return {
            "ociVersion": "1.0.2",
            "root": {"path": str(self.rootfs), "readonly": True},
            "process": {
                "user": {"uid": 1000, "gid": 1000},
                "args": list(words),
                "env": environment,
                "cwd": "/app",
                "capabilities": {},
                "noNewPrivileges": True,
                "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 4096, "soft": 4096}],
            },
            "mounts": mounts,
            "linux": {"namespaces": [{"type": kind} for kind in ("pid", "ipc", "mount", "uts")]},
        }

    def run(self, *words: str, writable: dict[str, Path], timeout: int = 300) -> tuple[int, str]:
        """Exit status and output of a command."""
        with self.running(words, writable) as process:
            output, _ = process.communicate(timeout=timeout)
        return process.returncode, output


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """The image, built from nothing."""
    if os.geteuid() != 0 or not all(map(shutil.which, TOOLS)):
        pytest.skip(f"building an image needs root, {', '.join(TOOLS)}")
    image = Image(tmp_path_factory.mktemp("image"))
    image.build()
    yield image
    image.buildah("umount", "--all")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_image_runs_as_the_manifests_run_it(image: Image, tmp_path: Path) -> None:
    for folder in ("jobs/data", "overlays/dev"):
        for manifest in render(folder):
            for _, template in templates(manifest):
                assert template["spec"]["securityContext"]["runAsUser"] in (999, 1000)
    writable = {"/scratch": tmp_path / "scratch", "/shards": tmp_path / "shards", "/runs": tmp_path / "runs"}
    status, output = image.run("langpose", "--help", writable=writable)
    assert status == 0, output
    assert "Train, evaluate and look up LangPose models" in output
    status, output = image.run("touch", "/app/x", writable=writable)
    assert status != 0
    assert "Read-only file system" in output

    status, output = image.run(
        *("langpose", "data", "synthesize", "--out=/scratch/motion", "--hours=0.05"), writable=writable
    )
    assert status == 0, output
    words = [
        "--input=/scratch/motion/amass",
        "--babel=/scratch/motion/babel",
        "--smplh=/scratch/motion/smplh",
    ]
    words += ["--regressor=/scratch/motion/J_regressor_h36m_correct.npy", "--dataset=synthetic", "--fps=10"]
    status, output = image.run(
        "langpose", "data", "build", "amass", *words, "--out=/shards/synthetic", writable=writable
    )
    assert status == 0, output
    training = [
        "--config=/app/configs/pretrain/small.yaml",
        "data.path=/shards/synthetic",
        "output=/runs/debug",
    ]
    training += ["train.device=cpu", "text.encoder=offline", "train.max_steps=4", "tracking.enabled=false"]
    training += ["tracking.register_as=null", "data.num_workers=0", "optimizer.warmup_steps=1"]
    status, output = image.run(
        *("python", "/app/launch/start.py", "node", "--launcher=torchrun", "--num-ranks=2", "--", *training),
        writable=writable,
    )
    assert status == 0, output
    content = json.loads((tmp_path / "runs/debug/status.json").read_text(encoding="utf-8"))
    assert content["status"] == "finished"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_tracking_server_runs_in_the_image(image: Image, tmp_path: Path) -> None:
    port = free_port()
    words = ["python", "/app/launch/tracking_server.py", "--folder=/state/tracking", "--host=127.0.0.1"]
    writable = {"/scratch": tmp_path / "scratch", "/state": tmp_path / "state"}
    with image.running([*words, f"--port={port}", "--workers=1"], writable) as process:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.5)
