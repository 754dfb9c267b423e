"""How a person names a registered model: by alias, by version, or by the run that made it."""

import re
from dataclasses import dataclass

from mlflow import MlflowClient

from langpose_dist.config import UserError
from langpose_dist.host.redaction import printable
from langpose_dist.tracking.client import explained
from langpose_dist.tracking.registry.versions import RegisteredVersion, find_versions, find_versions_of_run
from langpose_dist.tracking.runs import find_named_run

FORMS = "NAME@ALIAS, NAME/VERSION, models:/ before either, runs:/RUN_ID or a run id"

_RUN = re.compile(r"(?:runs:/)?([0-9a-f]{32})")
_MODEL = re.compile(r"(?:models:/)?(?P<name>[^/@:]+)(?:@(?P<alias>[\w-]+)|/(?P<version>[0-9]+))?")


@dataclass(frozen=True)
class Reference:
    """A reference taken apart; either a name with at most one of alias and version, or a run."""

    name: str = ""
    alias: str | None = None
    version: int | None = None
    run_id: str | None = None


def parse_reference(text: str) -> Reference:
    """Take a reference apart.

    Args:
        text: ``NAME``, ``NAME@ALIAS``, ``NAME/VERSION``, each also with ``models:/`` before it;
            ``runs:/RUN_ID`` or 32 hex digits.

    Raises:
        UserError: If it has none of these forms.
    """
    if run := _RUN.fullmatch(text):
        return Reference(run_id=run[1])
    model = _MODEL.fullmatch(text)
    if model is None or not model["name"].strip():
        raise UserError(f"{text!r} is no reference to a model; write {FORMS}")
    version = model["version"]
    return Reference(model["name"], model["alias"], int(version) if version is not None else None)


def find_referenced(client: MlflowClient, text: str) -> list[RegisteredVersion]:
    """All versions that a reference means, newest first: with a bare name every version of it.

    Raises:
        UserError: If the registry has none; the message names what it has.
    """
    reference = parse_reference(text)
    if reference.run_id is not None:
        return _find_of_run(client, reference.run_id)
    return find_versions(client, reference.name, reference.alias, reference.version)


def resolve(client: MlflowClient, text: str) -> RegisteredVersion:
    """The one version that a reference means.

    Raises:
        UserError: If there is none, or more than one.
    """
    found = find_referenced(client, text)
    if len(found) == 1 and parse_reference(text) != Reference(found[0].name):
        return found[0]
    known = ", ".join(
        [version.label for version in found]
        + [f"{version.name}@{alias}" for version in found for alias in version.aliases]
    )
    raise UserError(
        f"{text} does not say which version; choose one of {printable(known) or 'none: it has no versions'}"
    )


def _find_of_run(client: MlflowClient, run_id: str) -> list[RegisteredVersion]:
    found = find_versions_of_run(client, run_id)
    if found:
        return found
    with explained(f"run {run_id} cannot be looked up"):
        # What the weights say of their run is its own name, given before the store had one for it.
        run = find_named_run(client, run_id)
    if run is None:
        raise UserError(f"the tracking store has no run {run_id}")
    found = find_versions_of_run(client, run.info.run_id)
    if not found:
        raise UserError(f"run {run_id} has registered no model; langpose registry register RUN_DIR does that")
    return found
