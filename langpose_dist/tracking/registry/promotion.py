"""Promotion: an alias moves to a version only if it is no worse than the one that held it.

Every promotion leaves a record on the registered model and on the version, as tags: MLflow itself keeps no
history of an alias. The record is written before the alias moves, as *pending*, and becomes *done* after:
a crash in between leaves either a pending record without a move, or a move that the next call completes.
"""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from mlflow import MlflowClient

from langpose_dist.config import UserError
from langpose_dist.host.environment import user_name
from langpose_dist.host.redaction import redact
from langpose_dist.tracking.client import explained
from langpose_dist.tracking.registry.comparison import compare_metric, missing_metric, why_incomparable
from langpose_dist.tracking.registry.references import resolve
from langpose_dist.tracking.registry.versions import (
    CHAMPION,
    RegisteredVersion,
    Tag,
    check_alias,
    find_model,
    find_promotions,
    find_versions,
)

MAX_REASON_LENGTH = 500
_MAX_OBJECTIONS, _MAX_OBJECTION_LENGTH = 8, 160
"""Limits of the record: a registered model's tag holds 5,000 characters in PostgreSQL."""
_TIME_TO_PROMOTE = timedelta(minutes=2)
"""After which a pending record is of a promotion that ended before its time."""


@dataclass(frozen=True)
class Promotion:
    """One move of an alias."""

    name: str
    alias: str
    to_version: int
    from_version: int | None
    """Which held the alias before; ``None`` if none did."""
    metrics: Mapping[str, float | None]
    """Metrics of the promoted version that the gate compares."""
    replaced_metrics: Mapping[str, float | None]
    """The same of the version before."""
    tolerance: float
    user: str
    time: str
    """ISO 8601, UTC."""
    objections: tuple[str, ...] = ()
    """Objections of the gate that ``reason`` overrode."""
    reason: str | None = None
    """Why it was forced; ``None`` if it was not."""
    is_new: bool = True
    """False if the version held the alias already: nothing was done."""


def promote(
    client: MlflowClient,
    reference: str,
    alias: str = CHAMPION,
    *,
    metrics: Sequence[str],
    tolerance: float,
    force_reason: str | None = None,
) -> Promotion:
    """Give a version an alias if it is no worse than the version that has it.

    Args:
        client: From ``connect``.
        reference: Of the version.
        alias: To give.
        metrics: Names of those to compare, such as ``masked/mpjpe_mm``.
        tolerance: Share of the present value by which the new one may be worse.
        force_reason: Why to do it even if the gate objects; recorded.

    Raises:
        UserError: If the gate objects, with every reason; if the reason is empty; if another promotion of the
            alias came in between. Nothing is written then.
    """
    check_alias(alias)
    if force_reason is not None and not 0 < len(force_reason.strip()) <= MAX_REASON_LENGTH:
        raise UserError(f"a forced promotion needs a reason of 1 to {MAX_REASON_LENGTH} characters")
    version = resolve(client, reference)
    holder = _find_holder(client, version.name, alias)
    if holder is not None and holder.version == version.version:
        with explained(f"the promotion of {version.label} cannot be recorded"):
            _complete_pending(client, version, alias)
        return _describe(version, None, alias, metrics, tolerance, (), None, is_new=False)
    objections = tuple(find_objections(version, holder, metrics, tolerance))
    if objections and force_reason is None:
        place = f"{version.name}@{alias}" + (f" ({holder.label})" if holder else "")
        raise UserError(
            f"{version.label} is not promoted to {place}: {'; '.join(objections)}; "
            "--force --reason TEXT overrides this"
        )
    promotion = _describe(version, holder, alias, metrics, tolerance, objections, force_reason)
    with explained(f"{version.label} cannot be promoted"):
        _move(client, promotion)
    return promotion


def find_objections(
    version: RegisteredVersion, holder: RegisteredVersion | None, metrics: Sequence[str], tolerance: float
) -> list[str]:
    """Every reason against putting a version in a holder's place; empty if the gate lets it pass."""
    if holder is None:
        found = [missing_metric(name, version) for name in metrics]
    else:
        found = [*why_incomparable(version, holder)]
        found += [compare_metric(name, version, holder, tolerance) for name in metrics]
    return [reason for reason in found if reason is not None]


