"""``launch/start.py`` as its users call it: what it prints, what it refuses, what it becomes."""

import base64
import importlib.metadata
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from langpose_dist.runs.metrics import read_metrics
from tests.corpus import build_corpus, tiny_config

ROOT = Path(__file__).parents[2]
TRAIN = str(ROOT / "launch/train.py")
WORDS = ("--config", "configs/pretrain/small.yaml", "--resume", "data.path=/data/my shards", "output=runs/1")
PYTHON = (sys.executable, "-u", "-m")
TWO_RANKS = "eyJub2RlLTAiOiBbMCwgMV19"
"""{"node-0": [0, 1]}"""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def start(tmp_path: Path) -> Run:
    """Call it on a made-up node: ``gpus`` GPUs, the named programs, nothing else, none of our variables."""

    def call(
        *arguments: str,
        gpus: int = 0,
        programs: Mapping[str, str] | None = None,
        timeout: int = 60,
        keep_path: bool = False,
        **environ: str,
    ) -> subprocess.CompletedProcess[str]:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        lines = "".join(f"echo 'GPU {index}: NVIDIA H100 (UUID: GPU-{index})'\n" for index in range(gpus))
        for name, text in {"nvidia-smi": lines, **(programs or {})}.items():
            (folder / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
            (folder / name).chmod(0o755)
        path = f"{folder}:{os.environ['PATH']}" if keep_path else str(folder)
        return subprocess.run(
            [sys.executable, str(ROOT / "launch/start.py"), *arguments],
            cwd=tmp_path,
            env={
                "PATH": path,
                "HOME": str(tmp_path),
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": str(ROOT),
                **environ,
            },
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    return call


def printed(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The words of the one printed line, as a shell takes them."""
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    return shlex.split(done.stdout)


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of a refusal."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("start: error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def hostfile(folder: Path, text: str) -> Path:
    file = folder / "hosts"
    file.write_text(text, encoding="utf-8")
    return file


# Exact commands


def test_one_is_the_script_itself_on_the_first_gpu(start: Run) -> None:
    command = [sys.executable, "-u", TRAIN, *WORDS]
    assert printed(start("one", "--dry-run", "--", *WORDS, gpus=2)) == ["CUDA_VISIBLE_DEVICES=0", *command]
    chosen = start("one", "--dry-run", "--devices", "1", "--", *WORDS, gpus=2)
    assert printed(chosen) == ["CUDA_VISIBLE_DEVICES=1", *command]
    on_cpu = start("one", "--dry-run", "--", *WORDS, "train.device=cpu", gpus=2)
    assert printed(on_cpu) == ["DS_ACCELERATOR=cpu", *command, "train.device=cpu"]


def test_node_is_deepspeeds_launcher_on_all_gpus(start: Run) -> None:
    done = start("node", "--dry-run", "--master-port", "4321", "--", *WORDS, gpus=2)
    options = [f"--world_info={TWO_RANKS}", "--node_rank=0", "--master_addr=127.0.0.1", "--master_port=4321"]
    launcher = [*PYTHON, "deepspeed.launcher.launch", *options]
    assert printed(done) == ["CUDA_VISIBLE_DEVICES=0,1", *launcher, TRAIN, *WORDS]
    on_cpu = start("node", "--dry-run", "--master-port", "4321", "--num-ranks", "2", "--", "train.device=cpu")
    assert printed(on_cpu) == ["DS_ACCELERATOR=cpu", *launcher, TRAIN, "train.device=cpu"]


def test_node_with_torchrun_leaves_time_to_save(start: Run) -> None:
    arguments = ("node", "--dry-run", "--launcher", "torchrun", "--devices", "2,0", "--master-port", "4321")
    words = printed(start(*arguments, "--", *WORDS, gpus=4))
    options = ["--nnodes=1", "--nproc-per-node=2", "--node-rank=0"]
    options += ["--master-addr=127.0.0.1", "--master-port=4321", "--max-restarts=0"]
    options += ["--signals-to-handle=SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1", "--shutdown-timeout=60"]
    torchrun = [*PYTHON, "torch.distributed.run", *options]
    assert words == ["CUDA_VISIBLE_DEVICES=2,0", *torchrun, TRAIN, *WORDS]


def test_two_trainings_on_a_node_take_different_ports(start: Run) -> None:
    ports = set()
    for _ in range(3):
        done = start("node", "--dry-run", "--num-ranks", "2", "--", "train.device=cpu")
        ports |= set(re.findall(r"--master_port=(\d+)", done.stdout))
    assert len(ports) > 1
    assert all(1024 < int(port) < 65536 for port in ports)


def test_devices_by_uuid_reach_deepspeeds_launcher(start: Run) -> None:
    done = start("node", "--dry-run", "--devices", "GPU-1f,MIG-2e", "--", *WORDS, gpus=1)
    words = printed(done)
    assert words[0] == "CUDA_VISIBLE_DEVICES=GPU-1f,MIG-2e"
    world = next(word.partition("=")[2] for word in words if word.startswith("--world_info="))
    assert json.loads(base64.urlsafe_b64decode(world)) == {"node-0": ["GPU-1f", "MIG-2e"]}


def test_hostfile_starts_deepspeed_over_pdsh(start: Run, tmp_path: Path) -> None:
    file = hostfile(tmp_path, "# two nodes\n\n127.0.0.1 slots=4\n127.0.0.2   slots=2  # the small one\n")
    runner = [*PYTHON, "deepspeed.launcher.runner", f"--hostfile={file}", "--launcher=pdsh"]
    plain = start("hostfile", str(file), "--dry-run", "--", "output=runs/1")
    where = ["--master_addr=127.0.0.1", "--master_port=29500"]
    assert printed(plain) == [*runner, *where, TRAIN, "output=runs/1"]

    options = (
        "--devices",
        "0,1",
        "--master-addr",
        "127.0.0.3",
        "--master-port",
        "1234",
        "--ssh-port",
        "2222",
    )
    more = start("hostfile", str(file), *options, "--dry-run", "--", "output=runs/1")
    where = ["--master_addr=127.0.0.3", "--master_port=1234", "--ssh_port=2222"]
    where += ["--include=127.0.0.1:0,1@127.0.0.2:0,1"]
    assert printed(more) == [*runner, *where, TRAIN, "output=runs/1"]


def test_hostfile_gives_the_ranks_their_variables_through_env(start: Run, tmp_path: Path) -> None:
    file = hostfile(tmp_path, "127.0.0.1 slots=2\n")
    arguments = ("hostfile", str(file), "--interface", "eth7", "--dry-run", "--", "train.device=cpu")
    words = printed(
        start(
            *arguments,
        )
    )
    assert words[0] == "DS_ACCELERATOR=cpu"
    assert "--force_multi" in words  # else a single host's name would not count
    interface = ["GLOO_SOCKET_IFNAME=eth7", "NCCL_SOCKET_IFNAME=eth7"]
    script = [sys.executable, "-u", TRAIN, "train.device=cpu"]
    through_env = ["--no_python", "--no_local_rank", "env", *interface, "DS_ACCELERATOR=cpu", *script]
    assert words[-len(through_env) :] == through_env


def test_each_is_this_nodes_part(start: Run) -> None:
    where = (
        "each",
        "--nodes",
        "2",
        "--node-rank",
        "1",
        "--master-addr",
        "127.0.0.1",
        "--ranks-per-node",
        "2",
    )
    words = printed(start(*where, "--interface", "lo", "--dry-run", "--", *WORDS, gpus=4))
    variables = ["CUDA_VISIBLE_DEVICES=0,1", "GLOO_SOCKET_IFNAME=lo", "NCCL_SOCKET_IFNAME=lo"]
    options = ["--nnodes=2", "--nproc-per-node=2", "--node-rank=1"]
    options += ["--master-addr=127.0.0.1", "--master-port=29500"]
    assert words[: 3 + 4 + 5] == [*variables, *PYTHON, "torch.distributed.run", *options]
    assert words[-len(WORDS) - 1 :] == [TRAIN, *WORDS]


def test_each_with_deepspeed_names_this_nodes_devices(start: Run) -> None:
    where = (
        "each",
        "--launcher",
        "deepspeed",
        "--nodes",
        "2",
        "--node-rank",
        "1",
        "--master-addr",
        "127.0.0.1",
    )
    words = printed(start(*where, "--devices", "5,6", "--dry-run", "--", *WORDS))
    world = next(word.partition("=")[2] for word in words if word.startswith("--world_info="))
    assert json.loads(base64.urlsafe_b64decode(world)) == {"node-0": [0, 1], "node-1": [5, 6]}
    assert words[-len(WORDS) - 4 :] == [
        *("--node_rank=1", "--master_addr=127.0.0.1", "--master_port=29500"),
        *(TRAIN, *WORDS),
    ]


def test_a_word_without_dashes_in_front_of_it_is_named_and_its_value_is_not(start: Run) -> None:
    line = refusal(start("node", "tracking.password=s3cret"))
    assert "unrecognized arguments: tracking.password=...; what is for the training comes after --" in line


def test_the_printed_line_is_what_runs(start: Run) -> None:
    done = start("one", "--dry-run", "--", "--help", "train.device=cpu")
    shown = subprocess.run(["sh", "-c", done.stdout], capture_output=True, text=True, timeout=60, check=True)
    ran = start("one", "--", "--help", "train.device=cpu")
    assert ran.returncode == 0
    assert "loss.temperature" in ran.stdout
    assert ran.stdout == shown.stdout


# Devices


@pytest.mark.parametrize(
    ("arguments", "gpus", "visible", "message"),
    [
        (["--devices", "0,1"], 4, "2,3", "--devices 0,1 and CUDA_VISIBLE_DEVICES=2,3 disagree; unset"),
        (["--devices", "0"], 4, "", "--devices 0 and CUDA_VISIBLE_DEVICES= disagree"),
        (["--num-ranks", "3"], 4, "2,3", "--num-ranks 3: 2 GPUs are visible here"),
        (["--num-ranks", "3"], 2, None, "--num-ranks 3: 2 GPUs are visible here"),
        (["--devices", "1,2"], 2, None, "--devices 1,2: this node has 2 GPUs, 0 to 1"),
        (["--devices", "1,1"], 2, None, "--devices 1,1 names a GPU twice"),
        (["--devices", "one"], 2, None, "--devices 'one' is not a list of GPUs; write indices or UUIDs"),
        (["--devices", ""], 2, None, "--devices '' is not a list of GPUs"),
        (["--num-ranks", "0"], 2, None, "'0' must be a whole number from 1 to"),
        ([], 0, None, "no GPU to train on; give --num-ranks N"),
        (
            ["--num-ranks", "2", "--", "train.device=cuda"],
            0,
            None,
            "no GPU is visible here (nvidia-smi, CUDA_VISIBLE_DEVICES)",
        ),
        (["--", "train.device=cuda"], 2, "", "no GPU is visible here"),
        (["--devices", "0,1", "--", "train.device=cpu"], 2, None, "uses no GPU; give --num-ranks 2 instead"),
    ],
)
def test_devices_that_contradict_each_other_are_refused(
    start: Run, arguments: list[str], gpus: int, visible: str | None, message: str
) -> None:
    environ = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert message in refusal(start("node", "--dry-run", *arguments, gpus=gpus, **environ))


@pytest.mark.parametrize(
    ("arguments", "visible", "expected"),
    [
        (["--devices", "2,3"], "2,3", "CUDA_VISIBLE_DEVICES=2,3"),
        ([], "2,3", "CUDA_VISIBLE_DEVICES=2,3"),
        (["--num-ranks", "1"], "2,3", "CUDA_VISIBLE_DEVICES=2"),
        (["--num-ranks", "2"], "", "DS_ACCELERATOR=cpu"),
        (["--num-ranks", "9", "--", "train.device=cpu"], "2,3", "DS_ACCELERATOR=cpu"),
    ],
)
def test_visible_devices_that_agree_are_used(
    start: Run, arguments: list[str], visible: str, expected: str
) -> None:
    done = start("node", "--dry-run", *arguments, gpus=4, CUDA_VISIBLE_DEVICES=visible)
    assert printed(done)[0] == expected


def test_visible_devices_do_not_reach_other_nodes(start: Run, tmp_path: Path) -> None:
    file = hostfile(tmp_path, "127.0.0.1 slots=4\n")
    arguments = ("hostfile", str(file), "--dry-run", "--", "output=runs/1")
    line = refusal(start(*arguments, CUDA_VISIBLE_DEVICES="2,3"))
    assert "CUDA_VISIBLE_DEVICES=2,3 without --devices: the variable does not reach" in line
    assert "unset it, or give --devices 2,3" in line
    agreed = start(*arguments[:2], "--devices", "2,3", *arguments[2:], CUDA_VISIBLE_DEVICES="2,3")
    assert "--include=127.0.0.1:2,3" in printed(agreed)


# Secrets


@pytest.mark.parametrize(
    "word",
    [
        "tracking.uri=https://bob:s3cret@tracking.example",
        "tracking.uri=postgresql://s3cret@db/mlflow",
        "tracking.uri=https://tracking.example/?token=s3cret",
        "tracking.password=s3cret",
        "https://bob:s3cret@tracking.example",
    ],
)
@pytest.mark.parametrize("mode", ["one", "node", "each"])
def test_a_secret_on_the_command_line_is_refused_and_not_repeated(start: Run, mode: str, word: str) -> None:
    where = ("--nodes", "1", "--node-rank", "0", "--master-addr", "127.0.0.1", "--ranks-per-node", "1")
    line = refusal(
        start(mode, *(where if mode == "each" else ()), "--dry-run", "--", "train.device=cpu", word)
    )
    assert "MLFLOW_TRACKING_PASSWORD in the environment, or ~/.mlflow/credentials" in line
    assert "s3cret" not in line
    # Without -- the word reaches the parser of options, which must not repeat it either.
    assert "s3cret" not in start(mode, word).stderr


def test_a_hostfile_start_holds_secrets_back_from_pdsh(start: Run, tmp_path: Path) -> None:
    """DeepSpeed's own runner, with programs in the places of ssh and pdsh that write down what they get."""
    file = hostfile(tmp_path, "127.0.0.1 slots=1\n127.0.0.2 slots=1\n")
    seen = tmp_path / "seen"
    programs = {"ssh": "echo node", "pdsh": f'printf "%s\\n" "$@" > {seen}; printenv >> {seen}'}
    secrets = {
        "MLFLOW_TRACKING_PASSWORD": "s3cret",
        "MLFLOW_TRACKING_URI": "https://bob:s3cret@tracking.example",
        "NCCL_TOKEN": "s3cret",
    }
    done = start(
        *("hostfile", str(file), "--", "output=runs/1", "optimizer.betas=[0.9,0.95]"),
        programs=programs,
        keep_path=True,
        timeout=120,
        MLFLOW_EXPERIMENT_NAME="poses",
        **secrets,
    )
    assert done.returncode == 0, done.stderr
    note = done.stderr.splitlines()[0]
    assert "held back from the nodes: MLFLOW_TRACKING_PASSWORD, MLFLOW_TRACKING_URI, NCCL_TOKEN" in note
    assert "~/.mlflow/credentials on 127.0.0.1" in note
    text = seen.read_text(encoding="utf-8")
    assert "export MLFLOW_EXPERIMENT_NAME=poses" in text  # DeepSpeed does export what is left
    assert "'optimizer.betas=[0.9,0.95]'" in text
    assert "s3cret" not in text + done.stdout + done.stderr

    dry = start("hostfile", str(file), "--dry-run", **secrets)
    removed = [word for name in sorted(secrets) for word in ("-u", name)]
    assert printed(dry)[: len(removed) + 1] == ["env", *removed]
    assert "s3cret" not in dry.stdout + dry.stderr


@pytest.mark.parametrize("name", [".deepspeed_env", "other"])
def test_a_deepspeed_environment_file_with_a_secret_is_refused(start: Run, tmp_path: Path, name: str) -> None:
    file = hostfile(tmp_path, "127.0.0.1 slots=1\n")
    (tmp_path / name).write_text("NCCL_DEBUG=INFO\nMLFLOW_TRACKING_PASSWORD=s3cret\n", encoding="utf-8")
    environ = {} if name == ".deepspeed_env" else {"DS_ENV_FILE": name}
    line = refusal(start("hostfile", str(file), "--dry-run", **environ))
    assert f"{name}:2: MLFLOW_TRACKING_PASSWORD looks like a secret" in line
    assert "s3cret" not in line


# Mistakes

EACH = ["each", "--master-addr", "127.0.0.1", "--ranks-per-node", "1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required"),
        (["all"], "invalid choice"),
        (["node", "--num-rank", "2"], "unrecognized arguments: --num-rank 2; what is for the training comes"),
        (["node", "--master-port", "0"], "'0' must be a whole number from 1 to 65535"),
        (["node", "--master-port", "70000"], "'70000' must be a whole number"),
        (["one", "--devices", "0,1"], "--devices 0,1 names several; name one, or start node"),
        (["hostfile", "nowhere"], "nowhere cannot be read (No such file or directory)"),
        (["hostfile", "{hosts}", "--devices", "one"], "'one' is not a list of GPUs"),
        (["hostfile", "{hosts}", "--master-addr", "no.such.invalid"], "does not know that host"),
        ([*EACH, "--nodes", "2", "--node-rank", "2"], "--node-rank 2 must be in 0..1 for 2 nodes"),
        ([*EACH, "--nodes", "2", "--node-rank", "-1"], """--node-rank: '-1' must be a whole number from 0"""),
        ([*EACH, "--nodes", "0", "--node-rank", "0"], "'0' must be a whole number from 1 to"),
        ([*EACH, "--node-rank", "0"], "required: --nodes"),
        (
            [*EACH, "--nodes", "2", "--node-rank", "1", "--master-addr", "no.such.invalid"],
            "--master-addr no.such.invalid: this node does not know that host",
        ),
        ([*EACH[:3], "--nodes", "2", "--node-rank", "0"], "--devices --ranks-per-node is required"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(
    start: Run, tmp_path: Path, arguments: list[str], message: str
) -> None:
    hosts = hostfile(tmp_path, "127.0.0.1 slots=1\n")
    assert message in refusal(start(*(argument.format(hosts=hosts) for argument in arguments)))


def test_a_hostfile_without_hosts_is_named(start: Run, tmp_path: Path) -> None:
    file = hostfile(tmp_path, "# node-0 slots=2\n")
    assert f"{file} names no host; write lines such as node-0 slots=4" in refusal(
        start("hostfile", str(file))
    )


def test_the_example_hostfile_is_one(start: Run) -> None:
    line = refusal(
        start("hostfile", str(ROOT / "launch/hostfile.example"), "--master-addr", "no.such.invalid")
    )
    assert "no.such.invalid" in line  # it came that far


def test_another_launchers_variables_do_not_go_into_one(start: Run) -> None:
    assert "WORLD_SIZE=2 in the environment" in refusal(start("one", "--dry-run", WORLD_SIZE="2"))


@pytest.mark.parametrize("options", [[], ["-P"]])
def test_it_finds_its_own_modules_from_any_folder(tmp_path: Path, options: list[str]) -> None:
    """Also with Python's -P, or PYTHONSAFEPATH, which keeps a script's folder off the path."""
    command = [sys.executable, *options, str(ROOT / "launch/start.py"), "one", "--dry-run", "--"]
    done = subprocess.run(
        [*command, "train.device=cpu"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert printed(done)[-2:] == [TRAIN, "train.device=cpu"]


def test_a_python_without_the_package_is_told_so(tmp_path: Path) -> None:
    command = [sys.executable, "-S", "-E", str(ROOT / "launch/start.py"), "node", "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert f"{sys.executable} does not have langpose_dist; activate its environment" in refusal(done)


def test_no_module_beside_it_hides_another_package() -> None:
    """The scripts' folder comes first on the path, in ``train.py`` as well."""
    names = {file.stem for file in (ROOT / "launch").glob("*.py")}
    assert "start" in names
    assert not names & (sys.stdlib_module_names | set(importlib.metadata.packages_distributions()))


def test_it_answers_without_loading_torch() -> None:
    program = (
        "import runpy, sys\n"
        f"sys.argv = [{str(ROOT / 'launch/start.py')!r}, 'node', '--num-ranks', '2', '--dry-run']\n"
        "sys.argv += ['--launcher', 'torchrun', '--', 'train.device=cpu']\n"
        "try:\n"
        "    runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "finally:\n"
        "    print(sorted({'torch', 'deepspeed', 'mlflow', 'numpy', 'yaml'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


# For real


@pytest.mark.dist
@pytest.mark.parametrize("launcher", ["deepspeed", pytest.param("torchrun", marks=pytest.mark.slow)])
def test_node_trains_on_two_ranks(start: Run, tmp_path: Path, launcher: str) -> None:
    build_corpus(tmp_path / "shards")
    config = tmp_path / "config.yaml"
    config.write_text(tiny_config(tmp_path / "shards", tmp_path / "run").to_yaml(), encoding="utf-8")
    arguments = ("node", "--launcher", launcher, "--num-ranks", "2")
    done = start(*arguments, "--", "--config", str(config), "train.device=cpu", timeout=300, keep_path=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "on 2 x CPU" in done.stdout + done.stderr
    lines = read_metrics(tmp_path / "run/metrics.jsonl")
    assert [line["step"] for line in lines if "train/loss" in line] == [1, 2, 3, 4]
    assert (tmp_path / "run/model.safetensors").exists()
