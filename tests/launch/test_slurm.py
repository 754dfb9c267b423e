"""``launch/slurm.sbatch``: the printed command, and jobs of a real Slurm where it is installed."""

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "scancel")

STAND_IN = """
import json, os, signal, sys, time
from pathlib import Path

output = Path(next(word for word in sys.argv if word.startswith("output=")).partition("=")[2])
rank, attempt = os.environ["RANK"], int(os.environ.get("SLURM_RESTART_COUNT") or 0)
names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
record = {name: os.environ[name] for name in names}
record |= {"words": sys.argv[1:], "secret": os.environ.get("MLFLOW_TRACKING_PASSWORD"), "signals": []}
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
    signal.signal(number, lambda number, frame: record["signals"].append(signal.Signals(number).name))

def note():
    file = output / f"{attempt}-{rank}.json"
    file.with_suffix(".new").write_text(json.dumps(record))
    os.replace(file.with_suffix(".new"), file)

note()
plan = (output / "plan").read_text()
code = 3 if plan == "fail" else 0
if plan != "fail" and attempt == 0:
    while not record["signals"] and not (output / "stop").exists():
        time.sleep(0.1)
    code = 75
    time.sleep(1 + int(rank))  # a rank that saves longer than another
note()
reason = "the stop file at step 3; saved" if (output / "stop").exists() else "SIGUSR1 at step 3; saved"
status = {0: "finished", 3: "failed", 75: "interrupted"}[code]
if rank == "0":
    (output / "status.json").write_text(json.dumps({"status": status, "reason": reason, "exit_code": code}))
os._exit(code)
"""