def list_promotions(client: MlflowClient, name: str) -> tuple[Mapping[str, Any], ...]:
    """Records of every promotion within a registered model, oldest first.

    Raises:
        UserError: If the registry has no such name.
    """
    with explained("the registry cannot be read"):
        return find_promotions(find_model(client, name))


def _find_holder(client: MlflowClient, name: str, alias: str) -> RegisteredVersion | None:
    with explained("the registry cannot be read"):
        if alias not in find_model(client, name).aliases:
            return None
    return next(iter(find_versions(client, name, alias)), None)


def _describe(
    version: RegisteredVersion,
    holder: RegisteredVersion | None,
    alias: str,
    metrics: Sequence[str],
    tolerance: float,
    objections: tuple[str, ...],
    reason: str | None,
    *,
    is_new: bool = True,
) -> Promotion:
    return Promotion(
        name=version.name,
        alias=alias,
        to_version=version.version,
        from_version=holder.version if holder else None,
        metrics={name: version.metrics.get(name) for name in metrics},
        replaced_metrics={name: holder.metrics.get(name) for name in metrics} if holder else {},
        tolerance=tolerance,
        user=user_name(),
        time=datetime.now(UTC).isoformat(timespec="microseconds"),
        objections=tuple(text[:_MAX_OBJECTION_LENGTH] for text in objections[:_MAX_OBJECTIONS]),
        reason=redact(" ".join(reason.split())) if reason and objections else None,
        is_new=is_new,
    )


def _move(client: MlflowClient, promotion: Promotion) -> None:
    """Write the record, move the alias, and see that both still hold."""
    name, alias = promotion.name, promotion.alias
    # In order of time, and no two the same.
    moment = datetime.fromisoformat(promotion.time).strftime("%Y%m%dT%H%M%S.%f")
    key = f"{Tag.PROMOTION}{moment}-{secrets.token_hex(3)}"
    client.set_registered_model_tag(name, key, _record(promotion, "pending"))
    # The registry cannot compare and set. But of two that first say what they will do and then look around,
    # at least one sees the other.
    if _other_is_under_way(client, key, promotion):
        client.delete_registered_model_tag(name, key)
        raise UserError(
            f"{name}@{alias} is being promoted by another at this moment; look at langpose registry show "
            f"{name} and try again"
        )
    client.set_registered_model_alias(name, alias, str(promotion.to_version))
    now = int(client.get_registered_model(name).aliases.get(alias, 0))
    if now != promotion.to_version:
        client.set_registered_model_tag(name, key, _record(promotion, "overtaken"))
        raise UserError(f"another promotion came in between: {name}@{alias} is version {now or 'none'} now")
    _complete(client, name, promotion.to_version, key, _record(promotion, "done"))


def _other_is_under_way(client: MlflowClient, key: str, promotion: Promotion) -> bool:
    model = client.get_registered_model(promotion.name)
    if int(model.aliases.get(promotion.alias, 0)) != (promotion.from_version or 0):
        return True
    oldest = (datetime.fromisoformat(promotion.time) - _TIME_TO_PROMOTE).isoformat(timespec="microseconds")
    return any(
        record["key"] != key
        and record.get("alias") == promotion.alias
        and record.get("state") == "pending"
        # One of the same version ended before its time, and this one does its work.
        and record.get("to_version") != promotion.to_version
        and str(record.get("time")) > oldest
        for record in find_promotions(model)
    )


def _complete_pending(client: MlflowClient, version: RegisteredVersion, alias: str) -> None:
    """Finish the record of the promotion that moved the alias here and then ended before its time."""
    records = [
        record for record in find_promotions(find_model(client, version.name)) if record.get("alias") == alias
    ]
    # Only the last one can have moved it.
    for record in records[-1:]:
        if record.get("state") == "pending" and record.get("to_version") == version.version:
            content = {name: value for name, value in record.items() if name != "key"} | {"state": "done"}
            _complete(
                client, version.name, version.version, record["key"], json.dumps(content, ensure_ascii=False)
            )


def _complete(client: MlflowClient, name: str, version: int, key: str, record: str) -> None:
    client.set_model_version_tag(name, str(version), key, record)
    client.set_registered_model_tag(name, key, record)


def _record(promotion: Promotion, state: str) -> str:
    content: dict[str, Any] = {
        name: value for name, value in asdict(promotion).items() if name not in ("name", "is_new")
    }
    return json.dumps({"state": state, **content}, ensure_ascii=False)
