"""Configuration of a run: typed schema, YAML files, overrides."""

from langpose_dist.config.errors import ConfigError, UserError, suggest, suggest_or_list
from langpose_dist.config.files import (
    build_config,
    check,
    describe_keys,
    load_config,
    read_content,
    schema_of,
    with_overrides,
    with_values,
)
from langpose_dist.config.schema import (
    CameraConfig,
    CaptionConfig,
    ClipRule,
    Count,
    Flag,
    Fraction,
    LossConfig,
    MaskingConfig,
    ModelConfig,
    NoiseConfig,
    OptimizerConfig,
    Positive,
    RegistryConfig,
    RunConfig,
    Section,
    Seed,
    Space,
    TargetConfig,
    TextConfig,
    TrackingConfig,
    TrainConfig,
    Whole,
    WindowConfig,
)
