"""``langpose analyse recognise`` and ``retrieve``: what a model knows of motion in words."""

import argparse
from collections.abc import Mapping
from typing import Any

from langpose_dist.cli.probe import open_models
from langpose_dist.config import UserError
from langpose_dist.data.labels import normalise_label
from langpose_dist.host.arguments import count, whole_number

_VALIDATION = "validation"


def add_recognise_options(parser: argparse.ArgumentParser) -> None:
    """Options of ``recognise``."""
    parser.add_argument(
        "overrides",
        nargs="+",
        metavar="MODEL ... key=value",
        help="runs, exported models, MotionBERT's weights; and overrides, such as data.path=data/babel",
    )
    text = (
        "babel-60, babel-120, a file with a name on each line, or labels: the training split's categories, "
        "or its labels where the data have none; default: babel-60"
    )
    parser.add_argument("--classes", metavar="NAME", default="babel-60", help=text)
    text = "with --classes labels: fewest training samples of a class; default: 5"
    parser.add_argument("--min-samples", type=count, metavar="N", default=5, help=text)
    text = "by the names of the classes, by a probe that is trained on features, or both (default)"
    parser.add_argument(
        "--method", nargs="+", choices=("text", "linear"), default=["text", "linear"], help=text
    )
    text = "split that the probe is trained on; default: train"
    parser.add_argument("--train-split", metavar="NAME", default="train", help=text)
    parser.add_argument("--split", metavar="NAME", default=_VALIDATION, help=f"default: {_VALIDATION}")
    text = "of the random encoder and of the probe's choice; default: 0"
    parser.add_argument("--seed", type=whole_number, metavar="N", default=0, help=text)
    text = "show models each chunk alone, without the motion around it, as BABEL's benchmark does"
    parser.add_argument("--isolated", action="store_true", help=text)


def measure_recognise(arguments: argparse.Namespace) -> Mapping[str, Any]:
    """The report of ``recognise``."""
    from langpose_dist.analysis.recognise import RecognitionOptions, measure_recognition

    contenders, config = open_models(arguments.overrides)
    options = RecognitionOptions(
        classes=arguments.classes,
        methods=arguments.method,
        train_split=arguments.train_split,
        split=arguments.split,
        min_samples=arguments.min_samples,
        seed=arguments.seed,
        isolated=arguments.isolated,
    )
    return measure_recognition(contenders, config, options)


def add_retrieve_options(parser: argparse.ArgumentParser) -> None:
    """Options of ``retrieve``."""
    parser.add_argument(
        "overrides",
        nargs="+",
        metavar="MODEL ... key=value",
        help="pretrained models with a text side; and overrides, such as data.path=data/kit",
    )
    text = "text to look for; may be given again; without it, labelled spans are retrieved by their labels"
    parser.add_argument("--query", action="append", metavar="TEXT", help=text)
    text = "with --query: clips to show; default: 5"
    parser.add_argument("--top", type=count, metavar="K", default=5, help=text)
    parser.add_argument("--split", metavar="NAME", default=_VALIDATION, help=f"default: {_VALIDATION}")
    text = "of the small batches; default: 0"
    parser.add_argument("--seed", type=whole_number, metavar="N", default=0, help=text)


def measure_retrieve(arguments: argparse.Namespace) -> Mapping[str, Any]:
    """The report of ``retrieve``."""
    from langpose_dist.analysis.retrieve import find_motions, measure_retrieval

    contenders, config = open_models(arguments.overrides)
    if arguments.query is None:
        return measure_retrieval(contenders, config, arguments.split, arguments.seed)
    if len(contenders) > 1:
        raise UserError(f"--query looks with one model, not with {len(contenders)}")
    if blank := [query for query in arguments.query if not normalise_label(query)]:
        raise UserError(f"--query {blank[0]!r} is no text")
    return find_motions(contenders[0], config, arguments.split, arguments.query, arguments.top)
