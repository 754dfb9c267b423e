"""Every command in the manifests, by the parsers of the programs that it starts, down to each override."""

import argparse
import importlib
import re
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from langpose_dist.cli.arguments import parse_words
from langpose_dist.cli.main import build_parser as langpose_parser
from langpose_dist.config import load_config
from langpose_dist.evaluation.protocols import find_protocol
from tests.k8s.manifests import JOBS, K8S, OVERLAYS, Manifest, all_containers, render, templates
from tuning.settings import load_sweep
from tuning.sweep import build_parser as sweep_parser

ROOT = Path(__file__).parents[2]


def load_script(name: str) -> ModuleType:
    """A script of ``launch/`` as a module."""
    importlib.import_module("launch.start")  # which finds its neighbours
    return importlib.import_module(f"launch.{name}")


def commands() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Place and words of every command of ours."""
    seen = set()
    folders = {name: render(name) for name in [*(f"overlays/{name}" for name in OVERLAYS)]}
    folders |= {f"jobs/{name}": render(f"jobs/{name}") for name in JOBS}
    hostfile = (K8S / "components/mpi-hostfile/runtime.yaml").read_text(encoding="utf-8")
    folders["components/mpi-hostfile"] = tuple(yaml.safe_load_all(hostfile))
    for folder, manifests in folders.items():
        for place, words in _commands_of(manifests):
            if words not in seen:
                seen.add(words)
                yield f"{folder} {place}", words


def _commands_of(manifests: Sequence[Manifest]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for place, _, container in all_containers(manifests):
        if words := (*container.get("command", ()), *container.get("args", ())):
            yield place, words
    for manifest in manifests:
        if manifest["kind"] == "TrainJob":
            trainer = manifest["spec"]["trainer"]
            yield manifest["metadata"]["name"], (*trainer["command"], *trainer["args"])
        if manifest["kind"] == "RayJob":
            yield manifest["metadata"]["name"], tuple(shlex.split(manifest["spec"]["entrypoint"]))


COMMANDS = dict(commands())


def test_every_job_has_a_command() -> None:
    named = {place.split()[0].removeprefix("jobs/") for place in COMMANDS if place.startswith("jobs/")}
    assert named == set(JOBS)


@pytest.mark.parametrize("place", COMMANDS)
def test_a_command_is_understood(place: str) -> None:
    words = [word.replace("/app/", f"{ROOT}/") for word in COMMANDS[place]]
    match words:
        case ["python", script, "pod", "--", *rest] if script.endswith("launch/start.py"):
            load_script("start").build_parser().parse_args(["pod"])
            arguments = parse_words(langpose_parser(), ["train", *rest])
            check_run(arguments)
        case ["python", script, *rest] if script.endswith("launch/tracking_server.py"):
            _, unknown = load_script("tracking_server").build_parser().parse_known_args(rest)
            assert {word.partition("=")[0] for word in unknown} == {"--workers", "--allowed-hosts"}
        case ["python", "-m", "tuning.sweep", *rest]:
            arguments = parse_words(sweep_parser(), rest)
            assert (arguments.resume, arguments.ray_address) == ("if started", "auto")
            sweep = load_sweep(arguments.config, arguments.overrides)
            assert sweep.config.text.encoder == "offline"
        case ["langpose", *rest]:
            arguments = parse_words(langpose_parser(), rest)
            if rest[:2] == ["registry", "promote"]:
                protocol = find_protocol(arguments.protocol)
                assert protocol.observation == "camera"
                assert load_config([], arguments.overrides).data.path == "/shards/synthetic"
        case ["python", "-c", program]:
            compile(program, place, "exec")
        case ["sh", "-c", program]:
            subprocess.run(["sh", "-n"], input=program, text=True, check=True)
        case ["mlflow", "db", "upgrade", "$(DATABASE)"]:
            pass
        case ["weed", "server", *options]:
            known = subprocess.run(["weed", "help", "server"], capture_output=True, text=True, check=False)
            for option in options:
                name = option.partition("=")[0]
                assert re.search(rf"^ +{name}( |$)", f"{known.stdout}{known.stderr}", re.MULTILINE), option
        case _:
            pytest.fail(f"no parser for {words}")


def check_run(arguments: argparse.Namespace) -> None:
    """Configuration and words of a training."""
    config = load_config(arguments.config, arguments.overrides)
    assert arguments.resume == "if started"
    assert config.data.path is not None
    assert str(config.data.path).startswith("/shards/")
    assert config.output.startswith("/runs/")
    assert config.train.device == "cuda"


def test_ranks_share_out_the_batch() -> None:
    for job in ("pretrain", "finetune"):
        (manifest,) = [one for one in render(f"jobs/{job}") if one["kind"] == "TrainJob"]
        trainer = manifest["spec"]["trainer"]
        files = [
            ROOT / word.removeprefix("--config=/app/")
            for word in trainer["args"]
            if word.startswith("--config=")
        ]
        config = load_config(files, [word for word in trainer["args"] if not word.startswith("--")])
        assert config.train.global_batch_size % (trainer["numNodes"] * trainer["numProcPerNode"]) == 0


def test_ray_is_the_version_of_the_image() -> None:
    (job,) = render("jobs/sweep")
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    assert f"ray=={job['spec']['rayClusterSpec']['rayVersion']}" in pins


def test_a_pod_s_time_is_that_of_the_code() -> None:
    from tests.k8s import rules

    assert load_script("launchers")._SHUTDOWN_TIMEOUT_S == rules._SHUTDOWN_S
    assert len(list(templates(render("jobs/sweep")[0]))) == 3
