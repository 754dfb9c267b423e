"""``langpose data doctor``: what a folder of downloads holds, and what to do with it."""

import argparse
import dataclasses
import json
import sys
import textwrap
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from langpose_dist.host.arguments import local_path

if TYPE_CHECKING:
    from langpose_dist.datasets.doctor import Report

_EPILOG = """\
example:
  langpose data doctor ~/downloads

Looks through DIR for motion capture in the layouts that `langpose data build` reads and for what belongs to
it, and says what is wrong, what is missing and which command comes next. Nothing is written, and nothing in
the files can run.

Exits 0 if something there can be built, else 2.
"""

_WIDTH = 110


def add_parser(commands: Any) -> None:
    """Add ``doctor`` to the sub-commands of ``langpose data``."""
    parser = commands.add_parser(
        "doctor",
        help="say what a folder of downloads holds, and what to do next",
        description="Say what a folder of downloads holds, and what to do next.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=local_path, metavar="DIR", help="where downloads were unpacked")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.set_defaults(handler=_doctor)


def _doctor(args: argparse.Namespace) -> int:
    from langpose_dist.datasets.doctor import examine

    report = examine(args.folder, say=lambda text: print(f"{text} ...", file=sys.stderr, flush=True))
    content = {**dataclasses.asdict(report), "ready": bool(report.ready)}
    text = json.dumps(content, indent=2, default=str) if args.json else "\n".join(_format(report))
    # A file's name need not be text; what is printed must be.
    print(text.encode(errors="replace").decode())
    if report.ready:
        return 0
    problem = "nothing of it can be built from yet" if report.findings else "nothing was recognised"
    print(f"langpose: {report.root}: {problem}", file=sys.stderr)
    return 2


def _format(report: "Report") -> Iterator[str]:
    from langpose_dist.datasets.registry import SOURCES

    if not report.findings:
        yield f"{report.root} holds nothing that is known here."
        yield f"  saw         {_to_text(report.endings) or 'no files'}"
        yield "  looked for  " + "\n              ".join(f"{s.name}: {s.files}" for s in SOURCES)
    for finding in report.findings:
        yield f"{finding.name}{finding.variant and f', {finding.variant}'}: {finding.path}"
        width = max(map(len, finding.facts), default=0)
        for name, value in finding.facts.items():
            if text := _to_text(value):
                yield _wrap(f"  {name:{width}}  ", text)
        yield from (_wrap("  ! ", problem) for problem in finding.problems)
        yield from (_wrap("  -> ", advice) for advice in finding.advice)
        yield from (f"  -> {command}" for command in finding.commands)
        yield ""
    if report.ready:
        yield f"ready: {', '.join(report.ready)}"


def _wrap(head: str, text: str) -> str:
    return textwrap.fill(
        text, _WIDTH, initial_indent=head, subsequent_indent=" " * len(head), break_long_words=False
    )


def _to_text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{count:,} {name}" for name, count in value.items() if count)
    if isinstance(value, list):
        return ", ".join(value)
    return f"{value:,}" if isinstance(value, int) else str(value)
