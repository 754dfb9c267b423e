"""``langpose evaluate``: the numbers of trained models."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from langpose_dist.config import RunConfig, UserError, with_overrides
from langpose_dist.evaluation.corruption_table import (
    NUM_LIFTS,
    VERSION,
    Corruption,
    find_corruptions,
    list_corruptions,
)
from langpose_dist.evaluation.protocols import PROTOCOLS, Protocol, find_protocol
from langpose_dist.host.arguments import local_path, place
from langpose_dist.metrics.table import METRICS

if TYPE_CHECKING:
    from langpose_dist.data.corpus import Corpus
    from langpose_dist.evaluation.captions import Judge
    from langpose_dist.evaluation.comparison import Scored

_EXAMPLES = """examples:
  langpose evaluate runs/small
  langpose evaluate runs/small evaluation.conditions=[clean] --json
  langpose evaluate model.safetensors data.path=data/bandai --out evaluation.json
  langpose evaluate runs/scratch runs/finetuned --protocol virtual_camera data.path=data/bandai
  langpose evaluate FT_MB_release_MB_ft_h36m.bin --protocol motionbert data.path=data/h36m
  langpose evaluate models:/langpose-h36m@champion runs/new --protocol videopose3d --format latex
  langpose evaluate runs/scratch runs/finetuned --protocol virtual_camera data.path=data/bandai \\
      --out reports/robust.json --robustness noise_px drop_joints/zero
  langpose evaluate runs/a runs/b --protocol motionbert data.path=data/h36m --visibility
  langpose evaluate runs/caption data.validation_split=test --evaluator evaluator-*.safetensors
  langpose evaluate runs/caption data.validation_split=test --published-evaluator published --motions KIT-ML

MODEL is the folder of a finished run, its checkpoints/best, an exported model.safetensors, a MotionBERT
checkpoint, or a model of the registry (models:/NAME@ALIAS). Without --protocol one model is evaluated as in
training, on the windows of its validation split: exact, noisy and masked 2D input. With --protocol several
stand in one table, the first as the baseline of the others.

protocols:
""" + "\n".join(f"  {row.name:15} {row.title} ({row.space})" for row in PROTOCOLS.values())

_JUDGES = ("evaluator", "self_evaluator", "published_evaluator", "motions")
"""Options that name evaluators of captions."""
_SHOWN = ("pose", "retrieval", "caption")
"""Kinds of metrics in the table of one model."""

_ROBUSTNESS = f"""

--robustness lifts every recording again at each level of these corruptions (version {VERSION}), with the same
draws for every model; all of them together take {NUM_LIFTS} times as long as the plain evaluation. It
gives MPJPE over all joints, over the corrupted and over the intact ones, the area below each curve (its mean
height), and with several models an interval for the difference. A name stands for all its variants; models
stand before --robustness. px are those of a picture 1000 px wide.
{list_corruptions()}

--visibility gives MPJPE of joints whose detector confidence is above 0.6, of the others, and their share, per
action. Detections without confidences (CPN, ground truth) are refused.

docs/evaluation.md says more.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "evaluate",
        help="pose errors and label retrieval of trained models, by a protocol of the field",
        description="Evaluate trained models.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_EXAMPLES + _ROBUSTNESS,
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
        "--robustness",
        nargs="*",
        metavar="NAME",
        help="with --protocol: errors on corrupted 2D too, by these corruptions; default: all six",
    )
    parser.add_argument(
        "--visibility",
        action="store_true",
        help="with --protocol: errors of joints that the detector saw, and of the others, too",
    )
    parser.add_argument(
        "--evaluator",
        nargs="+",
        type=local_path,
        metavar="FILE",
        default=[],
        help="of a model that writes captions: files of langpose caption-evaluator, which give R-precision",
    )
    parser.add_argument(
        "--self-evaluator",
        type=place,
        metavar="MODEL",
        help="the same by a pretrained model with a text side, such as the one that the captioner began "
        "with: self R-precision, a diagnostic",
    )
    parser.add_argument(
        "--published-evaluator",
        type=local_path,
        metavar="FOLDER",
        help="the same by the evaluator of Guo et al. (TM2T's): its finest.tar, our_vab_data.npy, "
        "our_vab_words.pkl, our_vab_idx.pkl, mean.npy and std.npy; needs --motions",
    )
    parser.add_argument(
        "--motions",
        type=local_path,
        metavar="FOLDER",
        help="with --published-evaluator: KIT-ML or HumanML3D, with new_joint_vecs and texts",
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        type=local_path,
        help="write the report as JSON to this file too, and curves beside it, as FILE-robustness.png",
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
    # Overrides may stand among the names of corruptions too.
    misplaced = [word for word in arguments.robustness or () if "=" in word]
    names, overrides = sort_words([*arguments.overrides, *misplaced])
    if arguments.out is not None and (arguments.out.is_dir() or not arguments.out.parent.is_dir()):
        raise UserError(f"--out {arguments.out} must be a file in a folder that exists")
    by = _evaluate_one if arguments.protocol is None else _evaluate_by_protocol
    report, text = by(arguments, names, overrides)
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(report, indent=2), encoding="utf-8")
    print(json.dumps(report, indent=2) if arguments.json else text.rstrip("\n"))
    return 0


