"""``langpose evaluate``: the numbers of trained models."""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from langpose_dist.config import RunConfig, UserError, build_config, with_overrides
from langpose_dist.evaluation.protocols import PROTOCOLS, find_protocol
from langpose_dist.host.arguments import local_path
from langpose_dist.metrics.table import METRICS

_EXAMPLES = """examples:
  langpose evaluate runs/small
  langpose evaluate runs/small evaluation.conditions=[clean] --json
  langpose evaluate model.safetensors data.path=data/bandai --out evaluation.json
  langpose evaluate runs/scratch runs/finetuned --protocol virtual_camera data.path=data/bandai
  langpose evaluate FT_MB_release_MB_ft_h36m.bin --protocol motionbert data.path=data/h36m
  langpose evaluate models:/langpose-h36m@champion runs/new --protocol videopose3d --format latex

MODEL is the folder of a finished run, an exported model.safetensors, a MotionBERT checkpoint, or a model of
the registry (models:/NAME@ALIAS). Without --protocol one model is evaluated as in training, on the windows of
its validation split: exact, noisy and masked 2D input. With --protocol several stand in one table, the first
as the baseline of the others.

protocols:
""" + "\n".join(f"  {row.name:15} {row.title} ({row.space})" for row in PROTOCOLS.values())


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "evaluate",
        help="pose errors and label retrieval of trained models, by a protocol of the field",
        description="Evaluate trained models.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_EXAMPLES,
    )
    parser.add_argument("--protocol", metavar="NAME", help="how to evaluate; see below")
    parser.add_argument("--split", metavar="NAME", help="with --protocol: split to evaluate; default: test")
    parser.add_argument(
        "--format",
        choices=("text", "json", "csv", "latex"),
        help="with --protocol: what to print; default: text",
    )
    parser.add_argument(
        "--track", action="store_true", help="with --protocol: record numbers and tables in MLflow"
    )
    parser.add_argument(
        "--out", metavar="FILE", type=local_path, help="write the report as JSON to this file too"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument(
        "overrides",
        nargs="+",
        metavar="MODEL ... key=value",
        help="models to evaluate, and overrides, such as data.path=data/bandai",
    )
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """Evaluate and report."""
    names, overrides = _sort_words(arguments.overrides)
    if arguments.out is not None and (arguments.out.is_dir() or not arguments.out.parent.is_dir()):
        raise UserError(
            f"--out {arguments.out} must be a file in a folder that exists; this one does not exist"
        )
    by = _evaluate_one if arguments.protocol is None else _evaluate_by_protocol
    report, text = by(arguments, names, overrides)
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(report, indent=2), encoding="utf-8")
    print(json.dumps(report, indent=2) if arguments.json else text.rstrip("\n"))
    return 0


def _sort_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Models, and overrides, which are told by their ``=``."""
    overrides = [word for word in words if "=" in word and not Path(word).exists()]
    names = [word for word in words if word not in overrides]
    if not names:
        raise UserError("name a model: a run's folder, a model.safetensors or models:/NAME@ALIAS")
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"{twice[0]} is named twice")
    return names, overrides


def _evaluate_one(
    arguments: argparse.Namespace, names: Sequence[str], overrides: Sequence[str]
) -> tuple[Mapping[str, Any], str]:
    for option in ("split", "format", "track"):
        if getattr(arguments, option):
            raise UserError(f"--{option} needs --protocol NAME; choose one of {', '.join(PROTOCOLS)}")
    if len(names) > 1:
        raise UserError(
            f"{len(names)} models compare only by a protocol: add --protocol NAME, one of "
            f"{', '.join(PROTOCOLS)}"
        )
    from langpose_dist.tracking.registry.weights import find_weights
    from langpose_dist.train.evaluate_weights import evaluate_weights

    report = evaluate_weights(find_weights(names[0], _tracking_uri(overrides)), overrides).report
    return report, describe(report)


def _evaluate_by_protocol(
    arguments: argparse.Namespace, names: Sequence[str], overrides: Sequence[str]
) -> tuple[Mapping[str, Any], str]:
    protocol = find_protocol(arguments.protocol)

    from langpose_dist.evaluation.comparison import compare, score_all
    from langpose_dist.evaluation.contenders import open_contender
    from langpose_dist.evaluation.recordings import protocol_config
    from langpose_dist.evaluation.tables import ENDINGS, FORMATS
    from langpose_dist.host.environment import describe_environment
    from langpose_dist.tracking.registry.weights import find_weights

    uri = _tracking_uri(overrides)
    contenders = [open_contender(find_weights(name, uri), name) for name in names]
    base = next((one.config for one in contenders if one.config is not None), RunConfig())
    config = build_config(with_overrides(base.to_dict(), overrides))
    config = protocol_config(config, protocol, arguments.split or protocol.split)
    scored, corpus = score_all(contenders, protocol, config)
    environment = describe_environment()
    origin = {"commit": environment["git_commit"], "commit_dirty": environment["git_dirty"]}
    report = compare(scored, protocol, corpus, origin)
    text = FORMATS[arguments.format or "text"](report)
    if arguments.track:
        from langpose_dist.tracking.tables import record_table

        files = {f"table.{ENDINGS[name]}": render(report) for name, render in FORMATS.items()}
        text = f"{text.rstrip()}\nMLflow run: {record_table(report, files, config.tracking)}\n"
    return report, text


def _tracking_uri(overrides: Sequence[str]) -> str | None:
    content = with_overrides({}, [word for word in overrides if word.startswith("tracking.uri=")])
    return content.get("tracking", {}).get("uri")


def describe(report: Mapping[str, Any]) -> str:
    """The numbers as a table for a person."""
    rows = {
        **report["conditions"],
        "mean pose": report.get("mean_pose", {}),
        "chance": report.get("chance", {}),
    }
    given = {name for values in rows.values() for name in values}
    names = [row.name for row in METRICS.values() if row.name in given and row.kind in ("pose", "retrieval")]
    lines = [" ".join([f"{report['split']:12}", *(f"{name:>11}" for name in names)])]
    for title, values in rows.items():
        cells = [f"{values[name]:11.3f}" if name in values else f"{'-':>11}" for name in names]
        lines.append(" ".join([f"{title:12}", *cells]))
    labels = f", {report['num_labels']} labels" if "num_labels" in report else ""
    lines.append(
        f"{report['num_windows']} windows, {report['num_frames']} frames of {report['dataset']} "
        f"({report['data_fingerprint'][:16]}){labels}; 2D input: {report['source_2d']}; "
        f"configuration {report['config_hash']}, commit {report['commit'][:12]}"
    )
    return "\n".join(lines)
