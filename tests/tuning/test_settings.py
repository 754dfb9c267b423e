import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from langpose_dist.config import ConfigError, RunConfig, describe_keys
from tuning.settings import Sweep, SweepConfig, build_sweep, describe_sweep_keys, load_sweep
from tuning.space import DEFAULT_SPACE

EVERY = {"train": {"evaluate_every": 10}}
GAMMA = {"loss.gamma": {"uniform": [0, 4]}}


def sweep(section: dict[str, Any] | None = None, **run: Any) -> Sweep:
    """A sweep whose scheduler has what it needs."""
    return build_sweep({**EVERY, **run, "sweep": section or {}})


def searching(entry: Any, key: str = "loss.gamma", **run: Any) -> Sweep:
    return sweep({"space": {key: entry}}, **run)


def refused(content: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as error:
        build_sweep(content)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_configuration_without_the_section_gets_its_defaults() -> None:
    found = build_sweep(EVERY)
    assert found.settings == SweepConfig()
    assert found.space.to_dict() == DEFAULT_SPACE
    assert found.config.train.evaluate_every == 10
    assert build_sweep({**EVERY, "sweep": None}) == found
    settings = found.settings
    assert (settings.searcher, settings.num_trials, settings.seed) == ("random", 16, 0)
    assert (settings.objective, settings.seeds, settings.finalists) == (("masked/mpjpe_mm",), (), 3)
    assert (settings.scheduler.name, settings.scheduler.reduction_factor) == ("asha", 3)
    assert (settings.resources.workers, settings.resources.cpus, settings.resources.gpus) == (1, 1, 0)
    assert (settings.baseline, settings.max_concurrent, settings.max_failures) == (True, None, 3)


def test_files_and_overrides_reach_the_run_and_the_sweep(tmp_path: Path) -> None:
    files = [tmp_path / "run.yaml", tmp_path / "sweep.yaml"]
    files[0].write_text("model: {dim: 64}\ntrain: {evaluate_every: 5}\n", encoding="utf-8")
    files[1].write_text(
        "output: runs/s\nsweep:\n  space:\n    loss.gamma: {uniform: [0, 4]}\n  num_trials: 8\n",
        encoding="utf-8",
    )
    found = load_sweep(files, ["sweep.num_trials=4", "data.path=my data", "sweep.scheduler.name=none"])
    assert (found.settings.num_trials, found.settings.scheduler.name) == (4, "none")
    assert (found.config.data.path, found.config.output, found.config.model.dim) == ("my data", "runs/s", 64)
    assert found.space.to_dict() == GAMMA
    whole = load_sweep(files, ["sweep.space={loss.beta: {choice: [0, 1]}}"])
    assert whole.space.to_dict() == {"loss.beta": {"choice": [0.0, 1.0]}}
    assert load_sweep(files, ["sweep.objective=clean/mpjpe_mm"]).settings.objective == ("clean/mpjpe_mm",)


def test_the_resolved_sweep_loads_again(tmp_path: Path) -> None:
    entry = {"log_uniform": [1e-2, 1]}
    found = sweep(
        {
            "space": {"loss.contrastive": {"choice": ["modified", "infonce"]}, "loss.temperature": entry},
            "seeds": [4],
        }
    )
    file = tmp_path / "sweep.yaml"
    file.write_text(yaml.safe_dump(found.to_dict(), sort_keys=False), encoding="utf-8")
    again = load_sweep([file])
    assert (again.config, again.settings, again.space) == (found.config, found.settings, found.space)
    assert again.to_dict() == found.to_dict() == json.loads(json.dumps(found.to_dict()))
    assert found.to_dict()["sweep"]["space"]["loss.temperature"] == {"log_uniform": [0.01, 1.0]}


def test_values_can_be_set_later_and_are_checked_again() -> None:
    found = sweep({"evaluations": 12}).with_values(
        {"train.max_steps": 3001, "output": "/x", "sweep.num_trials": 5}
    )
    assert (found.config.output, found.config.train.max_steps, found.settings.num_trials) == ("/x", 3001, 5)
    assert found.config.train.evaluate_every == 251
    with pytest.raises(ConfigError, match=r"sweep\.num_trials=0"):
        found.with_values({"sweep.num_trials": 0})
    with pytest.raises(ConfigError, match=r"must be at most train\.max_steps=5"):
        sweep().with_values({"train.max_steps": 5, "optimizer.warmup_steps": 1})


@pytest.mark.parametrize(
    ("evaluations", "every"), [(12, 250), (1, 3000), (7, 429), (5000, 1)], ids=lambda number: str(number)
)
def test_evaluations_are_spread_over_a_run_of_any_length(evaluations: int, every: int) -> None:
    found = build_sweep({"train": {"max_steps": 3000}, "sweep": {"evaluations": evaluations}})
    assert found.config.train.evaluate_every == every
    assert evaluations > 3000 or -(-3000 // every) == evaluations
    # Where the length depends on the data, it is set later.
    assert build_sweep({"sweep": {"evaluations": evaluations}}).config.train.evaluate_every is None


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        sweep().settings.num_trials = 3


def test_every_key_of_the_section_is_described_and_is_taken_as_an_override() -> None:
    rows = describe_sweep_keys()
    assert [key for key, _, _ in rows][:3] == ["sweep.space", "sweep.searcher", "sweep.num_trials"]
    assert not {key for key, _, _ in rows} & {key for key, _, _ in describe_keys()}
    for key, default, description in rows:
        assert description.endswith("."), key
        overrides = ["train.evaluate_every=10", f"{key}={default}"]
        assert load_sweep(None, overrides).settings == SweepConfig(), key


@pytest.mark.parametrize(
    ("section", "has_one"),
    [
        ({"seeds": [1, 2]}, True),
        ({"seeds": []}, False),
        ({"seeds": [1, 2], "scheduler": {"name": "none"}}, False),
        ({"seeds": [0, 1], "scheduler": {"name": "none"}}, False),
        ({"seeds": [1, 2], "searcher": "optuna", "scheduler": {"name": "none"}}, True),
        ({"seeds": [1], "searcher": "grid", "space": {"loss.gamma": {"choice": [1]}}}, True),
    ],
)
def test_finalists_are_confirmed_where_the_search_did_not_treat_all_alike(
    section: dict[str, Any], has_one: bool
) -> None:
    assert sweep(section).settings.has_confirm_stage == has_one


def test_seeds_that_confirm_are_not_the_one_that_chose() -> None:
    message = refused({**EVERY, "seed": 4, "sweep": {"seeds": [3, 4]}})
    assert "sweep.seeds=[3, 4] must not hold seed=4, by which the search chooses" in message


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"num_trails": 3}, "unknown key 'sweep.num_trails'; did you mean 'sweep.num_trials'?"),
        (
            {"scheduler": {"nam": "asha"}},
            "unknown key 'sweep.scheduler.nam'; did you mean 'sweep.scheduler.name'?",
        ),
        ({"reduction_factor": 2}, "did you mean 'sweep.scheduler.reduction_factor'?"),
        ({"searcher": "bayes"}, "sweep.searcher='bayes': input should be 'random', 'grid' or 'optuna'"),
        ({"scheduler": {"name": "hyperband"}}, "'asha' or 'none'"),
        ({"num_trials": 0}, "sweep.num_trials=0: input should be greater than or equal to 1"),
        ({"finalists": 0}, "sweep.finalists=0: input should be greater than or equal to 1"),
        ({"max_failures": -1}, "sweep.max_failures=-1: input should be greater than or equal to 0"),
        ({"max_concurrent": 0}, "sweep.max_concurrent=0: input should be greater than or equal to 1"),
        ({"evaluations": 0}, "sweep.evaluations=0: input should be greater than or equal to 1"),
        ({"seed": -1}, "sweep.seed=-1: input should be greater than or equal to 0"),
        ({"seeds": [1, -1]}, "sweep.seeds.1=-1: input should be greater than or equal to 0"),
        ({"seeds": [1, 1]}, "sweep: seeds=[1, 1] must be different ones"),
        (
            {"scheduler": {"reduction_factor": 1}},
            "sweep.scheduler.reduction_factor=1: input should be greater",
        ),
        ({"scheduler": {"grace_evaluations": 0}}, "sweep.scheduler.grace_evaluations=0"),
        ({"resources": {"cpus": 0}}, "sweep.resources.cpus=0: input should be greater than 0"),
        ({"resources": {"gpus": -1}}, "sweep.resources.gpus=-1: input should be greater than or equal to 0"),
        ({"resources": {"gpus": 2}}, "sweep.resources.gpus=2: input should be less than or equal to 1"),
        (
            {"resources": {"gpus": 0.5, "workers": 2}},
            "sweep.resources: gpus=0.5 with workers=2: ranks of one trial cannot share a GPU, NCCL takes one",
        ),
        (3, "sweep=3"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(section: Any, message: str) -> None:
    assert message in refused({**EVERY, "sweep": section})


def test_mistakes_of_run_and_sweep_are_told_at_once() -> None:
    message = refused({"model": {"dept": 3}, "sweep": {"seeed": 1}})
    assert "unknown key 'model.dept'; did you mean 'model.depth'?" in message
    assert "unknown key 'sweep.seeed'; did you mean 'sweep.seed'?" in message


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("loss.temprature", "unknown key 'loss.temprature'; did you mean 'loss.temperature'?"),
        ("temperature", "unknown key 'temperature'; did you mean 'loss.temperature'?"),
        ("sweep.seed", "unknown key 'sweep.seed'"),
        ("loss", "unknown key 'loss'; did you mean 'loss."),
        ("seed", "seed cannot be varied: give several seeds in sweep.seeds"),
        ("output", "output cannot be varied: it does not change what is learnt"),
        ("tracking.uri", "tracking.uri cannot be varied: it does not change what is learnt"),
        ("registry.tolerance", "registry.tolerance cannot be varied: it does not change what is learnt"),
        ("data.path", "data.path cannot be varied: it does not change what is learnt"),
        ("data.num_workers", "data.num_workers cannot be varied: it does not change what is learnt"),
        ("train.zero_stage", "train.zero_stage cannot be varied: it does not change what is learnt"),
        ("train.device", "train.device cannot be varied: it does not change what is learnt"),
        (
            "train.checkpoint_every",
            "train.checkpoint_every cannot be varied: it does not change what is learnt",
        ),
        (
            "evaluation.batch_size",
            "evaluation.batch_size cannot be varied: it does not change what is learnt",
        ),
        ("train.max_steps", "train.max_steps cannot be varied: trials are compared at equal steps"),
        ("train.epochs", "train.epochs cannot be varied: trials are compared at equal steps"),
        ("train.evaluate_every", "train.evaluate_every cannot be varied: trials are compared at equal steps"),
        ("evaluation.max_windows", "evaluation.max_windows cannot be varied: it changes what is measured"),
        ("data.validation_split", "data.validation_split cannot be varied: it changes what is measured"),
        ("camera.yaw", "camera.yaw cannot be varied: it changes what is measured"),
        ("noise.gaussian_std", "noise.gaussian_std cannot be varied: it changes what is measured"),
        ("masking.joint_ratio", "masking.joint_ratio cannot be varied: it changes what is measured"),
        ("window.num_frames", "window.num_frames cannot be varied: it changes what is measured"),
        ("window.min_span_frames", "window.min_span_frames cannot be varied: it changes what is measured"),
    ],
)
def test_a_key_that_cannot_be_varied_is_refused_with_the_reason(key: str, message: str) -> None:
    assert message in refused({**EVERY, "sweep": {"space": {key: {"choice": [1, 2]}}}})


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("noise.enabled", [True, False]),
        ("masking.enabled", [True, False]),
        ("data.flip_probability", [0.0, 0.5]),
        ("data.order", ["exact", "streaming"]),
        ("model.depth", [1, 2]),
        ("model.initial_weights", [None, "encoder.safetensors"]),
        ("text.max_tokens", [10, 20]),
        ("optimizer.betas", [[0.9, 0.99], [0.9, 0.999]]),
        ("optimizer.schedule", ["cosine", "constant"]),
        ("train.precision", ["float32", "bfloat16"]),
    ],
)
def test_what_is_learnt_from_can_be_varied(key: str, values: list[Any]) -> None:
    found = searching({"choice": values}, key)
    assert found.space.to_dict() == {key: {"choice": values}}