def sort_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
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
    for option in ("split", "format", "track", "robustness", "visibility"):
        if getattr(arguments, option) not in (None, False):
            raise UserError(f"--{option} needs --protocol NAME; choose one of {', '.join(PROTOCOLS)}")
    if len(names) > 1:
        raise UserError(
            f"{len(names)} models compare only by a protocol: add --protocol NAME, one of "
            f"{', '.join(PROTOCOLS)}"
        )
    from langpose_dist.evaluation.captions import captions_text, evaluate_captions
    from langpose_dist.tracking.registry.weights import find_weights
    from langpose_dist.train.evaluate import write_captions
    from langpose_dist.train.evaluate_weights import evaluate_weights

    weights = find_weights(names[0], tracking_uri_of(overrides))
    # Before anything is generated, which may take hours.
    judges = _open_judges(arguments, weights, overrides) if _asks_for_judges(arguments) else []
    found = evaluate_weights(weights, overrides)
    report, text = dict(found.report), describe(found.report)
    if (captions := found.evaluation.captions) is None:
        return report, text
    written = ""
    if arguments.out is not None:  # first, as they are there even if they cannot be scored
        path = arguments.out.with_name(f"{arguments.out.stem}-captions.jsonl")
        write_captions(path, captions)
        written = f"\ncaptions written to {path}"
    report["captions"] = evaluate_captions(found.config, captions, judges)
    return report, f"{text}\n\n{captions_text(report['captions'])}{written}"


def _asks_for_judges(arguments: argparse.Namespace) -> bool:
    return any(getattr(arguments, name) for name in _JUDGES)


def _open_judges(arguments: argparse.Namespace, weights: Path, overrides: Sequence[str]) -> list["Judge"]:
    """Evaluators of the captions that a model will write."""
    from langpose_dist.analysis.self_judge import SelfJudge
    from langpose_dist.cli.infer import choose_device
    from langpose_dist.evaluation.caption_evaluator import CaptionEvaluator
    from langpose_dist.evaluation.captions import check_text_form
    from langpose_dist.evaluation.contenders import open_contender
    from langpose_dist.evaluation.published_evaluator import PublishedEvaluator
    from langpose_dist.tasks.exported import override_config, read_config
    from langpose_dist.tracking.registry.weights import find_weights

    config = override_config(read_config(weights), overrides)
    if config.task != "caption":
        raise UserError(f"evaluators judge captions, task={config.task} writes none")
    judges: list[Judge] = [CaptionEvaluator.load(path) for path in arguments.evaluator]
    if (name := arguments.self_evaluator) is not None:
        model = open_contender(find_weights(name, tracking_uri_of(overrides)), name)
        model.model.to(choose_device("auto"))
        judges.append(SelfJudge(model, config))
    files, motions = arguments.published_evaluator, arguments.motions
    if (files is None) != (motions is None):
        raise UserError("--published-evaluator FOLDER and --motions FOLDER need each other; give both")
    if files is not None:
        judges.append(PublishedEvaluator.load(files, motions).for_data(config))
    check_text_form(judges, config.caption.text_form)
    return judges


