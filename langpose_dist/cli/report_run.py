"""``langpose report run``: one page about runs, and about the reports that are given with them."""

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langpose_dist.config import UserError
from langpose_dist.host.arguments import local_path
from langpose_dist.host.redaction import printable, redact

if TYPE_CHECKING:
    from langpose_dist.report.run.records import Material, Run
    from langpose_dist.report.sections import Section

_EXAMPLES = """examples:
  langpose report run runs/small
  langpose report run runs/small --measure --track
  langpose evaluate runs/scratch runs/finetuned --protocol virtual_camera data.path=data/bandai \\
      --robustness --out reports/evaluation.json
  langpose analyse mmd data/bandai data/bandai --by action --out reports/mmd.json
  langpose model summary --config runs/finetuned/config.yaml --measure --json > reports/model.json
  langpose report run runs/scratch runs/finetuned --with reports/*.json --out reports/report.html

Files after --with are what langpose evaluate and langpose analyse (--out FILE) and langpose model summary
(--json) write. One of other data or of another commit than the runs' is shown, and the difference said.
Without --measure the same inputs give the same bytes. docs/report.md says more.
"""
_LIFTING, _RETRIEVAL, _EFFICIENCY = "Lifting in training", "Label retrieval", "Efficiency"
_CAPTIONING = "Captioning in training"
_PROTOCOL = "langpose evaluate RUN --protocol {protocol} data.path=DATA"
_TITLES = {
    "mmd": "Distance between sets of motion (MMD)",
    "table3": "What goes along with the improvement (Table 3)",
    "visibility": "Visibility (Table 2)",
    "probe": "Semantic probe",
    "recognise": "Action recognition",
    "retrieve": "Motion retrieval by text",
}
"""By analysis, in the order of the page."""
_COMMANDS = {
    _LIFTING: "langpose train --config RUN/config.yaml --resume",
    "Lifting by protocol": f"{_PROTOCOL} --out FILE.json",
    "Errors by action": f"{_PROTOCOL} --out FILE.json",
    "Comparison with intervals": "langpose evaluate BASELINE RUN --protocol {protocol} data.path=DATA "
    "--out FILE.json",
    "Robustness": f"{_PROTOCOL} --robustness --out FILE.json",
    "Errors of visible and other joints": f"{_PROTOCOL} --visibility --out FILE.json (detected 2D)",
    _RETRIEVAL: "langpose evaluate PRETRAINED --out FILE.json",
    "Captions": "langpose evaluate CAPTIONER --evaluator FILE.safetensors --out FILE.json",
    "mmd": "langpose analyse mmd DATA DATA --by action --out FILE.json",
    "table3": "langpose analyse table3 BASELINE RUN --protocol {protocol} data.path=DATA --out FILE.json",
    "visibility": "langpose analyse visibility DATA --out FILE.json (detected 2D)",
    "probe": "langpose analyse probe PRETRAINED data.path=DATA --out FILE.json",
    "recognise": "langpose analyse recognise RUN data.path=DATA --out FILE.json",
    "retrieve": "langpose analyse retrieve PRETRAINED data.path=DATA --out FILE.json",
    _EFFICIENCY: "langpose report run RUN --measure, or langpose model summary --config RUN/config.yaml "
    "--measure --json > FILE.json",
}
"""By section, the command that gives it data."""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to ``report``."""
    parser = commands.add_parser(
        "run",
        help="one HTML page about runs: who they are, lifting, retrieval, robustness, analyses, cost",
        description="Writes one HTML file about runs, finished or not, and about reports given with them.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_EXAMPLES,
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", type=local_path, help="output folder of a training")
    parser.add_argument(
        "--with",
        dest="files",
        nargs="+",
        default=[],
        metavar="FILE",
        type=local_path,
        help="JSON reports of evaluations and analyses; runs stand before --with",
    )
    parser.add_argument(
        "--measure", action="store_true", help="count parameters and FLOPs, and time lifting here"
    )
    parser.add_argument(
        "--out", metavar="FILE", type=local_path, default=Path("report.html"), help="default: report.html"
    )
    parser.add_argument("--title", metavar="TEXT", help="of the page; default: names of the runs")
    parser.add_argument(
        "--track", action="store_true", help="also store it as report.html with the runs that MLflow knows"
    )
    parser.add_argument("--json", action="store_true", help="print the sections as JSON")
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """Read, render, write and store."""
    out: Path = arguments.out
    if out.is_dir() or not out.parent.is_dir():
        raise UserError(f"--out {out} must be a file in a folder that exists")

    from langpose_dist.host.atomic import write_text
    from langpose_dist.report.render import to_html
    from langpose_dist.report.run.records import read_material, read_runs

    runs = read_runs(arguments.runs)
    materials = [read_material(path) for path in arguments.files]
    title = arguments.title or f"Report of {', '.join(run.name for run in runs)}"
    with tempfile.TemporaryDirectory() as folder:
        sections = build_sections(title, runs, materials, Path(folder), is_measured=arguments.measure)
        page = to_html(sections, [*Path(folder).iterdir()])
    write_text(out, page)
    if arguments.track:
        _track(arguments.runs, page)
    if arguments.json:
        print(json.dumps([asdict(section) for section in sections], indent=2))
    else:
        for section in sections:
            print(printable(redact(section.title)))
        print(f"\n{printable(f'written to {out}')}")
    return 0


def build_sections(
    title: str,
    runs: "Sequence[Run]",
    materials: "Sequence[Material]",
    folder: Path,
    *,
    is_measured: bool = False,
) -> "list[Section]":
    """All that a page says, in order.

    Args:
        title: Of the first section.
        runs: At least one.
        materials: Reports of other commands.
        folder: To draw figures into.
        is_measured: True to count and time the runs' models here.
    """
    from langpose_dist.evaluation.sections import caption_section, protocol_sections
    from langpose_dist.report.run.conditions import condition_section, find_evaluated
    from langpose_dist.report.run.records import origin_of
    from langpose_dist.report.run.sections import efficiency, pictures, training, who

    evaluated = find_evaluated(runs, materials)
    by_protocol = {origin_of(one, runs): one.content for one in materials if one.kind == "protocol"}
    costs = {one.path.name: one.content for one in materials if one.kind == "model"}
    costs |= {run.name: _measure(run) for run in runs if is_measured}
    lifting = condition_section(_LIFTING, evaluated, "pose")
    retrieval = condition_section(_RETRIEVAL, evaluated, "retrieval")
    captioning = condition_section(_CAPTIONING, evaluated, "caption")
    captions = {origin_of(one, runs): one.content for one in materials if "captions" in one.content}
    for section in (lifting, retrieval, captioning):
        if section is not None:
            section.lines += [origin_of(one, runs) for one in materials if one.kind == "conditions"]
    cost = efficiency(costs)
    if cost is not None:
        cost.lines += [origin_of(one, runs) for one in materials if one.kind == "model"]
    found = [
        who(title, runs),
        training(runs, folder),
        lifting,
        *protocol_sections(by_protocol, folder),
        pictures(runs, folder),
        retrieval,
        captioning,
        caption_section(captions),
        *_analyses(runs, materials, folder),
        cost,
    ]
    sections = [section for section in found if section is not None]
    done = {section.title for section in sections} | {one.kind for one in materials}
    return [*sections, _not_run(runs[0], done)]


def _analyses(runs: "Sequence[Run]", materials: "Sequence[Material]", folder: Path) -> "Iterator[Section]":
    """A section per report of an analysis, in the order of ``_TITLES``; of unknown kinds last."""
    from langpose_dist.analysis.sections import SECTIONS
    from langpose_dist.report.run.generic import generic_tables
    from langpose_dist.report.run.records import origin_of
    from langpose_dist.report.sections import Section

    others = [one for one in materials if one.kind not in ("protocol", "conditions", "model")]
    kinds = [*_TITLES]
    others.sort(key=lambda one: kinds.index(one.kind) if one.kind in kinds else len(kinds))
    counts = Counter(one.kind for one in others)
    for place, one in enumerate(others):
        title = _TITLES.get(one.kind, one.kind or one.path.name)
        if counts[one.kind] > 1 and one.kind:
            title = f"{title}: {one.path.stem}"
        section = Section(title, [origin_of(one, runs)])
        if one.kind in SECTIONS:
            try:
                SECTIONS[one.kind](section, one.content, folder / f"analysis-{place}.svg")
            except (KeyError, TypeError) as error:  # of another version, or edited
                raise UserError(
                    f"{one.path} is not as this version's langpose analyse {one.kind} writes it ({error}); "
                    "run that again"
                ) from error
        else:
            known = ("analysis", "commit", "commit_dirty")  # in the title and the line of its origin
            section.tables += generic_tables({k: v for k, v in one.content.items() if k not in known})
        yield section


def _not_run(run: "Run", done: set[str]) -> "Section":
    from langpose_dist.report.sections import Section, Table

    protocol = "motionbert" if run.config.target.space == "image_25d" else "virtual_camera"
    rows = [
        [_TITLES.get(name, name), command.format(protocol=protocol)]
        for name, command in _COMMANDS.items()
        if name not in done
    ]
    if not rows:
        return Section("Not run", ["every section has data"])
    lines = [
        "no data were given for these; RUN is the run's folder, DATA that of the shards; a FILE.json goes "
        "after --with"
    ]
    return Section("Not run", lines, [Table(["section", "command that gives it data"], rows)])


def _measure(run: "Run") -> Mapping[str, Any]:
    from langpose_dist.models.speed import describe_cost, measure_speeds
    from langpose_dist.models.summary import summarize

    print(f"timing the model of {printable(run.name)}", file=sys.stderr)
    return describe_cost(run.config, summarize(run.config), measure_speeds(run.config, 1))


def _track(run_dirs: Sequence[Path], page: str) -> None:
    """Store the page with each run; what cannot be stored is a warning."""
    from langpose_dist.tracking.finished import attach_text

    for run_dir in run_dirs:
        try:
            run_id = attach_text(run_dir, "report.html", page)
        except UserError as error:
            print(printable(redact(f"warning: {error}")), file=sys.stderr)
            continue
        found = f"stored with MLflow run {run_id}" if run_id else "no MLflow run, so not stored there"
        print(printable(f"{run_dir}: {found}"), file=sys.stderr)
