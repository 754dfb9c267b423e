"""``langpose registry replay``: send what runs recorded while their tracking store was away."""

import argparse
import json
import sys
from typing import Any

from langpose_dist.config import UserError
from langpose_dist.host.arguments import local_path, place
from langpose_dist.host.redaction import printable
from langpose_dist.runs.folder import RunFolder

_DESCRIPTION = (
    "Send what runs recorded in their folders and their tracking store does not have: after an outage, after "
    "a machine was lost, or to another store. Sending twice changes nothing. A run whose process died "
    "without reporting an error is closed as FAILED. A sweep is sent whole: its own run, then its trials."
)


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "replay", help="send what runs recorded while the store was away", description=_DESCRIPTION
    )
    parser.add_argument(
        "run_dirs", metavar="RUN_DIR", type=local_path, nargs="+", help="folder of a run or a sweep"
    )
    parser.add_argument(
        "--tracking-uri",
        type=place,
        metavar="URI",
        help="MLflow's address; default: MLFLOW_TRACKING_URI, or where the run was to be recorded",
    )
    parser.add_argument("--json", action="store_true", help="report as JSON")
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """Send the runs, one after another."""
    from langpose_dist.tracking.client import StoreUnavailable, connect, expect_large_files, resolve_uri
    from langpose_dist.tracking.finished import choose_uri
    from langpose_dist.tracking.mirror import replay
    from langpose_dist.tracking.record import refused_file
    from langpose_dist.tracking.trials import recorded_runs

    expect_large_files()
    run_dirs = [run_dir for folder in arguments.run_dirs for run_dir in recorded_runs(folder)]
    clients: dict[str, Any] = {}
    reports: list[dict[str, Any]] = []
    problem: UserError | None = None
    for run_dir in run_dirs:
        try:
            uri = choose_uri(run_dir, arguments.tracking_uri)
            if uri is None:
                raise UserError(f"{run_dir} holds no record of a run; name the output= folder of a training")
            if uri not in clients:
                clients[uri] = connect(resolve_uri(uri), create=False)
            sent, state = replay(clients[uri], run_dir)
        except UserError as error:
            if len(run_dirs) == 1 or isinstance(error, StoreUnavailable):
                raise
            problem = error
            print(printable(str(error)), file=sys.stderr)
            continue
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
            print(f"{run_dir}: {sent} values and files sent to {place}")
            if state.refused:
                print(f"  {state.refused} refused; see {refused_file(RunFolder(run_dir))}")
    if arguments.json:
        print(json.dumps(reports, indent=2))
    if problem is not None:
        raise UserError(f"{len(run_dirs) - len(reports)} of {len(run_dirs)} runs were not sent; see above")
    return 0
