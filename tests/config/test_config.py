import json
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from langpose_dist.config import (
    ConfigError,
    LossConfig,
    RunConfig,
    UserError,
    build_config,
    check,
    describe_keys,
    load_config,
    read_content,
    with_values,
)


def test_the_defaults_are_the_papers() -> None:
    config = load_config(None)
    assert (config.model.dim, config.model.depth, config.model.num_heads) == (512, 5, 8)
    assert (config.window.num_frames, config.text.max_tokens) == (243, 20)
    assert (config.loss.lambda_con, config.loss.lambda_3d, config.loss.lambda_v) == (0.5, 1, 20)
    assert (config.loss.temperature, config.loss.num_negatives) == (0.1, 16)
    assert (config.train.epochs, config.train.global_batch_size) == (300, 16)
    assert config.optimizer.learning_rate == 5e-4
    masking = config.masking
    assert masking.random_probability == 0.5
    assert (masking.time_window_probability, masking.body_part_probability) == (0.25, 0.25)
    assert (masking.joint_ratio, masking.frame_ratio, masking.time_window_frames) == (0.05, 0.15, (30, 80))


def test_a_file_holds_what_differs_and_overrides_come_last(tmp_path: Path) -> None:
    file = tmp_path / "small.yaml"
    file.write_text("model: {dim: 64, depth: 2}\nseed: 3\n", encoding="utf-8")
    config = load_config(file, ["model.depth=1", "loss.contrastive=infonce", "camera.yaw=[-90, 90]"])
    assert (config.model.dim, config.model.depth, config.seed) == (64, 1, 3)
    assert config.loss.contrastive == "infonce"
    assert config.camera.yaw == (-90.0, 90.0)
    assert config.window == RunConfig().window


@pytest.mark.parametrize(
    ("override", "expected"), [("1e-3", 0.001), ("5E-4", 0.0005), ("1", 1.0), ("0.25", 0.25)]
)
def test_numbers_are_read_in_every_usual_form(override: str, expected: float) -> None:
    assert load_config(None, [f"optimizer.learning_rate={override}"]).optimizer.learning_rate == expected


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("# nothing\n", encoding="utf-8")
    assert load_config(tmp_path / "empty.yaml") == RunConfig()


def test_the_resolved_configuration_loads_again(tmp_path: Path) -> None:
    config = load_config(None, ["model.dim=64", "train.max_steps=7", "tracking.uri=http://host:5000"])
    (tmp_path / "resolved.yaml").write_text(config.to_yaml(), encoding="utf-8")
    assert load_config(tmp_path / "resolved.yaml") == config
    assert build_config(json.loads(json.dumps(config.to_dict()))) == config


