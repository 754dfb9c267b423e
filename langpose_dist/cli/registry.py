"""``langpose registry``: register, look up, promote and fetch models."""

import argparse
import dataclasses
import json
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from langpose_dist.cli import registry_replay
from langpose_dist.cli.evaluate import compare_models
from langpose_dist.cli.registry_tables import (
    describe_promotion,
    describe_version,
    name_table,
)
from langpose_dist.config import TrackingConfig, UserError, load_config
from langpose_dist.host.arguments import local_path, place
from langpose_dist.host.redaction import presentable, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langpose_dist.tracking.registry.promotion import Promotion
    from langpose_dist.tracking.registry.versions import RegisteredVersion

_EXAMPLES = """examples:
  langpose registry list
  langpose registry show langpose-small
  langpose registry show langpose-small@candidate --json
  langpose registry register runs/small --name langpose-small
  langpose registry promote langpose-small@candidate
  langpose registry pull langpose-small@champion models/champion

A model is named by NAME@ALIAS, NAME/VERSION, models:/ before either, or the run that made it.
"""
EXIT_REFUSED = 3
"""Exit status of a promotion that the gate refuses; an error of the program has 1."""
_METRICS = "registry.metrics="
_REFERENCE = "NAME@ALIAS, NAME/VERSION, models:/..., or a run's id"


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "registry",
        help="register, look up, promote and fetch models",
        description="The models in the MLflow registry.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_EXAMPLES,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    registry_replay.add_parser(commands)

    listing = commands.add_parser("list", help="every registered model with its versions and aliases")
    _add_common_arguments(listing)
    listing.set_defaults(handler=_list)

    show = commands.add_parser("show", help="what versions were made from, their numbers and promotions")
    show.add_argument("model", metavar="MODEL", help=f"NAME for all its versions, {_REFERENCE}")
    show.add_argument("--hashes", action="store_true", help="also the SHA-256 of every file")
    _add_common_arguments(show)
    show.set_defaults(handler=_show)

    register = commands.add_parser(
        "register",
        help="register the weights of a finished run",
        description="Register the weights of a finished run, by default where the run was recorded. Doing it "
        "again makes no second version.",
    )
    register.add_argument("run_dir", metavar="RUN_DIR", type=local_path, help="folder of the run")
    register.add_argument("--name", required=True, help="name in the registry; created where it is new")
    register.add_argument("--alias", default="candidate", help="set on the version; default: candidate")
    register.add_argument(
        "--licence", metavar="TEXT", help="licence of the training data; default: data.licence of the run"
    )
    _add_common_arguments(
        register, f"MLFLOW_TRACKING_URI, or where the run was recorded, or {TrackingConfig().uri}"
    )
    register.set_defaults(handler=_register)

    promote = commands.add_parser(
        "promote",
        help="give a version an alias, if it is no worse than the one that has it",
        description="Compares the metrics of registry.metrics; refuses a model that is worse by more than "
        "registry.tolerance, or whose numbers measure something else. With --protocol both are evaluated "
        "first, and their mean MPJPE decides.",
        epilog="Exit status: 0 it has the alias; 3 the gate refuses it, with every reason; 2 a mistake.",
    )
    promote.add_argument("model", metavar="MODEL", help=_REFERENCE)
    promote.add_argument(
        "overrides", nargs="*", metavar="key=value", help="override, such as registry.tolerance=0.01"
    )
    promote.add_argument(
        "--protocol",
        metavar="NAME",
        help="evaluate both by it first, on data.path=...; see langpose evaluate",
    )
    promote.add_argument("--split", metavar="NAME", help="with --protocol: split to evaluate; default: test")
    promote.add_argument("--alias", default="champion", help="alias to give; default: champion")
    promote.add_argument(
        "--config", metavar="FILE", type=local_path, help="configuration with a section registry"
    )
    promote.add_argument("--force", action="store_true", help="promote whatever the gate says")
    promote.add_argument("--reason", metavar="TEXT", help="why it is forced; recorded")
    _add_common_arguments(promote)
    promote.set_defaults(handler=_promote)

    pull = commands.add_parser("pull", help="fetch a version into a folder and verify every hash")
    pull.add_argument("model", metavar="MODEL", help=_REFERENCE)
    pull.add_argument("folder", metavar="FOLDER", type=local_path, help="new folder for its files")
    _add_common_arguments(pull)
    pull.set_defaults(handler=_pull)


def _add_common_arguments(
    parser: argparse.ArgumentParser, default: str = f"MLFLOW_TRACKING_URI, or {TrackingConfig().uri}"
) -> None:
    parser.add_argument(
        "--tracking-uri", type=place, metavar="URI", help=f"MLflow's address; default: {default}"
    )
    parser.add_argument("--json", action="store_true", help="report as JSON")


def _connect(arguments: argparse.Namespace, *, create: bool = False) -> Any:
    """MLflow's client."""
    from langpose_dist.tracking.client import connect, resolve_uri

    return connect(resolve_uri(arguments.tracking_uri), create=create)


