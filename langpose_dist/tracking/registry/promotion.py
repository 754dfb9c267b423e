"""Promotion: an alias moves to a version only if it is no worse than the one that held it.

Every promotion leaves a record on the registered model and on the version, as tags: MLflow itself keeps no
history of an alias. The record is written before the alias moves, as *pending*, and becomes *done* after.
"""

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
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

Measure = Callable[[Sequence[RegisteredVersion]], Sequence[RegisteredVersion]]
"""Evaluates versions anew, all on the same data; returns them with those numbers in ``evaluation``."""
MAX_REASON_LENGTH = 500
_MAX_OBJECTIONS, _MAX_OBJECTION_LENGTH = 8, 160
"""Limits of the record: a registered model's tag holds 5,000 characters in PostgreSQL."""


class PromotionRefused(UserError):
    """The gate objects to a version."""


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
    measure: Measure | None = None,
) -> Promotion:
    """Give a version an alias if it is no worse than the version that has it.

    Args:
        client: From ``connect``.
        reference: Of the version.
        alias: To give.
        metrics: Names of those to compare, such as ``masked/mpjpe_mm``.
        tolerance: Share of the present value by which the new one may be worse.
        force_reason: Why to do it even if the gate objects; recorded.
        measure: Evaluates both now; default: the numbers that were recorded with them.

    Raises:
        PromotionRefused: If the gate objects, with every reason. Nothing is written then.
        UserError: If the reason is empty, or the registry does not answer.
    """
    check_alias(alias)
    if force_reason is not None and not 0 < len(force_reason.strip()) <= MAX_REASON_LENGTH:
        raise UserError(f"a forced promotion needs a reason of 1 to {MAX_REASON_LENGTH} characters")
    version = resolve(client, reference)
    holder = _find_holder(client, version.name, alias)
    if holder is not None and holder.version == version.version:
        return _describe(version, None, alias, metrics, tolerance, (), None, is_new=False)
    if measure is not None:
        version, *others = measure([version, holder] if holder else [version])
        holder = others[0] if others else None
    objections = tuple(find_objections(version, holder, metrics, tolerance))
    if objections and force_reason is None:
        place = f"{version.name}@{alias}" + (f" ({holder.label})" if holder else "")
        raise PromotionRefused(
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
    name = promotion.name
    # In order of time, and no two the same.
    moment = datetime.fromisoformat(promotion.time).strftime("%Y%m%dT%H%M%S.%f")
    key = f"{Tag.PROMOTION}{moment}-{secrets.token_hex(3)}"
    client.set_registered_model_tag(name, key, _record(promotion, "pending"))
    client.set_registered_model_alias(name, promotion.alias, str(promotion.to_version))
    client.set_model_version_tag(name, str(promotion.to_version), key, _record(promotion, "done"))
    client.set_registered_model_tag(name, key, _record(promotion, "done"))


def _record(promotion: Promotion, state: str) -> str:
    content: dict[str, Any] = {
        name: value for name, value in asdict(promotion).items() if name not in ("name", "is_new")
    }
    return json.dumps({"state": state, **content}, ensure_ascii=False)
