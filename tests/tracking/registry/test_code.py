import subprocess
import sys
import textwrap
from pathlib import Path

from langpose_dist.tracking.registry.code import write_code

STANDIN = "langpose_dist/tracking/registry/standin"
NOT_NEEDED = {"deepspeed", "matplotlib", "mlflow", "optuna", "ray", "smplx", "transformers", "webdataset"}


def test_the_same_code_gives_the_same_file(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_code(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_the_file_alone_runs_every_task_of_ours_without_the_packages_of_training(tmp_path: Path) -> None:
    write_code(tmp_path / "code.zip")
    code = f"""
        import sys
        code = sys.argv[1]
        sys.path[:0] = [code, code + "/{STANDIN}"]
        import langpose_dist.tasks.exported, langpose_dist.tasks.pretrain, langpose_dist.tasks.finetune
        print(langpose_dist.__file__, sys.modules["jaxtyping"].__file__)
        print(*sys.modules)
        """
    command = (sys.executable, "-W", "error", "-c", textwrap.dedent(code), str(tmp_path / "code.zip"))
    process = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=180, check=False)
    assert process.returncode == 0, process.stderr
    places, modules = process.stdout.splitlines()
    archive = tmp_path / "code.zip"
    assert places.split() == [f"{archive}/langpose_dist/__init__.py", f"{archive}/{STANDIN}/jaxtyping.py"]
    assert not NOT_NEEDED & set(modules.split())