def _list(arguments: argparse.Namespace) -> int:
    from langpose_dist.tracking.registry.versions import list_models

    models = list_models(_connect(arguments))
    if arguments.json:
        print(json.dumps([dataclasses.asdict(model) for model in models], indent=2))
    else:
        print(name_table(models))
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from langpose_dist.tracking.registry.promotion import list_promotions
    from langpose_dist.tracking.registry.references import find_referenced, parse_reference

    client = _connect(arguments)
    versions = find_referenced(client, arguments.model)
    reference = parse_reference(arguments.model)
    is_whole = reference.name and reference.alias is None and reference.version is None
    history = list_promotions(client, reference.name) if is_whole else ()
    if arguments.json:
        content = [version.to_dict() for version in versions]
        print(json.dumps(content, indent=2))
        return 0
    texts = [describe_version(version, with_hashes=arguments.hashes) for version in versions]
    if history:
        texts.append("\n".join(["promotions:", *(f"  {describe_promotion(record)}" for record in history)]))
    print("\n\n".join(texts) or f"{arguments.model} has no versions")
    return 0


def _register(arguments: argparse.Namespace) -> int:
    from langpose_dist.tracking.client import expect_large_files
    from langpose_dist.tracking.finished import choose_uri, register_run_folder

    expect_large_files()
    arguments.tracking_uri = choose_uri(arguments.run_dir, arguments.tracking_uri)
    registered = register_run_folder(
        _connect(arguments, create=True),
        arguments.run_dir,
        name=arguments.name,
        alias=arguments.alias,
        licence=arguments.licence,
    )
    if arguments.json:
        print(json.dumps({"registered": registered, "alias": arguments.alias}))
    else:
        print(f"registered: {registered}")
    return 0


def _promote(arguments: argparse.Namespace) -> int:
    from langpose_dist.tracking.registry.promotion import PromotionRefused, promote

    if arguments.force != (arguments.reason is not None):
        raise UserError("--force and --reason TEXT go together: a forced promotion records why")
    if arguments.split and not arguments.protocol:
        raise UserError("--split needs --protocol NAME")
    if arguments.protocol and (arguments.config or any(_METRICS in word for word in arguments.overrides)):
        raise UserError(
            "with --protocol the mean MPJPE decides: leave out --config and registry.metrics; "
            "registry.tolerance=... stands after the model"
        )
    gate = load_config(arguments.config, arguments.overrides).registry
    by_protocol = arguments.protocol is not None
    try:
        promotion = promote(
            _connect(arguments),
            arguments.model,
            arguments.alias,
            metrics=[f"{arguments.protocol}/mpjpe_mm"] if by_protocol else gate.metrics,
            tolerance=gate.tolerance,
            force_reason=arguments.reason,
            measure=partial(_measure, arguments) if by_protocol else None,
        )
    except PromotionRefused as refusal:
        print(f"langpose: {presentable(str(refusal))}", file=sys.stderr)
        return EXIT_REFUSED
    if arguments.json:
        print(json.dumps(dataclasses.asdict(promotion), indent=2))
    else:
        print(_say_promotion(promotion))
    return 0


def _measure(
    arguments: argparse.Namespace, versions: "Sequence[RegisteredVersion]"
) -> "list[RegisteredVersion]":
    """The versions with the numbers of an evaluation by the protocol."""
    names = [f"models:/{version.name}/{version.version}" for version in versions]
    report = compare_models(
        names, arguments.overrides, arguments.protocol, arguments.split, tracking_uri=arguments.tracking_uri
    ).report
    protocol, data = report["protocol"], report["data"]
    origin = {
        "protocol": protocol,
        "space": protocol["space"],
        "split": data["split"],
        "source_2d": data["source_2d"],
        "data_fingerprint": data["fingerprint"],
    }
    return [
        dataclasses.replace(
            version,
            evaluation=origin
            | {
                "num_windows": found["num_recordings"],
                "conditions": {arguments.protocol: found[f"{protocol['group']}_mean"]},
            },
            settings={"protocol": arguments.protocol},
        )
        for version, found in zip(versions, report["models"], strict=True)
    ]


def _say_promotion(promotion: "Promotion") -> str:
    label, place = f"{promotion.name}/{promotion.to_version}", f"{promotion.name}@{promotion.alias}"
    if not promotion.is_new:
        return f"{label} is {place} already"
    before = f", which was version {promotion.from_version}" if promotion.from_version else ""
    forced = f"; forced against: {'; '.join(promotion.objections)}" if promotion.reason else ""
    return printable(f"{label} is {place} now{before}{forced}")


def _pull(arguments: argparse.Namespace) -> int:
    from langpose_dist.tracking.registry.pull import pull

    pulled = pull(_connect(arguments), arguments.model, arguments.folder)
    if arguments.json:
        content = {"version": pulled.version.label, "weights": str(pulled.weights), "is_new": pulled.is_new}
        print(json.dumps(content))
    else:
        print(f"{pulled.version.label}: {'' if pulled.is_new else 'already there, '}verified")
        print(printable(str(pulled.weights)))
    return 0
