"""``langpose report``: results as text, tables and pictures."""

import argparse
import json
import sys

from langpose_dist.cli import report_run
from langpose_dist.host.arguments import local_path
from langpose_dist.host.redaction import printable, redact

_EXAMPLES = """examples:
  langpose report run runs/small
  langpose report run runs/scratch runs/finetuned --with reports/*.json --out reports/table1.html
  langpose report sweep runs/weights
  langpose report sweep runs/weights --out reports/weights
  langpose report sweep runs/weights --json

docs/report.md says what the report of a run holds, docs/sweeps.md how to read that of a sweep.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "report",
        help="report the results of runs or of a sweep",
        description="Text, tables and pictures of the results.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_EXAMPLES,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    report_run.add_parser(commands)
    sweep = commands.add_parser(
        "sweep",
        help="ranking, differences with intervals, importance, curves and cost of a sweep",
        description="Reads a sweep's folder, finished or not, and writes sweep.md, sweep.html, report.json "
        "and pictures.",
    )
    sweep.add_argument("run_dir", metavar="RUN", type=local_path, help="output folder of the sweep")
    sweep.add_argument(
        "--out", metavar="DIR", type=local_path, help="folder to write to; default: RUN/report"
    )
    sweep.add_argument("--json", action="store_true", help="print the whole report as JSON")
    sweep.set_defaults(handler=_sweep)


def _sweep(arguments: argparse.Namespace) -> int:
    from langpose_dist.report.sweep import to_text, write_report

    report = write_report(arguments.run_dir, arguments.out)
    for warning in report.folder.warnings:
        print(printable(redact(f"warning: {warning}")), file=sys.stderr)
    if arguments.json:
        print(json.dumps(report.to_dict(), indent=2, allow_nan=False))
    else:
        print(to_text(report))
        names = ", ".join(path.name for path in report.files)
        print(f"\n{printable(f'written to {report.files[0].parent}: {names}')}")
    return 0
