"""``langpose registry``: look registered models up."""

import argparse
import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from langpose_dist.config import TrackingConfig

if TYPE_CHECKING:
    from langpose_dist.tracking.registry import RegisteredName, RegisteredVersion

_EXAMPLES = """examples:
  langpose registry list
  langpose registry show langpose-small
  langpose registry show langpose-small@candidate --json
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "registry",
        help="look registered models up",
        description="Look models up in the MLflow registry.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_EXAMPLES,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    listing = commands.add_parser("list", help="every registered model with its versions and aliases")
    _add_common_arguments(listing)
    listing.set_defaults(handler=_list)

    show = commands.add_parser("show", help="versions of a model: aliases, run, tags and metrics")
    show.add_argument("model", metavar="NAME[@ALIAS]", help="a registered name, or one alias of it")
    _add_common_arguments(show)
    show.set_defaults(handler=_show)


def _add_common_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tracking-uri",
        metavar="URI",
        help=f"MLflow's address; default: MLFLOW_TRACKING_URI, or {TrackingConfig().uri}",
    )
    parser.add_argument("--json", action="store_true", help="report as JSON")


def _list(arguments: argparse.Namespace) -> int:
    from langpose_dist.tracking.client import connect, resolve_uri
    from langpose_dist.tracking.registry import list_models

    models = list_models(connect(resolve_uri(arguments.tracking_uri), create=False))
    if arguments.json:
        print(json.dumps([dataclasses.asdict(model) for model in models], indent=2))
    else:
        print(_table(models))
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from langpose_dist.tracking.client import connect, resolve_uri
    from langpose_dist.tracking.registry import find_versions

    name, _, alias = arguments.model.partition("@")
    client = connect(resolve_uri(arguments.tracking_uri), create=False)
    versions = find_versions(client, name, alias or None)
    if arguments.json:
        print(json.dumps([dataclasses.asdict(version) for version in versions], indent=2))
    else:
        print("\n\n".join(_describe(version) for version in versions) or f"{name} has no versions")
    return 0


def _table(models: "Sequence[RegisteredName]") -> str:
    if not models:
        return "no models are registered"
    rows = [("name", "versions", "aliases")]
    for model in models:
        aliases = ", ".join(f"{alias}={version}" for alias, version in model.aliases.items())
        rows.append((model.name, ", ".join(map(str, model.versions)), aliases))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _describe(version: "RegisteredVersion") -> str:
    lines = [
        f"{version.name}/{version.version}",
        f"  aliases: {', '.join(version.aliases) or 'none'}",
        f"  created: {version.created}",
        f"  run: {version.run_id or 'none'}",
        f"  status: {version.status}",
        *(f"  {key}: {value}" for key, value in sorted(version.tags.items())),
    ]
    if version.metrics:
        width = max(map(len, version.metrics))
        lines.append("  metrics:")
        lines += [f"    {name.ljust(width)}  {value:.6g}" for name, value in sorted(version.metrics.items())]
    return "\n".join(lines)