@pytest.mark.parametrize(
    ("key", "entry", "message"),
    [
        (
            "loss.temperature",
            {"log_uniform": [-1, 2]},
            "loss.temperature=-1: input should be greater than 0",
        ),
        ("loss.temperature", {"uniform": [-1, 2]}, "loss.temperature=-1: input should be greater than 0"),
        (
            "data.flip_probability",
            {"uniform": [0, 1.5]},
            "data.flip_probability=1.5: input should be less than",
        ),
        (
            "loss.contrastive",
            {"choice": ["none", "infonse"]},
            "loss.contrastive='infonse': input should be 'none', ",
        ),
        (
            "loss.num_negatives",
            {"integer": [0, 4]},
            "loss.num_negatives=0: input should be greater than or equal",
        ),
        ("loss.num_negatives", {"choice": [1.5]}, "loss.num_negatives=1.5: input should be a valid integer"),
        ("loss.gamma", {"choice": [0.1, 1e-1]}, "loss.gamma: choice=[0.1, 0.1]: 0.1 stands there twice"),
        ("loss.gamma", {"choice": ["many"]}, "loss.gamma='many': input should be a valid number"),
        ("optimizer.betas", {"choice": [[0.9]]}, "optimizer.betas=[0.9]"),
        ("loss.gamma", {"integer": [0, 4]}, "loss.gamma: integer=[0.0, 4.0]: not whole numbers: use uniform"),
        ("loss.contrastive", {"integer": [0, 4]}, "loss.contrastive=0: input should be 'none', "),
        ("model.depth", {"uniform": [1, 4]}, "model.depth: uniform=[1, 4]: whole numbers: use integer"),
        ("text.encoder", {"uniform": [0, 1]}, "text.encoder: uniform=['0', '1']: not numbers: use choice"),
        ("masking.enabled", {"integer": [0, 1]}, "masking.enabled=0: input should be a valid boolean"),
        ("train.offload", {"choice": ["none"]}, "train.offload cannot be varied"),
    ],
)
def test_bounds_are_held_against_the_schema(key: str, entry: Any, message: str) -> None:
    assert message in refused({**EVERY, "sweep": {"space": {key: entry}}})