def test_a_configuration_does_not_change() -> None:
    config = RunConfig()
    with pytest.raises(ValidationError, match="frozen"):
        config.model.dim = 3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.dept=3", "unknown key 'model.dept'; did you mean 'model.depth'?"),
        ("dim=3", "unknown key 'dim'; did you mean 'model.dim'?"),
        ("modle.dim=3", "unknown key 'modle'; did you mean 'model'?"),
        ("zzzzzz=3", "unknown key 'zzzzzz'"),
        ("optimizer.learning_rate=0", "optimizer.learning_rate=0: input should be greater than 0"),
        ("train.epochs=.nan", "train.epochs=nan: input should be a finite number"),
        ("data.flip_probability=1.5", "data.flip_probability=1.5: input should be less than or equal to 1"),
        ("loss.contrastive=focal", "'none', 'infonce' or 'modified'"),
        ("train.zero_stage=4", "train.zero_stage=4: input should be less than or equal to 3"),
        ("model.dim=many", "model.dim='many': input should be a valid integer"),
        ("model.dim=100", "model: dim=100 must be a multiple of num_heads=8"),
        ("window.stride=300", "window: stride=300 must be in 1..243, or frames are lost"),
        ("camera.distance=[5, 3]", "camera: distance=(5.0, 3.0) must be in rising order"),
        ("camera.distance=[0, 3]", "camera: distance and focal_length must be above 0"),
        ("masking.random_probability=0.6", "masking: the three masking probabilities must sum to 1, not 1.1"),
        ("masking.time_window_frames=[30, 300]", "must not exceed window.num_frames=243"),
        ("seed=-1", "seed=-1: input should be greater than or equal to 0"),
        ("model.dim", "override 'model.dim' must have the form key.sub=value"),
        ("=3", "override '=3' must have the form key.sub=value"),
        ("model.dim=[", "model.dim='[': input should be a valid integer"),
        ("seed.x=3", "seed"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key_and_the_remedy(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(None, [override])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_an_override_of_a_value_as_if_it_were_a_section_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="seed is a value, not a section"):
        load_config(None, ["seed=1", "seed.x=3"])


def test_every_mistake_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        load_config(None, ["model.dept=3", "train.zero_stage=4"])
    assert "model.dept" in str(error.value)
    assert "train.zero_stage" in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("list.yaml", b"[1, 2]", "must hold keys and values, not a list"),
        ("broken.yaml", b"model: {dim: 64", "is not YAML"),
        ("binary.yaml", b"\xff\xfe\x00", "cannot be read"),
        ("object.yaml", b"seed: !!python/object/apply:os.getcwd []", "is not YAML"),
    ],
)
def test_a_file_that_is_no_configuration_is_one_line(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        load_config(tmp_path / name)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_suggests_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").touch()
    with pytest.raises(ConfigError, match=r"smal\.yaml does not exist; did you mean '.*small\.yaml'\?"):
        load_config(tmp_path / "smal.yaml")


def test_the_hash_follows_what_is_computed_and_not_where_it_is_kept() -> None:
    base = RunConfig()
    assert len(base.hash()) == 16
    elsewhere = load_config(
        None, ["output=elsewhere", "tracking.enabled=false", "data.licence=CC0", "registry.tolerance=0.1"]
    )
    assert elsewhere.hash() == base.hash()
    assert load_config(None, ["seed=1"]).hash() != base.hash()
    assert load_config(None, ["model.depth=4"]).hash() != base.hash()


def test_every_key_is_described_and_is_taken_as_an_override() -> None:
    rows = describe_keys()
    assert len({key for key, _, _ in rows}) == len(rows)
    for key, default, description in rows:
        assert description.endswith("."), key
        assert load_config(None, [f"{key}={default}"]) == RunConfig(), key


def test_the_yaml_of_the_defaults_has_every_key() -> None:
    content = yaml.safe_load(RunConfig().to_yaml())
    keys = {
        f"{name}.{key}" if key else name
        for name, section in content.items()
        for key in (section if isinstance(section, dict) else [""])
    }
    assert keys == {key for key, _, _ in describe_keys()}


def write_files(folder: Path, *contents: str) -> list[Path]:
    files = [folder / f"{number}.yaml" for number in range(len(contents))]
    for file, content in zip(files, contents, strict=True):
        file.write_text(content, encoding="utf-8")
    return files


def test_several_files_are_merged_section_by_section_and_a_later_one_wins(tmp_path: Path) -> None:
    files = write_files(
        tmp_path,
        "seed: 1\nmodel: {dim: 64, depth: 2}\ncamera: {yaw: [-90, 90], distance: [2, 3]}\n",
        "# nothing\n",
        "model: {depth: 3, num_heads: 4}\ncamera: {yaw: [0, 10]}\ntrain: {zero_stage: 2}\n",
        "train: {offload: optimizer}\n",
    )
    config = load_config(files, ["model.num_heads=2"])
    assert (config.seed, config.train.zero_stage, config.train.offload) == (1, 2, "optimizer")
    assert (config.model.dim, config.model.depth, config.model.num_heads) == (64, 3, 2)
    assert (config.camera.yaw, config.camera.distance) == ((0.0, 10.0), (2.0, 3.0))
    assert config.camera.focal_length == RunConfig().camera.focal_length
    # What only fits together is checked once it is together.
    with pytest.raises(ConfigError, match="offload=optimizer needs zero_stage=1 or higher"):
        load_config(files[3])
    assert load_config([*reversed(files)]).model.depth == 2
    assert load_config([str(file) for file in files]) == load_config(files)
    assert load_config([]) == RunConfig()


def test_a_section_does_not_mix_with_a_value(tmp_path: Path) -> None:
    files = write_files(tmp_path, "model: {dim: 64}\n", "model: 3\n")
    with pytest.raises(ConfigError, match="model=3"):
        load_config(files)
    assert load_config(files[::-1]).model.dim == 64


def test_of_several_files_the_one_that_is_wrong_is_named(tmp_path: Path) -> None:
    files = write_files(tmp_path, "seed: 1\n", "[1, 2]\n")
    with pytest.raises(ConfigError, match=r"1\.yaml must hold keys and values"):
        load_config(files)
    with pytest.raises(ConfigError, match=r"missing\.yaml does not exist"):
        load_config([files[0], tmp_path / "missing.yaml"])


@pytest.mark.parametrize(
    ("offload", "stages"), [("none", {0, 1, 2, 3}), ("optimizer", {1, 2, 3}), ("parameters", {3})]
)
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_only_what_ranks_share_out_can_be_offloaded(offload: str, stages: set[int], stage: int) -> None:
    overrides = [f"train.offload={offload}", f"train.zero_stage={stage}"]
    if stage in stages:
        assert load_config(None, overrides).train.offload == offload
        return
    with pytest.raises(ConfigError) as error:
        load_config(None, overrides)
    assert str(error.value) == f"train: offload={offload} needs zero_stage={min(stages)} or higher"


def test_a_compiled_model_does_not_go_with_stage_3() -> None:
    assert load_config(None, ["model.compile=true", "train.zero_stage=2"]).model.compile
    with pytest.raises(ConfigError, match=r"model\.compile=true does not go with train\.zero_stage=3"):
        load_config(None, ["model.compile=true", "train.zero_stage=3"])


@pytest.mark.parametrize(
    ("chosen", "conditions"),
    [("mpjpe_mm", "[clean]"), ("noisy/mpjpe_mm", "[clean, masked]"), ("validation/clean/x", "[clean]")],
)
def test_a_best_metric_of_no_condition_is_a_mistake(chosen: str, conditions: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(None, [f"train.best_metric={chosen}", f"evaluation.conditions={conditions}"])
    assert f"train.best_metric={chosen} must be CONDITION/METRIC" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("key", ["start_timeout", "hang_timeout", "stop_grace", "keep_checkpoints"])
def test_waiting_times_and_kept_checkpoints_are_above_0(key: str) -> None:
    with pytest.raises(ConfigError, match=rf"train\.{key}=0: input should be greater than"):
        load_config(None, [f"train.{key}=0"])
    assert load_config(None, [f"train.{key}=7"]).hash() == RunConfig().hash()


def test_the_gate_of_the_registry_names_metrics_of_a_condition() -> None:
    assert load_config(None, ["registry.metrics=[noisy/p_mpjpe_mm]"]).registry.metrics == (
        "noisy/p_mpjpe_mm",
    )
    for value, message in (("[mpjpe_mm]", "must be CONDITION/METRIC"), ("[]", "must name at least one")):
        with pytest.raises(ConfigError, match=message):
            load_config(None, [f"registry.metrics={value}"])


def test_content_is_merged_and_overridden_before_it_is_checked(tmp_path: Path) -> None:
    files = write_files(tmp_path, "seed: 1\nmore: {depth: 2}\n", "more: {width: [1]}\n")
    assert read_content(files, ["more.depth=1e-3", "new.key=x"]) == {
        "seed": 1,
        "more": {"depth": 0.001, "width": [1]},
        "new": {"key": "x"},
    }
    assert read_content(None) == {}
    with pytest.raises(ConfigError, match="seed is a value, not a section"):
        read_content(files, ["seed.x=3"])


def test_a_wider_schema_knows_its_own_keys() -> None:
    class Wider(RunConfig):
        more: LossConfig = LossConfig()

    assert check(Wider, {"more": {"gamma": 3}}).more.gamma == 3
    with pytest.raises(ConfigError, match=r"unknown key 'more\.gama'; did you mean 'more\.gamma'\?"):
        check(Wider, {"more": {"gama": 3}})


def test_a_sweeps_section_says_where_it_belongs() -> None:
    with pytest.raises(ConfigError, match=r"section 'sweep' is for python -m tuning\.sweep$"):
        load_config(None, ["sweep.num_trials=3"])


def test_values_are_set_by_dotted_key_in_a_copy() -> None:
    content = {"loss": {"gamma": 1}, "seed": 2}
    changed = with_values(content, {"loss.beta": [3], "model.dim": 4, "seed": 5})
    assert changed == {"loss": {"gamma": 1, "beta": [3]}, "model": {"dim": 4}, "seed": 5}
    assert content == {"loss": {"gamma": 1}, "seed": 2}
    with pytest.raises(ConfigError, match="seed is a value, not a section"):
        with_values(content, {"seed.x": 1})
