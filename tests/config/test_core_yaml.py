"""Values as they are written: what is a number, what a name, and where a place lies."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from langpose_dist.config import ConfigError, RunConfig, describe_keys, load_config
from langpose_dist.config.core_yaml import read_yaml

PLACES = (
    *("output", "data.path", "data.cache_dir", "model.initial_weights", "text.encoder"),
    "tracking.uri",
)


def value_of(config: RunConfig, key: str) -> Any:
    return config.to_flat()[key]


@pytest.mark.parametrize(
    "name",
    [
        *(
            "2024-01-01",
            "2024-13-45",
            "1:30",
            "010",
            "0x10",
            "1_000",
            "1.10",
            "1e3",
            "+5",
            "007",
            "2024",
            ".5",
        ),
        *("yes", "no", "on", "off", "y", "nan", "#5", "&x", "my data #2", "a,b", "1.2.3"),
    ],
)
@pytest.mark.parametrize("key", ["output", "tracking.run_name"])
def test_a_name_is_taken_as_it_is_written(tmp_path: Path, key: str, name: str) -> None:
    assert value_of(load_config(None, [f"{key}={name}"]), key) == name
    if name[0] not in "#&" and " #" not in name:  # of a file they begin a comment or an anchor
        section, _, last = key.rpartition(".")
        (tmp_path / "c.yaml").write_text(
            f"{section}:\n  {last}: {name}\n" if section else f"{last}: {name}\n"
        )
        assert value_of(load_config(tmp_path / "c.yaml"), key) == name


@pytest.mark.parametrize(
    "text",
    [
        *(
            "&a b",
            "*a",
            "@x",
            "`x`",
            "%x",
            "!!int 5",
            "&a 5",
            "| x",
            "> x",
            "x: y",
            "'a': b",
            "? x",
            "- x",
            "-",
        ),
        *(
            "---",
            "--- 5",
            "...",
            "<<",
            "[x",
            "[a]: b",
            "{x",
            "{a}b",
            "'tis",
            '"',
            "'a' 'b'",
            "a\tb",
            "x:",
            "Null",
        ),
    ],
)
def test_nothing_in_the_text_of_an_override_is_syntax(text: str) -> None:
    assert load_config(None, [f"output={text}"]).output == text
    with pytest.raises(ConfigError) as error:
        load_config(None, [f"seed={text}"])
    assert str(error.value).startswith("seed=")
    assert "\n" not in str(error.value)
    assert "YAML" not in str(error.value)


def test_an_override_may_be_quoted_a_list_or_a_mapping() -> None:
    config = load_config(None, ["output=' my #2 '", "camera.yaw=[1, 2]", "window={stride: 3}", "seed= 4 "])
    assert (config.output, config.camera.yaw) == (" my #2 ", (1.0, 2.0))
    assert (config.window.stride, config.seed) == (3, 4)


@pytest.mark.parametrize(
    "text", ["1_000", "1:30", "010", "0x10", "1e3", "3.0", "'3'", "true", "yes", "2024-01-01", "null", "[3]"]
)
def test_a_count_is_written_in_digits_alone(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^window\.num_frames="):
        load_config(None, [f"window.num_frames={text}"])


@pytest.mark.parametrize(
    "text", ["'1e-3'", "true", "nan", ".nan", "inf", ".inf", "1e400", "1,5", "1_0.0", "0x1p3"]
)
def test_a_number_is_finite_and_no_text(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^optimizer\.learning_rate="):
        load_config(None, [f"optimizer.learning_rate={text}"])


def test_numbers_may_be_written_as_usual() -> None:
    for text, value in (("1e-3", 1e-3), ("5E-4", 5e-4), (".5", 0.5), ("2.", 2.0), ("3", 3.0), ("+1.5", 1.5)):
        assert load_config(None, [f"optimizer.learning_rate={text}"]).optimizer.learning_rate == value
    assert load_config(None, ["camera.yaw=[-90, 1.5e+1]"]).camera.yaw == (-90.0, 15.0)


def test_no_key_takes_a_value_of_another_type() -> None:
    wrong = {bool: ("1", "0.0", "yes", "'true'"), int: ("true", "1.0", "'1'"), float: ("true", "'1'")}
    for key, default, _ in describe_keys():
        kind = type(value_of(RunConfig(), key))
        for text in wrong.get(kind, ()):
            with pytest.raises(ConfigError) as error:
                load_config(None, [f"{key}={text}"])
            assert key in str(error.value), (default, text)


@pytest.mark.parametrize("key", PLACES)
def test_a_leading_tilde_is_the_home_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, key: str
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert value_of(load_config(None, [f"{key}=~/x"]), key) == "/home/me/x"
    assert value_of(load_config(None, [f"{key}=~"]), key) == "/home/me"
    section, _, last = key.rpartition(".")
    text = f"{last}: ~/x\n"
    (tmp_path / "c.yaml").write_text(f"{section}:\n  {text}" if section else text)
    assert value_of(load_config(tmp_path / "c.yaml"), key) == "/home/me/x"
    with pytest.raises(ConfigError, match=rf"{key}: ~nobody-here has no home folder"):
        load_config(None, [f"{key}=~nobody-here/x"])


def test_the_database_of_a_uri_lies_below_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert load_config(None, ["tracking.uri=sqlite:///~/m.db"]).tracking.uri == "sqlite:////home/me/m.db"
    assert load_config(None, ["data.path=s3://~/x"]).data.path == "s3://~/x"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: " + "[" * 500, "recursion"),
        ("".join("  " * depth + "a:\n" for depth in range(300)), "recursion"),
        ("seed: 1\nseed: 2\n", "'seed' stands there twice .*line 2"),
        ("model: {dim: 64, dim: 32}\n", "'dim' stands there twice"),
        ("seed: " + "9" * 5000, "4300"),
        ('seed: !!int "0x10"\n', "0x10"),
    ],
)
def test_a_file_that_is_no_plain_yaml_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ConfigError, match=rf"bad\.yaml is not YAML: .*{message}") as error:
        load_config(tmp_path / "bad.yaml")
    assert "\n" not in str(error.value)


def test_a_mistake_is_one_short_line_whatever_the_value_holds(tmp_path: Path) -> None:
    levels = ["a: &a [x, x, x, x, x, x, x, x, x]\n"]
    for name, below in zip("bcdefgh", "abcdefg", strict=True):
        levels.append(f"{name}: &{name} [{', '.join([f'*{below}'] * 9)}]\n")
    (tmp_path / "bomb.yaml").write_text("".join(levels) + "seed: *h\n")
    for words in ([str(tmp_path / "bomb.yaml")], []):
        with pytest.raises(ConfigError) as error:
            load_config(words, ["seed=" + "[" * 3000, "model="])
        assert len(str(error.value)) < 2000


def test_an_empty_section_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="model=None: a section holds keys with their values; leave it out"):
        load_config(None, ["model="])


@pytest.mark.parametrize(
    "text", ["{x}: 1", "[a]: 1", "a: {{b}: 1}", "a: !!bool b", "a: !!timestamp 2024-99-99"]
)
def test_keys_that_are_no_names_and_tags_that_do_not_fit_are_refused(text: str) -> None:
    with pytest.raises(yaml.YAMLError):
        read_yaml(text)