def test_values_are_what_the_schema_makes_of_them() -> None:
    found = sweep(
        {
            "space": {
                "optimizer.learning_rate": {"choice": [1e-4, 1]},
                "loss.num_negatives": {"integer": [1, 2]},
                "loss.beta": {"uniform": [0, 1]},
            }
        }
    )
    assert json.dumps(found.space.to_dict()["optimizer.learning_rate"]) == '{"choice": [0.0001, 1.0]}'
    assert json.dumps(found.space.to_dict()["loss.num_negatives"]) == '{"integer": [1, 2]}'


@pytest.mark.parametrize("key", ["train.global_batch_size", "window.stride"])
def test_what_changes_the_steps_of_an_epoch_needs_their_number(key: str) -> None:
    space = {key: {"choice": [16, 32]}}
    assert f"{key} changes the steps of an epoch" in refused({**EVERY, "sweep": {"space": space}})
    assert sweep({"space": space}, train={"evaluate_every": 10, "max_steps": 1000})


SCALE = "no loss, whose scale changes with weights and temperature"


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (["masked/loss"], SCALE),
        (["loss"], SCALE),
        (["total"], SCALE),
        (["train/mpjpe_mm"], SCALE),
        (["masked/loss_con"], SCALE),
        (["train/total"], SCALE),
        (["mpjpe_mm"], "sweep.objective=mpjpe_mm must be CONDITION/METRIC"),
        (["masked/mpjpe"], "did you mean 'masked/mpjpe_mm'?"),
        (["masked/most_frequent_r_at_1"], "one of its metrics mpjpe_mm, "),
        (["validation/masked/mpjpe_mm"], "must be CONDITION/METRIC"),
        (["noisy/mpjpe_mm"], "with a condition of evaluation.conditions=['clean', 'masked']"),
        ([], "sweep.objective=[]: tuple should have at least 1 item"),
        (["masked/mpjpe_mm", "clean/mpjpe_mm", "clean/r_at_1"], "tuple should have at most 2 items"),
        (["masked/mpjpe_mm", "masked/mpjpe_mm"], "must be different ones"),
    ],
)
def test_an_objective_that_cannot_rank_is_refused(objective: list[str], message: str) -> None:
    evaluation = {"conditions": ["clean", "masked"]}
    content = {
        **EVERY,
        "evaluation": evaluation,
        "sweep": {"objective": objective, "scheduler": {"name": "none"}},
    }
    assert message in refused(content)


