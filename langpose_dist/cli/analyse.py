"""``langpose analyse``: what the paper's supplement analysed, with the intervals that it leaves out."""

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from langpose_dist.cli import analyse_words, probe
from langpose_dist.cli.evaluate import compare_models, sort_words, tracking_uri_of
from langpose_dist.config import RunConfig, UserError, with_overrides
from langpose_dist.host.arguments import count, local_path, place, positive_number

_EXAMPLES = """examples:
  langpose analyse mmd data/h36m data/h36m --by action
  langpose analyse mmd data/h36m data/babel --by action --against all
  langpose analyse mmd data/a data/b --split train
  langpose analyse table3
  langpose analyse table3 runs/scratch runs/pretrained --protocol motionbert data.path=data/h36m \\
      --other data/babel --out reports/table3.json
  langpose analyse table3 reports/evaluation.json data.path=data/h36m
  langpose analyse visibility data/h36m --split test
  langpose analyse probe runs/infonce runs/modified data.path=data/babel --out reports/probe.json
  langpose analyse probe runs/modified --pairs "sit down/stand up,walk forward/walk backward"
  langpose analyse probe runs/modified --picture CLIP --labels "sit down,stand up" --out sitting.svg
  langpose analyse recognise runs/pretrain MB_pretrain.bin data.path=data/babel --classes babel-120
  langpose analyse recognise runs/zero-shot data.path=data/babel --method text
  langpose analyse recognise runs/pretrain data.path=data/bandai --classes labels --split test
  langpose analyse retrieve runs/pretrain data.path=data/kit --split test
  langpose analyse retrieve runs/pretrain data.path=data/h36m --query "a person sits down" --query waves

docs/analysis.md says what the numbers are.
"""
_SPLIT = "test"
_TRAIN = "train"


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``analyse`` and its commands."""
    options: dict[str, Any] = {
        "formatter_class": argparse.RawDescriptionHelpFormatter,
        "epilog": _EXAMPLES,
    }
    text = "distances between data sets, what goes along with an improvement, visibility, labels"
    parser = subparsers.add_parser("analyse", help=text, **options)
    commands = parser.add_subparsers(title="analyses", dest="analysis", metavar="ANALYSIS", required=True)

    text = "squared MMD between the motions of two splits, with test and interval over clips"
    mmd = commands.add_parser("mmd", help=text, **options)
    _add_mmd_options(mmd)

    text = "improvement by action beside MMD and visibility, with rank correlations"
    table3 = commands.add_parser(
        "table3", help=text, description="Without models: the supplement's own 15 rows.", **options
    )
    _add_table3_options(table3)

    text = "share of joints that a detector saw, by action and joint"
    visibility = commands.add_parser("visibility", help=text, **options)
    visibility.add_argument("data", metavar="FOLDER", type=place, help="folder or URL of shards")
    visibility.add_argument("--split", metavar="NAME", default=_SPLIT, help=f"default: {_SPLIT}")

    text = "action recognition by the names of classes and by a linear probe, as BABEL counts it"
    recognise = commands.add_parser("recognise", help=text, **options)
    analyse_words.add_recognise_options(recognise)

    text = "motion retrieval by text: TMR's protocols on labelled spans, or clips for a query of one's own"
    retrieve = commands.add_parser("retrieve", help=text, **options)
    analyse_words.add_retrieve_options(retrieve)

    text = "how well motions know their own label from another, by pairs of labels; or one clip over time"
    probing = commands.add_parser("probe", help=text, **options)
    probe.add_options(probing, _SPLIT)

    handlers = {mmd: run_mmd, table3: run_table3, visibility: run_visibility, probing: run_probe}
    handlers |= {recognise: run_recognise, retrieve: run_retrieve}
    notes = {
        table3: ", and scatter plots beside it, as FILE-table3.png",
        probing: "; with --picture the picture",
    }
    for command, handler in handlers.items():
        more = notes.get(command, "")
        command.add_argument(
            "--out", metavar="FILE", type=local_path, help=f"write the report as JSON to this file too{more}"
        )
        command.add_argument("--json", action="store_true", help="print the report as JSON")
        command.set_defaults(handler=handler)


def _add_mmd_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", metavar="A", type=place, help="folder or URL of shards")
    parser.add_argument("second", metavar="B", type=place, help="the same, or another")
    parser.add_argument(
        "--split",
        nargs="+",
        metavar="NAME",
        default=[_SPLIT, _TRAIN],
        help=f"split of both, or of A and of B; default: {_SPLIT} {_TRAIN}",
    )
    parser.add_argument("--by", choices=("action", "subject"), help="a row for each; default: one row")
    text = "B's clips in a row: of the same action or subject, or all; default: same"
    parser.add_argument("--against", choices=("same", "all"), default="same", help=text)
    text = "what permutations exchange and the interval leaves out; default: clip"
    parser.add_argument("--unit", choices=("clip", "subject"), default="clip", help=text)
    text = "a bandwidth for each; default: table"
    parser.add_argument("--sigma", choices=("table", "row"), default="table", help=text)
    text = "rate of both; default: the lower of the two"
    parser.add_argument("--fps", type=positive_number, metavar="HZ", help=text)
    text = "of either set in a row, in whole clips; default: 20000"
    parser.add_argument("--max-frames", type=count, metavar="N", default=20_000, help=text)


def _add_table3_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="MODEL MODEL | FILE.json | key=value",
        help="baseline and model, or what langpose evaluate --out wrote of them; and data.path=FOLDER",
    )
    parser.add_argument("--protocol", metavar="NAME", help="with models: how to evaluate them")
    parser.add_argument("--split", metavar="NAME", help=f"with models: split to evaluate; default: {_SPLIT}")
    text = f"to measure against; default: {_TRAIN}"
    parser.add_argument("--train-split", metavar="NAME", default=_TRAIN, help=text)
    text = "shards of another training set, such as BABEL's"
    parser.add_argument("--other", metavar="FOLDER", type=place, help=text)


def run_mmd(arguments: argparse.Namespace) -> int:
    """Compare two sets and report."""
    splits = arguments.split
    if len(splits) > 2:
        raise UserError(f"--split takes one name for both, or one of A and one of B, not {len(splits)}")
    from langpose_dist.analysis.clips import ClipSet
    from langpose_dist.analysis.mmd_table import MmdOptions, compare_sets
    from langpose_dist.analysis.text import mmd_text

    names = ("by", "against", "unit", "sigma", "fps", "max_frames")
    options = MmdOptions(**{name: getattr(arguments, name) for name in names})
    first, second = ClipSet.open(arguments.first, splits[0]), ClipSet.open(arguments.second, splits[-1])
    return _report(arguments, lambda: compare_sets(first, second, options), mmd_text)


def run_table3(arguments: argparse.Namespace) -> int:
    """Join, correlate and report."""
    from langpose_dist.analysis.table3 import printed_table
    from langpose_dist.analysis.text import table3_text
    from langpose_dist.report.analysis import draw_table3

    def measure() -> dict[str, Any]:
        report = _measure_table3(arguments) if arguments.overrides else printed_table()
        if arguments.out is not None:
            draw_table3(arguments.out.with_name(f"{arguments.out.stem}-table3.png"), report)
        return report

    return _report(arguments, measure, table3_text)


def _measure_table3(arguments: argparse.Namespace) -> dict[str, Any]:
    from langpose_dist.analysis.table3 import measure_table3

    names, overrides = sort_words(arguments.overrides)
    if len(names) == 1 and names[0].endswith(".json"):
        evaluation = _read_json(Path(names[0]))
        path = with_overrides(RunConfig().to_dict(), overrides)["data"]["path"]
    elif len(names) == 2 and arguments.protocol is not None:
        uri = tracking_uri_of(overrides)
        found = compare_models(names, overrides, arguments.protocol, arguments.split, tracking_uri=uri)
        evaluation, path = found.report, found.corpus.config.data.path
    else:
        raise UserError(
            f"{len(names)} models; table3 takes a baseline and a model, with --protocol NAME, or the "
            "FILE.json that langpose evaluate --out wrote of them"
        )
    return measure_table3(evaluation, str(path), arguments.train_split, arguments.other)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}; give what langpose evaluate --out wrote") from None


def run_visibility(arguments: argparse.Namespace) -> int:
    """Measure and report."""
    from langpose_dist.analysis.text import visibility_text
    from langpose_dist.analysis.visibility import measure_visibility

    return _report(arguments, lambda: measure_visibility(arguments.data, arguments.split), visibility_text)


def run_probe(arguments: argparse.Namespace) -> int:
    """Measure or draw, and report."""
    from langpose_dist.analysis.probe_text import curve_text, probe_text

    if arguments.picture is None:
        return _report(arguments, lambda: probe.measure(arguments), probe_text)
    report = {"analysis": arguments.analysis, **probe.draw(arguments)}
    print(json.dumps(report, indent=2) if arguments.json else curve_text(report))
    return 0


def run_recognise(arguments: argparse.Namespace) -> int:
    """Recognise and report."""
    from langpose_dist.analysis.words_text import recognition_text

    return _report(arguments, lambda: analyse_words.measure_recognise(arguments), recognition_text)


def run_retrieve(arguments: argparse.Namespace) -> int:
    """Retrieve and report."""
    from langpose_dist.analysis.words_text import retrieval_text

    return _report(arguments, lambda: analyse_words.measure_retrieve(arguments), retrieval_text)


def _report(
    arguments: argparse.Namespace,
    measure: Callable[[], Mapping[str, Any]],
    to_text: Callable[[Mapping[str, Any]], str],
) -> int:
    out: Path | None = arguments.out
    if out is not None and (out.is_dir() or not out.parent.is_dir()):
        raise UserError(f"--out {out} must be a file in a folder that exists")
    report = {"analysis": arguments.analysis, **probe.commit(), **measure()}
    content = json.dumps(report, indent=2)
    if out is not None:
        out.write_text(content + "\n", encoding="utf-8")
    print(content if arguments.json else to_text(report))
    return 0
