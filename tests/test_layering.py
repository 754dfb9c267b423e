"""Imports point down, and each heavy dependency has one home."""

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("benchmarks", "langpose_dist", "launch", "tuning")

LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"config", "host", "keypoints", "skeleton"}),
    frozenset({"batch", "geometry", "losses", "metrics", "spaces"}),
    frozenset({"data", "models", "runs"}),
    frozenset({"datasets", "detections", "inference", "report", "synthesis", "tasks"}),
    frozenset({"analysis", "evaluation", "export", "tracking", "train"}),
    frozenset({"__init__", "benchmarks", "cli", "launch", "library", "tuning"}),
)
LAYER_OF = {part: layer for layer, parts in enumerate(LAYERS) for part in parts}
APART = (2, 3, 4)
"""Layers whose parts do not import each other."""
TOGETHER = {
    ("synthesis", "datasets"),
    ("detections", "datasets"),
    ("inference", "detections"),
    ("report", "inference"),
    ("analysis", "evaluation"),
}
"""Except that the first may import the second."""

ALLOWED_PACKAGES = {
    0: {"yaml", "pydantic", "tqdm"},
    1: {"yaml", "pydantic", "numpy", "torch", "jaxtyping", "sacrebleu"},
}
"""Third-party packages of the two lowest layers; the others may use any light one."""
HOMES = {
    "av": ("langpose_dist/report/player/",),
    "onnx": ("langpose_dist/export/",),
    "onnxruntime": ("langpose_dist/export/",),
    "deepspeed": ("langpose_dist/train/",),
    "mlflow": ("langpose_dist/tracking/",),
    "optuna": ("tuning/", "langpose_dist/report/"),
    "ray": ("tuning/", "langpose_dist/datasets/parallel.py", "langpose_dist/datasets/ray_cluster.py"),
    "tokenizers": ("langpose_dist/models/words.py",),
    "tqdm": ("langpose_dist/host/",),
    "smplx": ("langpose_dist/datasets/", "benchmarks/smplh_speed.py"),
    "transformers": tuple(
        f"langpose_dist/models/{name}.py" for name in ("captioner", "hub", "text", "tokens")
    ),
    "webdataset": ("langpose_dist/data/", "langpose_dist/datasets/shard_writer.py"),
}


def violations(path: str, source: str) -> list[str]:
    """What a file imports against the rules, as ``path:line: message``.

    Args:
        path: Relative to the project's root, with forward slashes.
        source: Its text.
    """
    part = part_of(path.removesuffix(".py").split("/"))
    if part not in LAYER_OF:
        return [f"{path}:1: {part!r} has no layer; add it to the table"]
    found = []
    for line, module in imports(path, source):
        if problem := problem_with(path, part, module):
            found.append(f"{path}:{line}: imports {module}, {problem}")
    return sorted(set(found))


def part_of(names: list[str]) -> str:
    if names[0] != "langpose_dist":
        return names[0]
    return names[1] if len(names) > 1 else "__init__"


def imports(path: str, source: str) -> Iterator[tuple[int, str]]:
    """(line, absolute module name) of every import, wherever it stands in the file."""
    package = path.split("/")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            # "from langpose_dist import train" imports the part, not only the package.
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}" if module == "langpose_dist" else module
        elif isinstance(node, ast.Call) and node.args:
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            argument = node.args[0]
            if (
                name in ("import_module", "__import__")
                and isinstance(argument, ast.Constant)
                and isinstance(argument.value, str)
            ):
                yield node.lineno, argument.value


def problem_with(path: str, part: str, module: str) -> str | None:
    layer = LAYER_OF[part]
    names = module.split(".")
    if names[0] == "tests":
        return "but tests are for tests alone"
    if names[0] in FOLDERS:
        target = part_of(names)
        if target.startswith("__"):
            return None
        if target not in LAYER_OF:
            return f"but {target!r} has no layer; add it to the table"
        if LAYER_OF[target] > layer:
            return f"but layer {layer} may not import layer {LAYER_OF[target]}"
        is_beside = target != part and layer in APART and LAYER_OF[target] == layer
        if is_beside and (part, target) not in TOGETHER:
            return f"but parts of layer {layer} may not import each other"
        return None
    if names[0] in HOMES and not path.startswith(HOMES[names[0]]):
        return f"whose home is {' and '.join(HOMES[names[0]])}"
    if layer in ALLOWED_PACKAGES and names[0] not in ALLOWED_PACKAGES[layer] | sys.stdlib_module_names:
        return f"but layer {layer} may import only {', '.join(sorted(ALLOWED_PACKAGES[layer]))}"
    return None


