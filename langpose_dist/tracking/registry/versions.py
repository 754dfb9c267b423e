"""The model registry: what is registered, and what each version was made from."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, TypeVar

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException

from langpose_dist.config import UserError
from langpose_dist.host.redaction import printable
from langpose_dist.report.card import NO_LICENCE
from langpose_dist.tracking.client import explained

CHAMPION = "champion"
"""The alias that only a promotion gives."""


class Tag:
    """Names of the tags of a version.

    MLflow 3 keeps values of up to 100,000 characters; the longest here, the evaluation, has some 4,000.
    """

    WEIGHTS = "weights_sha256"
    FILES = "files_sha256"
    """JSON: path in the stored folder -> SHA-256."""
    EVALUATION = "evaluation"
    """JSON: content of ``evaluation.json``, or null."""
    SETTINGS = "evaluation_settings"
    """JSON: the configuration that decides what the evaluation's 2D input looks like."""
    LICENCE = "training_data_licence"
    PARENTS = "parents"
    """JSON: runs or versions that the weights started from."""
    PARENT_RUN = "parent_run_id"
    """Id of the run that the version's own belongs under, such as a sweep's; only where there is one."""
    TASK = "task"
    """Task that trained the weights."""
    SPACE = "space"
    """Space that they predict; see ``langpose_dist.spaces``."""
    NAME = "registered_name"
    """On the stored model alone: the name that it is for."""
    PROMOTION = "promotion."
    """Prefix; the rest is the time."""


_FIELDS = (Tag.EVALUATION, Tag.SETTINGS, Tag.LICENCE, Tag.PARENTS, Tag.FILES)
_Container = TypeVar("_Container", dict[str, Any], list[Any])