class Comparison(NamedTuple):
    """Models that were evaluated by a protocol."""

    report: dict[str, Any]
    scored: "Sequence[Scored]"
    protocol: Protocol
    corpus: "Corpus"


def compare_models(
    names: Sequence[str],
    overrides: Sequence[str],
    protocol_name: str,
    split: str | None = None,
    *,
    tracking_uri: str | None = None,
    with_confidences: bool = False,
) -> Comparison:
    """Evaluate models by a protocol; the words are those of the command.

    ``with_confidences`` refuses detections without confidences, before anything is evaluated.

    Raises:
        UserError: If a model or the data cannot serve the protocol.
    """
    protocol = find_protocol(protocol_name)

    from langpose_dist.evaluation.comparison import compare, score_all
    from langpose_dist.evaluation.contenders import open_contender
    from langpose_dist.evaluation.recordings import check_overrides, protocol_config
    from langpose_dist.evaluation.visibility import check_confidences
    from langpose_dist.host.environment import describe_environment
    from langpose_dist.tasks.exported import override_config
    from langpose_dist.tracking.registry.weights import find_weights

    contenders = [open_contender(find_weights(name, tracking_uri), name) for name in names]
    base = next((one.config for one in contenders if one.config is not None), RunConfig())
    given = override_config(base, overrides)
    config = protocol_config(given, protocol, split or protocol.split)
    check_overrides(given, config, [word.partition("=")[0] for word in overrides], protocol)
    if with_confidences:
        check_confidences(protocol, config)  # first, as the evaluation may take hours
    scored, corpus = score_all(contenders, protocol, config)
    environment = describe_environment()
    origin = {"commit": environment["git_commit"], "commit_dirty": environment["git_dirty"]}
    return Comparison(compare(scored, protocol, corpus, origin), scored, protocol, corpus)


def _evaluate_by_protocol(
    arguments: argparse.Namespace, names: Sequence[str], overrides: Sequence[str]
) -> tuple[Mapping[str, Any], str]:
    if _asks_for_judges(arguments):
        raise UserError("evaluators judge captions, which no --protocol measures; leave out --protocol")
    corruptions: Sequence[Corruption] = ()
    if arguments.robustness is not None:
        corruptions = find_corruptions([word for word in arguments.robustness if "=" not in word])

    from langpose_dist.evaluation.robustness import add_robustness
    from langpose_dist.evaluation.tables import ENDINGS, FORMATS
    from langpose_dist.evaluation.visibility import add_visibility

    report, scored, protocol, corpus = compare_models(
        names,
        overrides,
        arguments.protocol,
        arguments.split,
        tracking_uri=tracking_uri_of(overrides),
        with_confidences=arguments.visibility,
    )
    if arguments.visibility:
        add_visibility(report, scored, protocol, corpus)
    pictures: list[Path] = []
    if corruptions:
        add_robustness(report, scored, protocol, corpus, corruptions)
    if corruptions and arguments.out is not None:
        from langpose_dist.report.robustness import draw_robustness

        pictures = [arguments.out.with_name(f"{arguments.out.stem}-robustness.png")]
        draw_robustness(pictures[0], report["robustness"])
        print(f"curves drawn into {pictures[0]}", file=sys.stderr)
    text = FORMATS[arguments.format or "text"](report)
    if arguments.track:
        from langpose_dist.tracking.tables import record_table

        files = {f"table.{ENDINGS[name]}": render(report) for name, render in FORMATS.items()}
        run_id = record_table(report, files, corpus.config.tracking, pictures)
        text = f"{text.rstrip()}\nMLflow run: {run_id}\n"
    return report, text


def tracking_uri_of(overrides: Sequence[str]) -> str | None:
    content = with_overrides({}, [word for word in overrides if word.startswith("tracking.uri=")])
    return content.get("tracking", {}).get("uri")


def describe(report: Mapping[str, Any]) -> str:
    """The numbers as a table for a person."""
    baselines = {"mean pose": report.get("mean_pose"), "chance": report.get("chance")}
    rows = report["conditions"] | {title: values for title, values in baselines.items() if values}
    given = {name for values in rows.values() for name in values}
    names = [row.name for row in METRICS.values() if row.name in given and row.kind in _SHOWN]
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