@pytest.mark.parametrize(
    "metric", ["p_mpjpe_mm", "n_mpjpe_mm", "mpjve_mm_s", "r_at_1", "r_at_3", "median_rank"]
)
def test_every_metric_of_a_validation_can_rank(metric: str) -> None:
    assert sweep({"objective": [f"clean/{metric}"]}).settings.objective == (f"clean/{metric}",)


def test_without_a_contrastive_term_retrieval_does_not_rank() -> None:
    section = {"objective": ["clean/r_at_1"]}
    message = refused({**EVERY, "loss": {"contrastive": "none"}, "sweep": section})
    assert "retrieval only with a contrastive term" in message
    assert sweep(section)


@pytest.mark.parametrize("key", ["text.encoder", "text.max_tokens"])
@pytest.mark.parametrize("metric", ["r_at_1", "any_r_at_3", "median_rank"])
def test_labels_are_not_ranked_where_trials_tell_different_ones_apart(key: str, metric: str) -> None:
    values = {
        "text.encoder": ["offline", "sentence-transformers/all-MiniLM-L6-v2"],
        "text.max_tokens": [8, 20],
    }
    space = {key: {"choice": values[key]}}
    message = refused({**EVERY, "sweep": {"space": space, "objective": [f"clean/{metric}"]}})
    assert message.startswith(f"sweep.space: {key} cannot be varied with sweep.objective=clean/{metric}: ")
    assert sweep({"space": space, "objective": ["clean/mpjpe_mm"]})
    assert sweep({"space": GAMMA, "objective": [f"clean/{metric}"]})


