"""``langpose data doctor``: what a folder of downloads holds, and what to do with it."""

import argparse
import contextlib
import dataclasses
import io
import json
import re
import shlex
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langpose_dist.datasets.clip import Found
    from langpose_dist.datasets.diagnosis.finding import Finding, Words
    from langpose_dist.datasets.doctor import Report

_EPILOG = """\
example:
  langpose data doctor ~/downloads

Looks through DIR for motion capture in the layouts that `langpose data build` reads, for what is still packed
and for what belongs to it, and says what is wrong, what is missing and which command comes next. Nothing is
written, and nothing in the files can run.

Exits 0 if something there is built or can be, else 2.
"""

_WIDTH = 110
_MAX_ENDINGS = 8
_JOINED = "\N{NO-BREAK SPACE}"
"""Stands for a blank where a line must not end."""


def add_parser(commands: Any) -> None:
    """Add ``doctor`` to the sub-commands of ``langpose data``."""
    parser = commands.add_parser(
        "doctor",
        help="say what a folder of downloads holds, and what to do next",
        description="Say what a folder of downloads holds, and what to do next.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="where downloads were unpacked")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.set_defaults(handler=_doctor)


def _doctor(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from langpose_dist.datasets.diagnosis.finding import Tools
    from langpose_dist.datasets.doctor import examine

    tools = Tools(
        find=_find,
        say=lambda text: print(f"{text} ...", file=sys.stderr, flush=True),
        watch=lambda paths: tqdm(paths, desc="opening", unit="file", mininterval=0.5, leave=False),
    )
    report = examine(args.folder, tools)
    text = _to_json(report) if args.json else "\n".join(_format(report))
    # A file's name need not be text; what is printed must be.
    print(text.encode(errors="replace").decode())
    if report.ready:
        return 0
    what = "nothing of it can be built from yet" if report.findings else "nothing was recognised"
    print(f"langpose: {report.root}: {what}", file=sys.stderr)
    return 2


def _find(words: "Words") -> "Found[Any]":
    """Clips that a build command begins with: its own parser and its own search.

    Raises:
        DataError: If the command would fail.
    """
    from langpose_dist.cli import build
    from langpose_dist.cli.sources import SOURCES
    from langpose_dist.data.sample import DataError

    parser = argparse.ArgumentParser(prog="langpose data", allow_abbrev=False)
    build.add_parser(parser.add_subparsers(), lambda title, manifest, as_json: None)
    message = io.StringIO()
    try:
        with contextlib.redirect_stderr(message):
            args = parser.parse_args(words[2:])
    except SystemExit:
        last = message.getvalue().strip().splitlines()[-1]
        raise DataError(f"this version cannot build it: {last.partition('error: ')[2]}") from None
    source = next(source for source in SOURCES if source.name == args.source)
    return source.find(args).found


def _to_json(report: "Report") -> str:
    content = {
        "root": str(report.root),
        "ready": report.ready,
        "findings": [
            {
                **dataclasses.asdict(finding),
                "path": str(finding.path),
                "commands": [shlex.join(words) for words in finding.commands],
            }
            for finding in report.findings
        ],
        "endings": report.endings,
        "unreadable": [str(path) for path in report.unreadable],
    }
    return json.dumps(content, indent=2)


def _format(report: "Report") -> Iterator[str]:
    from langpose_dist.datasets.doctor import LOOKED_FOR

    if not report.findings:
        yield f"{report.root} holds nothing that is known here."
        saw = ", ".join(
            f"{count:,} {ending}" for ending, count in list(report.endings.items())[:_MAX_ENDINGS]
        )
        yield f"  saw         {saw or 'no files'}"
        yield "  looked for  " + "\n              ".join(LOOKED_FOR)
    for number, finding in enumerate(report.findings):
        if number:
            yield ""
        yield from _format_finding(finding)
    for path in report.unreadable:
        yield f"\n! no access to {path}"
    if ready := [finding.name for finding in report.findings if finding.ready]:
        yield f"\nready: {', '.join(ready)}"


def _format_finding(finding: "Finding") -> Iterator[str]:
    title = finding.name if not finding.variant else f"{finding.name}, {finding.variant}"
    yield f"{title}: {finding.path}"
    width = max((len(name) for name in finding.facts), default=0)
    for name, value in finding.facts.items():
        if text := _to_text(name, value):
            yield from _wrap(f"  {name:{width}}  ", text)
    for problem in finding.problems:
        yield from _wrap("  ! ", problem)
    for advice in finding.advice:
        yield from _wrap("  -> ", advice)
    for words in finding.commands:
        yield "  -> " + _to_command(words)


def _wrap(head: str, text: str) -> Iterable[str]:
    lines = textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return (line.replace(_JOINED, " ") for line in lines)


def _to_command(words: "Words") -> str:
    """The command, on several lines where it is long; as it is printed it can be pasted."""
    parts: list[str] = []
    for word in map(shlex.quote, words):
        is_value = parts and re.fullmatch(r"--\S+", parts[-1]) and not word.startswith("--")
        if is_value:
            parts[-1] += f" {word}"
        else:
            parts.append(word)
    lines = [parts[0]]
    for part in parts[1:]:
        if len(lines[-1]) + len(part) > _WIDTH - 10:
            lines.append(part)
        else:
            lines[-1] += f" {part}"
    return " \\\n       ".join(lines)


def _to_text(name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        parts = [f"{key} {_to_text(name, number)}" for key, number in value.items()]
        if set(value) == {"motions", "hours"}:
            return f"{value['motions']:,} ({value['hours']:.1f} h)"
        return ", ".join(part.replace(" ", _JOINED) for part in parts)
    if isinstance(value, list | tuple):
        return ", ".join(str(item).replace(" ", _JOINED) for item in value)
    if isinstance(value, float):
        return f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