@dataclass(frozen=True)
class RegisteredVersion:
    """One version of a registered model."""

    name: str
    version: int
    aliases: tuple[str, ...]
    created: str
    """ISO 8601, UTC."""
    run_id: str | None
    status: str
    tags: Mapping[str, str]
    """Tags without a field of their own: data fingerprint, configuration hash, commit and the like."""
    evaluation: Mapping[str, Any]
    """Content of the run's ``evaluation.json``; empty if it was never evaluated."""
    settings: Mapping[str, Any]
    """Configuration that decides what the evaluation's 2D input looks like."""
    licence: str
    """Licence of the training data."""
    parents: tuple[str, ...]
    files: Mapping[str, str]
    """SHA-256 of every stored file; empty for a version that another tool registered."""
    promotions: tuple[Mapping[str, Any], ...]
    """Records of the promotions of this version, oldest first."""

    @property
    def label(self) -> str:
        """``NAME/VERSION``, for people."""
        return printable(f"{self.name}/{self.version}")

    @property
    def metrics(self) -> dict[str, float]:
        """The evaluation's numbers, such as ``masked/mpjpe_mm``."""
        conditions = self.evaluation.get("conditions")
        found: dict[str, float] = {}
        for condition, values in conditions.items() if isinstance(conditions, dict) else ():
            for name, value in values.items() if isinstance(values, dict) else ():
                if isinstance(value, int | float):
                    found[f"{condition}/{name}"] = float(value)
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain containers for JSON."""
        return {field.name: getattr(self, field.name) for field in fields(self)} | {"metrics": self.metrics}


@dataclass(frozen=True)
class RegisteredName:
    """A registered model with its versions, newest first."""

    name: str
    versions: tuple[int, ...]
    aliases: Mapping[str, int]


def check_name(name: str, alias: str) -> None:
    """Make sure that ``models:/NAME@ALIAS`` can be addressed, and that a training may set the alias.

    Raises:
        UserError: If the registry would refuse the name or the alias, or only a promotion gives the alias.
    """
    if not name.strip() or re.search(r"[/:@'\"]", name):
        raise UserError(f"tracking.register_as={name!r} must not be empty or hold any of / : @ ' \"")
    check_alias(alias)
    if alias == CHAMPION:
        raise UserError(
            f"tracking.alias={alias}: only langpose registry promote gives this alias; choose another, "
            "such as candidate"
        )


def check_alias(alias: str) -> None:
    """Make sure that an alias can be one.

    Raises:
        UserError: If the registry would refuse it.
    """
    if not re.fullmatch(r"[\w-]+", alias) or re.fullmatch(r"latest|[vV]\d+", alias):
        raise UserError(
            f"tracking.alias={alias!r} must consist of letters, digits, _ and -, and not be 'latest' or 'v1'"
        )


def list_models(client: MlflowClient) -> list[RegisteredName]:
    """Every registered model, by name."""
    models: list[RegisteredModel] = []
    token: str | None = None
    with explained("the registry cannot be read"):
        while token is None or token:
            page = client.search_registered_models(page_token=token)
            models += page
            token = page.token or ""
        return [
            RegisteredName(
                model.name,
                tuple(int(version.version) for version in _versions(client, model.name)),
                {alias: int(version) for alias, version in sorted(model.aliases.items())},
            )
            for model in sorted(models, key=lambda model: model.name)
        ]


def find_versions(
    client: MlflowClient, name: str, alias: str | None = None, number: int | None = None
) -> list[RegisteredVersion]:
    """The versions of a registered model, newest first; with an alias or a number, the one that it means.

    Raises:
        UserError: If the registry has no such name, alias or number; the message names those it has.
    """
    with explained("the registry cannot be read"):
        model = find_model(client, name)
        aliases = {alias: int(version) for alias, version in model.aliases.items()}
        if alias is not None and alias not in aliases:
            known = printable(", ".join(sorted(aliases)))
            raise UserError(f"model {name!r} has no alias {alias!r}; it has {known or 'none'}")
        wanted = number if alias is None else aliases[alias]
        versions = _versions(client, name)
        found = [version for version in versions if wanted in (None, int(version.version))]
        if number is not None and not found:
            known = ", ".join(str(version.version) for version in versions)
            raise UserError(f"model {name!r} has no version {number}; it has {known or 'none'}")
        # Only of those: what stands in the others is no matter here.
        return [_describe(version, aliases) for version in found]


def find_versions_of_run(client: MlflowClient, run_id: str) -> list[RegisteredVersion]:
    """The versions that a run registered, by name and newest first."""
    with explained("the registry cannot be read"):
        found = search_versions(client, f"run_id='{run_id}'")
    return [
        version
        for entry in sorted(found, key=lambda entry: entry.name)
        for version in find_versions(client, entry.name, number=int(entry.version))
    ]


def find_model(client: MlflowClient, name: str) -> RegisteredModel:
    """A registered model.

    Raises:
        UserError: If the registry has no such name; the message names those it has.
    """
    try:
        return client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code not in (
            "RESOURCE_DOES_NOT_EXIST",
            "INVALID_PARAMETER_VALUE",
            "PERMISSION_DENIED",
        ):
            raise
        known = [model.name for model in list_models(client)]
        if name in known:
            raise  # a server with users also forbids what does not exist
    names = ", ".join(known)
    raise UserError(f"the registry has no model {name!r}; it has {printable(names) or 'none'}")


def find_promotions(model: RegisteredModel | ModelVersion) -> tuple[Mapping[str, Any], ...]:
    """Records of the promotions of a model or of one version, oldest first."""
    records = {key: value for key, value in model.tags.items() if key.startswith(Tag.PROMOTION)}
    return tuple(_read(records, key, {}) | {"key": key} for key in sorted(records))


def search_versions(client: MlflowClient, wanted: str) -> list[ModelVersion]:
    """Every version that an MLflow filter selects, newest first."""
    versions: list[ModelVersion] = []
    token: str | None = None
    while token is None or token:
        page = client.search_model_versions(wanted, page_token=token)
        versions += page
        token = page.token or ""
    return sorted(versions, key=lambda version: -int(version.version))


def _versions(client: MlflowClient, name: str) -> list[ModelVersion]:
    quote = '"' if "'" in name else "'"
    return search_versions(client, f"name={quote}{name}{quote}")


def _describe(version: ModelVersion, aliases: Mapping[str, int]) -> RegisteredVersion:
    number = int(version.version)
    tags = {key: value for key, value in version.tags.items() if not key.startswith(Tag.PROMOTION)}
    return RegisteredVersion(
        name=version.name,
        version=number,
        aliases=tuple(sorted(alias for alias, target in aliases.items() if target == number)),
        created=datetime.fromtimestamp(version.creation_timestamp / 1000, UTC).isoformat(timespec="seconds"),
        run_id=version.run_id or None,
        status=version.status,
        evaluation=_read(tags, Tag.EVALUATION, {}),
        settings=_read(tags, Tag.SETTINGS, {}),
        licence=tags.get(Tag.LICENCE, NO_LICENCE),
        parents=tuple(map(str, _read(tags, Tag.PARENTS, []))),
        files={name: str(digest) for name, digest in _read(tags, Tag.FILES, {}).items()},
        promotions=find_promotions(version),
        tags={key: value for key, value in tags.items() if key not in _FIELDS},
    )


def _read(tags: Mapping[str, str], key: str, empty: _Container) -> _Container:
    """A tag's JSON; empty where there is none, or where somebody wrote something else there."""
    try:
        content = json.loads(tags.get(key, "null"))
    except (ValueError, RecursionError):
        return empty
    return content if isinstance(content, type(empty)) else empty