def test_of_two_objectives_the_schedulers_is_named() -> None:
    two = ["masked/mpjpe_mm", "masked/r_at_1"]
    message = refused({**EVERY, "sweep": {"objective": two}})
    assert "scheduler.name=asha compares by one metric: set scheduler.metric to one of objective=" in message
    assert sweep({"objective": two, "scheduler": {"metric": "masked/r_at_1"}})
    assert sweep({"objective": two, "scheduler": {"name": "none"}})
    for objective in (two, two[:1]):
        message = refused(
            {**EVERY, "sweep": {"objective": objective, "scheduler": {"metric": "clean/r_at_1"}}}
        )
        assert "scheduler.metric=clean/r_at_1 must be of objective=" in message


def test_a_scheduler_needs_evaluations_on_the_way() -> None:
    section = {"scheduler": {"name": "asha"}}
    message = refused({"sweep": section})
    assert "sweep.scheduler.name=asha compares trials as they run: set train.evaluate_every" in message
    assert build_sweep({"sweep": {**section, "evaluations": 12}})
    assert build_sweep({"sweep": {"scheduler": {"name": "none"}}})
    steps = {"train": {"evaluate_every": 700, "max_steps": 600}}
    message = refused({**steps, "sweep": section})
    assert "must be at most train.max_steps=600" in message
    assert build_sweep({**steps, "sweep": {"scheduler": {"name": "none"}}})
    later = {"scheduler": {"grace_evaluations": 3}}
    message = refused({"train": {"evaluate_every": 300, "max_steps": 600}, "sweep": later})
    assert "train.evaluate_every=300 x sweep.scheduler.grace_evaluations=3 must be at most" in message


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"searcher": "grid"}, "loss.lambda_con: log_uniform has no end of values for sweep.searcher=grid"),
        (
            {"searcher": "grid", "space": {"model.depth": {"integer": [1, 2]}}},
            "model.depth: integer has no end",
        ),
    ],
)
def test_a_searcher_takes_what_it_can_search(section: dict[str, Any], message: str) -> None:
    assert message in refused({**EVERY, "sweep": section})


def test_a_grid_takes_choices_and_does_not_use_the_number_of_trials() -> None:
    space = {"loss.contrastive": {"choice": ["none", "infonce"]}, "loss.gamma": {"choice": [0, 2]}}
    found = sweep({"searcher": "grid", "space": space, "num_trials": 3})
    assert len(found.space.points("grid", found.settings.num_trials, 0)) == 4


def test_devices_fit_the_run() -> None:
    message = refused({"train": {"evaluate_every": 1, "device": "cuda"}})
    assert message == "train.device=cuda needs a GPU for each worker: set sweep.resources.gpus=1"
    assert sweep({"resources": {"gpus": 0.5}})
    assert sweep({"resources": {"gpus": 1, "workers": 2}})


def test_the_runs_own_keys_stay_what_they_are() -> None:
    found = sweep({"objective": ["clean/mpjpe_mm"]})
    assert found.config.hash() == RunConfig().hash()