def test_imports_point_down_and_heavy_dependencies_stay_at_home() -> None:
    files = [file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py"))]
    assert len(files) > 10
    found = []
    for file in files:
        found += violations(file.relative_to(ROOT).as_posix(), file.read_text(encoding="utf-8"))
    assert found == []


@pytest.mark.parametrize(
    ("path", "source", "reason"),
    [
        ("langpose_dist/config/schema.py", "import torch", "layer 0 may import only"),
        (
            "langpose_dist/config/schema.py",
            "from langpose_dist.batch import WindowBatch",
            "may not import layer 1",
        ),
        ("langpose_dist/geometry.py", "import scipy.spatial", "layer 1 may import only"),
        ("langpose_dist/losses/pose.py", "from langpose_dist import models", "may not import layer 2"),
        ("langpose_dist/losses/pose.py", "from ..models.text import f", "may not import layer 2"),
        ("langpose_dist/losses/pose.py", "from .. import models", "may not import layer 2"),
        ("langpose_dist/models/text.py", "import langpose_dist.data.loader", "may not import each other"),
        ("langpose_dist/metrics/pose.py", "import langpose_dist.report.plots", "may not import layer 3"),
        ("langpose_dist/tasks/pretrain.py", "import langpose_dist.report.plots", "may not import each other"),
        (
            "langpose_dist/synthesis/rig.py",
            "import langpose_dist.tasks.pretrain",
            "may not import each other",
        ),
        (
            "langpose_dist/datasets/doctor.py",
            "import langpose_dist.synthesis.corpus",
            "may not import each other",
        ),
        (
            "langpose_dist/evaluation/tables.py",
            "import langpose_dist.analysis.mmd",
            "may not import each other",
        ),
        ("langpose_dist/analysis/table3.py", "import langpose_dist.train.run", "may not import each other"),
        ("benchmarks/faults.py", "from tests.train.jobs import Job", "but tests are for tests alone"),
        ("benchmarks/common.py", "import mlflow", "whose home is langpose_dist/tracking/"),
        ("langpose_dist/train/trainer.py", "import langpose_dist.tracking.runs", "may not import each other"),
        ("langpose_dist/tracking/runs.py", "import langpose_dist.train.engine", "may not import each other"),
        ("langpose_dist/train/trainer.py", "import launch.train", "may not import layer 5"),
        ("langpose_dist/train/trainer.py", "import mlflow", "whose home is langpose_dist/tracking/"),
        ("langpose_dist/cli/registry.py", "from mlflow.tracking import MlflowClient", "whose home is"),
        ("langpose_dist/models/pooling.py", "import transformers", "whose home is"),
        ("langpose_dist/data/windows.py", "import ray", "whose home is tuning/ and"),
        ("launch/train.py", "import deepspeed", "whose home is langpose_dist/train/"),
        ("tuning/sweep.py", "import webdataset", "whose home is langpose_dist/data/"),
        ("langpose_dist/extras.py", "", "has no layer"),
        ("langpose_dist/cli/main.py", "import langpose_dist.extras", "has no layer"),
        ("langpose_dist/losses/pose.py", "def f():\n    import langpose_dist.train.engine", "layer 4"),
        ("langpose_dist/losses/pose.py", "if TYPE_CHECKING:\n    import langpose_dist.tasks", "layer 3"),
        ("langpose_dist/cli/doctor.py", "def f():\n    importlib.import_module('ray.tune')", "whose home is"),
        ("langpose_dist/cli/doctor.py", "__import__('deepspeed')", "whose home is"),
    ],
)
def test_an_offending_import_is_reported(path: str, source: str, reason: str) -> None:
    (found,) = violations(path, source)
    assert found.startswith(f"{path}:")
    assert reason in found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        (
            "langpose_dist/config/schema.py",
            "import json\nimport pydantic\nfrom langpose_dist import __version__",
        ),
        ("langpose_dist/geometry.py", "import torch\nfrom langpose_dist.batch import MotionBatch"),
        ("langpose_dist/datasets/parallel.py", "import ray\nfrom langpose_dist.data import shards"),
        ("langpose_dist/tasks/pretrain.py", "from langpose_dist.models import langpose\nimport scipy"),
        ("langpose_dist/train/engine.py", "import deepspeed\nfrom langpose_dist.data import loader"),
        ("langpose_dist/detections/arrays.py", "from langpose_dist.datasets.pickles import load_npz"),
        ("langpose_dist/analysis/visibility.py", "from langpose_dist.evaluation import visibility"),
        ("launch/train.py", "from langpose_dist.cli.main import main"),
        ("tuning/sweep.py", "def f():\n    import ray\n    from langpose_dist.train import trainer"),
    ],
)
def test_an_import_that_points_down_is_not_reported(path: str, source: str) -> None:
    assert violations(path, source) == []


def circles(sources: Mapping[str, str]) -> list[list[str]]:
    """Groups of modules that import each other, imports inside functions included.

    Args:
        sources: Path -> text of every file.
    """
    modules = {path.removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path in sources}
    graph: dict[str, set[str]] = {}
    for module, path in modules.items():
        targets = {name for _, name in imports(path, sources[path])}
        targets |= {f"{name}.{alias}" for name, alias in imported_names(sources[path])}
        graph[module] = {target for target in targets if target in modules and target != module}
    reachable = {module: reach(graph, module) for module in graph}
    found = {
        tuple(sorted(other for other in reachable[module] if module in reachable[other]))
        for module in graph
        if module in reachable[module]
    }
    return [list(group) for group in sorted(found)]


def imported_names(source: str) -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.module, alias.name) for alias in node.names)


def reach(graph: Mapping[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        for target in graph[waiting.pop()] - found:
            found.add(target)
            waiting.append(target)
    return found


def test_no_modules_import_each_other_in_a_circle() -> None:
    files = [file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py"))]
    sources = {file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8") for file in files}
    assert circles(sources) == []


def test_a_circle_that_is_hidden_in_a_function_is_found() -> None:
    sources = {
        "tuning/a.py": "def f():\n    from tuning import b",
        "tuning/b.py": "import tuning.c",
        "tuning/c.py": "from tuning.a import f",
        "tuning/d.py": "import tuning.a",
    }
    assert circles(sources) == [["tuning.a", "tuning.b", "tuning.c"]]
