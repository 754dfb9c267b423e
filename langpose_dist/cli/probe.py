"""``langpose analyse probe``: whether motions are nearer to their own label than to another."""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from langpose_dist.cli.evaluate import sort_words, tracking_uri_of
from langpose_dist.config import RunConfig, UserError
from langpose_dist.host.arguments import count

if TYPE_CHECKING:
    from langpose_dist.evaluation.contenders import Contender


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the command, but for ``--out`` and ``--json``."""
    parser.add_argument(
        "overrides",
        nargs="+",
        metavar="MODEL ... key=value",
        help="pretrained models, and overrides, such as data.path=data/babel",
    )
    parser.add_argument("--split", metavar="NAME", default="validation", help="default: validation")
    text = "such as 'sit down/stand up,walk/run'; default: all pairs of frequent labels"
    parser.add_argument("--pairs", metavar="LIST", help=text)
    text = "spans that make a label frequent; default: 20"
    parser.add_argument("--min-spans", type=count, metavar="N", default=20, help=text)
    parser.add_argument(
        "--isolated", action="store_true", help="show the model each span alone, without the motion around it"
    )
    text = "draw one clip over time into --out, a .png or .svg, by one model; CLIP is its key, of any split"
    parser.add_argument("--picture", metavar="CLIP", help=text)
    parser.add_argument("--labels", metavar="LIST", help="with --picture: two or more, with commas between")


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """The report on all labelled spans.

    Raises:
        UserError: If a model or the data cannot be probed.
    """
    from langpose_dist.analysis.embeddings import SpanSet
    from langpose_dist.analysis.pairs import parse_pairs
    from langpose_dist.analysis.probe import measure_probe

    if arguments.labels is not None:
        raise UserError("--labels goes with --picture CLIP; --pairs names pairs to measure")
    pairs = None if arguments.pairs is None else parse_pairs(arguments.pairs)
    contenders, config = open_models(arguments.overrides)
    spans = SpanSet.open(config, arguments.split)
    return measure_probe(
        contenders, spans, pairs=pairs, min_spans=arguments.min_spans, isolated=arguments.isolated
    )


def draw(arguments: argparse.Namespace) -> dict[str, Any]:
    """The report on one clip, which is drawn.

    Raises:
        UserError: If the words do not say what to draw, or the model or the clip cannot be used.
    """
    from langpose_dist.analysis.curve import measure_curve
    from langpose_dist.inference.labels import parse_labels
    from langpose_dist.models.tokens import load_tokenizer
    from langpose_dist.report.analysis import draw_curve
    from langpose_dist.tasks.labels import describe_labels

    out = arguments.out
    if arguments.labels is None or out is None or out.suffix not in (".png", ".svg"):
        raise UserError("--picture CLIP needs --labels 'sit down,stand up' and --out FILE.png or FILE.svg")
    labels = parse_labels(arguments.labels)
    contenders, config = open_models(arguments.overrides)
    if len(contenders) > 1:
        raise UserError(f"--picture shows one model, not {len(contenders)}")
    report = measure_curve(contenders[0], config, arguments.picture, labels, isolated=arguments.isolated)
    notes = list(describe_labels(labels, load_tokenizer(config.text), config.text))
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    draw_curve(out, report)
    return report | {"notes": notes} | commit()


def open_models(words: Sequence[str]) -> tuple[list["Contender"], RunConfig]:
    """Models by name, on the fastest device, and the first one's configuration with the overrides.

    Raises:
        UserError: If there is no such model, or an override is a mistake.
    """
    import torch

    from langpose_dist.evaluation.contenders import open_contender
    from langpose_dist.tasks.exported import override_config
    from langpose_dist.tracking.registry.weights import find_weights

    names, overrides = sort_words(words)
    uri = tracking_uri_of(overrides)
    contenders = [open_contender(find_weights(name, uri), name) for name in names]
    base = next((one.config for one in contenders if one.config is not None), RunConfig())
    config = override_config(base, overrides)
    device = "cuda" if torch.cuda.is_available() and config.train.device != "cpu" else "cpu"
    for one in contenders:
        one.model.to(device)
    return contenders, config


def commit() -> dict[str, Any]:
    """Version of the program, for a report."""
    from langpose_dist.host.environment import describe_environment

    environment = describe_environment()
    return {"commit": environment["git_commit"], "commit_dirty": environment["git_dirty"]}
