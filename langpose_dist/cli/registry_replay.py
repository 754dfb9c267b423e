"""``langpose registry replay``: send what runs recorded while their tracking store was away."""

import argparse
import json
from pathlib import Path
from typing import Any

from langpose_dist.config import UserError
from langpose_dist.environment import printable

_DESCRIPTION = (
    "Send what runs recorded in their folders and their tracking store does not have: after an outage, after "
    "a machine was lost, or to another store. Sending twice changes nothing. A run whose process ended "
    "without a word is closed as FAILED."
)


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "replay", help="send what runs recorded while the store was away", description=_DESCRIPTION
    )
    parser.add_argument("run_dirs", metavar="RUN_DIR", type=Path, nargs="+", help="folder of a run")
    parser.add_argument(
        "--tracking-uri",
        metavar="URI",
        help="MLflow's address; default: MLFLOW_TRACKING_URI, or where the run was to be recorded",
    )
    parser.add_argument("--json", action="store_true", help="report as JSON")
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """Send the journals, one after another."""
    from langpose_dist.tracking.client import connect, expect_large_files, resolve_uri
    from langpose_dist.tracking.finished import choose_uri
    from langpose_dist.tracking.replay import replay

    expect_large_files()
    reports: list[dict[str, Any]] = []
    for run_dir in arguments.run_dirs:
        uri = choose_uri(run_dir, arguments.tracking_uri)
        if uri is None:
            raise UserError(f"{run_dir} holds no journal of a run; name the output= folder of a training")
        sent, state = replay(connect(resolve_uri(uri), create=False), run_dir)
        report = {
            "run_dir": str(run_dir),
            "run_id": state.run_id,
            "tracking_uri": state.tracking_uri,
            "sent": sent,
            "refused": state.refused,
            "registered": state.registered,
        }
        reports.append(report)
        if not arguments.json:
            place = printable(f"run {state.run_id} at {state.tracking_uri}")
            print(f"{run_dir}: {sent} records sent to {place}")
            if state.refused:
                print(f"  {state.refused} refused; see {run_dir / 'tracking' / 'refused.jsonl'}")
    if arguments.json:
        print(json.dumps(reports, indent=2))
    return 0