def dry_run(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    return subprocess.run(
        ["bash", str(ROOT / "launch/slurm.sbatch"), *words],
        env=inherited | {"VIRTUAL_ENV": sys.prefix} | environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


PER_RANK = (
    "export RANK=$SLURM_PROCID WORLD_SIZE=$SLURM_NTASKS LOCAL_RANK=$SLURM_LOCALID; "
    "export LOCAL_WORLD_SIZE=${SLURM_NTASKS_PER_NODE:-${SLURM_STEP_TASKS_PER_NODE%%[(,]*}}; "
    'exec "$@"'
)


@pytest.mark.parametrize("how", ["--dry-run", "DRY_RUN"])
def test_a_dry_run_prints_the_srun_command(how: str) -> None:
    arguments = ("--", "--config", "a.yaml", "data.path=/my shards", "output=runs/1")
    done = dry_run(how, *arguments) if how == "--dry-run" else dry_run(*arguments, DRY_RUN="1")
    assert done.returncode == 0, done.stderr
    python = str(Path(sys.prefix) / "bin/python")
    rank = ["bash", "-c", PER_RANK, "rank", python, "-u", str(ROOT / "launch/train.py")]
    assert shlex.split(done.stdout) == [
        *("MASTER_ADDR=FIRST_NODE", "MASTER_PORT=15000", "srun", "--kill-on-bad-exit=0", "--wait=60"),
        *rank,
        *("--resume-if-started", *arguments[1:]),
    ]


def test_a_choice_of_how_to_resume_is_respected() -> None:
    words = shlex.split(dry_run("--dry-run", "--", "--resume", "output=runs/1").stdout)
    assert words[-2:] == ["--resume", "output=runs/1"]
    assert "--resume-if-started" not in words


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--dry-run", "--", "tracking.uri=https://bob:s3cret@host"],
            "the value of tracking.uri holds credentials",
        ),
        (["--dry-run", "--", "tracking.uri=https://host/?token=s3cret"], "tracking.uri holds credentials"),
        (["--dry-run", "output=runs/1"], "usage: sbatch [SBATCH OPTIONS] launch/slurm.sbatch"),
        (["--", "output=runs/1"], "no Slurm job here; start with sbatch"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(words: list[str], message: str) -> None:
    done = dry_run(*words)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.startswith("slurm: error: ")
    assert done.stderr.count("\n") == 1
    assert "s3cret" not in done.stderr + done.stdout


def missing() -> str | None:
    """Why Slurm cannot be started here."""
    if os.geteuid() != 0:
        return "Slurm's daemons need root"
    search = f"{os.environ['PATH']}:/usr/sbin"
    absent = [name for name in PROGRAMS if shutil.which(name, path=search) is None]
    return f"not installed: {', '.join(absent)}" if absent else None


@dataclass(frozen=True)
class Slurm:
    """A Slurm of this node alone, and a project whose training only listens."""

    project: Path
    environ: dict[str, str]

    def call(self, *command: str) -> str:
        done = subprocess.run(
            command,
            cwd=self.project,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout

    def submit(self, plan: str, *options: str) -> tuple[str, Path]:
        output = self.project / f"run-{time.monotonic_ns()}"
        output.mkdir()
        (output / "plan").write_text(plan, encoding="utf-8")
        words = ("--", "--config", "a b.yaml", f"output={output}")
        said = self.call("sbatch", "--ntasks-per-node=2", "--time=3", *options, "launch/slurm.sbatch", *words)
        return said.split()[-1], output

    def job(self, number: str) -> dict[str, str]:
        words = self.call("scontrol", "show", "job", number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait(self, number: str, *states: str, seconds: float = 200) -> dict[str, str]:
        deadline = time.monotonic() + seconds
        while (job := self.job(number))["JobState"] not in states:
            assert time.monotonic() < deadline, (job["JobState"], self.log(number))
            time.sleep(0.5)
        return job

    def log(self, number: str) -> str:
        return (self.project / f"slurm-{number}.out").read_text(encoding="utf-8")


def records(output: Path, attempt: int = 0, *, seconds: float = 60) -> list[dict]:
    """What both ranks wrote down, once they have."""
    files = [output / f"{attempt}-{rank}.json" for rank in (0, 1)]
    deadline = time.monotonic() + seconds
    while not all(file.exists() for file in files):
        assert time.monotonic() < deadline, files
        time.sleep(0.2)
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def free_ports(count: int) -> list[int]:
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in servers]
    for server in servers:
        server.close()
    return ports


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    if reason := missing():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("slurm")
    project = folder / "project"
    (project / "launch").mkdir(parents=True)
    for name in ("slurm.sbatch", "checks.py"):
        shutil.copy(ROOT / "launch" / name, project / "launch" / name)
    (project / "launch/train.py").write_text(STAND_IN, encoding="utf-8")
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    node = socket.gethostname().partition(".")[0]
    controller, daemon = free_ports(2)
    settings = {
        "ClusterName": "test",
        "SlurmctldHost": f"{node}(127.0.0.1)",
        "SlurmctldPort": controller,
        "SlurmdPort": daemon,
        "SlurmUser": "root",
        "SlurmdUser": "root",
        "AuthType": "auth/munge",
        # Else a requeued job waits two minutes until its old credential is void.
        "AuthInfo": f"socket={folder}/munge.sock,cred_expire=5",
        "StateSaveLocation": folder / "state",
        "SlurmdSpoolDir": folder / "spool",
        "SlurmctldPidFile": folder / "slurmctld.pid",
        "SlurmdPidFile": folder / "slurmd.pid",
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_CPU",
        "SlurmdParameters": "config_overrides",
        "ReturnToService": 2,
        "KillWait": 10,
    }
    lines = [f"{name}={value}" for name, value in settings.items()]
    lines += [f"NodeName={node} NodeAddr=127.0.0.1 CPUs=4", f"PartitionName=all Nodes={node} Default=YES"]
    (folder / "slurm.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")

    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))
    }
    environ = inherited | {
        "SLURM_CONF": str(folder / "slurm.conf"),
        "VIRTUAL_ENV": sys.prefix,
        "PATH": f"{os.environ['PATH']}:/usr/sbin",
        "MLFLOW_TRACKING_PASSWORD": "s3cret",
    }
    files = [f"--{name}={folder}/munge.{name}" for name in ("socket", "pid-file", "log-file", "seed-file")]
    files[0] = f"--socket={folder}/munge.sock"
    commands = (
        ("munged", "--foreground", "--force", f"--key-file={key}", *files),
        ("slurmctld", "-D", "-L", str(folder / "slurmctld.log")),
        ("slurmd", "-D", "-L", str(folder / "slurmd.log")),
    )
    daemons: list[subprocess.Popen[bytes]] = []
    started = Slurm(project, environ)
    try:
        for command in commands:
            program = shutil.which(command[0], path=environ["PATH"])
            daemons.append(
                subprocess.Popen(
                    command,
                    executable=program,
                    env=environ,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
            time.sleep(1)
        deadline = time.monotonic() + 30
        while "idle" not in started.call("sinfo", "--noheader", "--format=%t"):
            assert time.monotonic() < deadline, (folder / "slurmctld.log").read_text(encoding="utf-8")[-2000:]
            time.sleep(0.5)
        yield started
    finally:
        for process in reversed(daemons):
            process.terminate()
            process.wait(timeout=30)


@pytest.mark.slow
def test_a_job_at_its_time_limit_saves_and_goes_on(slurm: Slurm) -> None:
    number, output = slurm.submit("run", "--signal=USR1@150")
    first = records(output)
    assert [record["RANK"] for record in first] == ["0", "1"]
    assert [record["LOCAL_RANK"] for record in first] == ["0", "1"]
    assert all(record["WORLD_SIZE"] == record["LOCAL_WORLD_SIZE"] == "2" for record in first)
    assert first[0]["MASTER_PORT"] == first[1]["MASTER_PORT"] == str(15000 + int(number))
    assert all(record["words"][:3] == ["--resume-if-started", "--config", "a b.yaml"] for record in first)
    # The secret is in the environment of the ranks and on no command line.
    assert all(record["secret"] == "s3cret" for record in first)
    lines = [file.read_bytes() for file in Path("/proc").glob("[0-9]*/cmdline") if file.exists()]
    assert any(str(output).encode() in line for line in lines)
    assert not any(b"s3cret" in line for line in lines)

    second = records(output, attempt=1, seconds=240)
    assert all(record["signals"] == ["SIGUSR1"] for record in records(output))
    assert all(record["words"][0] == "--resume-if-started" for record in second)
    job = slurm.wait(number, "COMPLETED")
    assert (job["Restarts"], job["ExitCode"]) == ("1", "0:0")
    assert f"job {number} goes back into the queue" in slurm.log(number)


@pytest.mark.slow
def test_a_signal_to_the_batch_shell_alone_reaches_the_ranks(slurm: Slurm) -> None:
    number, output = slurm.submit("run")
    records(output)
    slurm.call("scancel", "--batch", "--signal=USR1", number)
    slurm.wait(number, "PENDING", "COMPLETED", seconds=60)
    assert all(record["signals"] == ["SIGUSR1"] for record in records(output))
    slurm.call("scancel", number)


@pytest.mark.slow
def test_a_cancelled_job_saves_and_stays_away(slurm: Slurm) -> None:
    number, output = slurm.submit("run")
    records(output)
    slurm.call("scancel", number)
    job = slurm.wait(number, "CANCELLED")
    time.sleep(5)
    assert all(record["signals"] == ["SIGTERM"] for record in records(output))
    assert json.loads((output / "status.json").read_text(encoding="utf-8"))["status"] == "interrupted"
    assert slurm.job(number)["JobState"] == "CANCELLED"
    assert job["Restarts"] == "0"


@pytest.mark.slow
def test_a_job_that_the_stop_file_ended_stays_away(slurm: Slurm) -> None:
    number, output = slurm.submit("run")
    records(output)
    (output / "stop").touch()
    job = slurm.wait(number, "FAILED")
    assert (job["Restarts"], job["ExitCode"]) == ("0", "75:0")


@pytest.mark.slow
def test_a_failure_is_the_jobs_failure(slurm: Slurm) -> None:
    number, _ = slurm.submit("fail")
    job = slurm.wait(number, "FAILED")
    assert (job["Restarts"], job["ExitCode"]) == ("0", "3:0")
