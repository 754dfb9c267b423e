"""Whatever training refuses at its start, preflight has asked before: read from the code that refuses."""

import ast
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import huggingface_hub
import pytest

import langpose_dist
from langpose_dist.config import RunConfig
from langpose_dist.models.langpose import LangPose
from langpose_dist.runs.tracker import NullTracker
from langpose_dist.train.preflight import check_here
from tests.captions import build_captions, caption_config
from tests.corpus import build_corpus, tiny_config
from tests.exports import save_weights

PACKAGE = Path(langpose_dist.__file__).parent
MODULES = sorted(
    path
    for folder in ("data", "models", "tasks", "train", "train/distributed")
    for path in (PACKAGE / folder).glob("*.py")
)
"""Modules that a run goes through."""
LATER_MODULES = {
    "cache": "a remote shard, fetched when it is needed",
    "ending": "the end of a run",
    "evaluate_weights": "no part of a training",
    "guard": "steps of a training",
    "remote": "a network that may fail at any moment",
    "sample": "content of a clip, which the shard's hash vouches for",
    "trainer": "steps and checkpoints of a training",
}
"""Module -> reason why preflight need not come to what it refuses."""
LATER = {
    "start.locked_folder": "another job may take the folder at any moment",
    "start.open_folder": "the same, told to every rank",
    "start._resume": "a checkpoint, which is found under the folder's lock",
    "start._refuse_changes": "the run that is resumed, which is read under the folder's lock",
    "checkpoint.find_checkpoint": "a checkpoint, which is found under the folder's lock",
    "loader.load_batches": "workers that die while they read",
    "preflight.raise_problems": "the report itself",
    "pretrained.read_motionbert": "no part of a training",
    "processes.__init__": "other ranks, which preflight is without",
    "processes.gather": "the same",
    "processes.from_environment": "a launcher, which preflight is without",
    "shards._data_offset": "content of a shard, which its hash vouches for",
    "shards._read_into": "the same",
    "shards._read_member": "the same",
    "shards.iter_samples": "the same",
    "shards.read_keypoints": "the same",
    "shards.read_meta": "the same",
    "shards.read_tar": "the same",
    "shards.tar_members": "no part of a training",
    "streaming._cut": "the same as of a shard",
    "start.open_record": "a tracking store that preflight has reached before",
    "exported.load_exported": "no part of a training",
    "exported.override_config": "no part of a training",
    "guo.load": "no part of a training",
    "summary.summarize": "no part of a training",
}
"""Function that refuses -> reason why preflight need not come to it."""


def refusing_functions() -> set[str]:
    """``module.function`` of everything that raises an error for the user."""
    found = set()
    for path in (path for path in MODULES if path.stem not in LATER_MODULES):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef) and any(map(is_refusal, ast.walk(function))):
                found.add(f"{path.stem}.{function.name}")
    return found


def is_refusal(node: ast.AST) -> bool:
    match node:
        case ast.Raise(exc=ast.Call(func=ast.Name(id=name))):
            return name in {"UserError", "ConfigError", "DataError", "PreflightError", "TrainingError"}
        case ast.Raise(exc=ast.Call(func=ast.Attribute(attr="_damaged"))):
            return True
    return False


def entered(action: Callable[[], Any]) -> set[str]:
    """``module.function`` of everything in the package that an action enters."""
    names = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            names.add(f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_name}")

    sys.setprofile(note)
    try:
        action()
    finally:
        sys.setprofile(None)
    return names


def configurations(folder: Path) -> Iterator[RunConfig]:
    """One that is right, with weights of our own to begin with; one whose text encoder is on no machine."""
    plain = tiny_config(folder)
    weights = folder / "model.safetensors"
    save_weights(weights, LangPose(plain, 384), plain, {"fps": "30.0"})
    best = {"best_metric": "clean/r_at_1"}
    yield tiny_config(folder, folder / "a", model={"initial_weights": str(weights)}, train=best)
    yield tiny_config(folder, folder / "b", text={"encoder": "nobody/never-was"})
    build_corpus(folder / "stored", is_recorded=True)
    yield tiny_config(folder / "stored", folder / "c", data={"observation": "stored"})
    yield tiny_config(folder / "stored", folder / "d", data={"held_out_camera": "side"})
    build_captions(folder / "captions")
    model, crop = {"initial_weights": str(weights)}, {"too_long": "crop"}
    window = {"num_frames": 8, "stride": 8}
    yield caption_config(folder / "captions", folder / "e", model=model, caption=crop, window=window)


def test_preflight_comes_to_every_function_that_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub, "model_info", dict)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    build_corpus(tmp_path)
    reached: set[str] = set()
    problems = []
    for config in configurations(tmp_path):
        reached |= entered(lambda config=config: problems.append(check_here(config, 1, NullTracker())))
    assert [len(found) for found in problems] == [0, 1, 0, 1, 0], problems
    refusing = refusing_functions()
    assert refusing - reached - set(LATER) == set(), "preflight does not ask them; let it, or say why not"
    assert set(LATER_MODULES) <= {path.stem for path in MODULES}
    assert set(LATER) <= refusing - reached, "they are gone, or preflight asks them now"
