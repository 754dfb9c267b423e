"""``langpose label``: how well labels fit a motion over time."""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from langpose_dist.cli.infer import add_input_options, open_model, options_of, read
from langpose_dist.host.arguments import local_path, positive_number

if TYPE_CHECKING:
    from langpose_dist.detections.track import Track
    from langpose_dist.inference.labels import LabelReader

_EXAMPLES = """examples:
  langpose label openpose_json/ --model models:/langpose-small@champion --fps 30 \\
      --labels "sit down,stand up,walk"
  langpose label keypoints.npy --model runs/pretrained --fps 30 --labels "wave,throw a ball" --out labels.csv

The model must be a pretrained one: fine-tuning drops the text. Labels may be any text; a label that the text
encoder does not know is named. Probabilities are a softmax over the labels that are given: they say which of
them fits best, not that any does.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "label",
        help="probabilities of any labels over time, from the 2D keypoints of any detector",
        description="Probabilities of labels over time.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_EXAMPLES,
    )
    add_input_options(parser, model_help="pretrained model")
    parser.add_argument("--labels", required=True, metavar="LIST", help="two or more, with commas between")
    parser.add_argument(
        "--every",
        type=positive_number,
        default=1.0,
        metavar="SECONDS",
        help="distance of the printed moments; default: 1",
    )
    parser.add_argument(
        "--out",
        type=local_path,
        metavar="FILE.csv",
        help="write the probabilities of every frame to this file",
    )
    parser.add_argument("--json", action="store_true", help="print the probabilities of every frame as JSON")
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """Label and report."""
    from langpose_dist.inference.labels import LabelReader, parse_labels
    from langpose_dist.inference.lift import used_keypoints

    labels = parse_labels(arguments.labels)
    tracks = read(arguments)
    options = options_of(arguments, tracks)
    assert options.fps is not None
    reader = LabelReader.open(open_model(arguments.model, arguments.tracking_uri), labels)
    found = [
        (track, reader.probabilities(used_keypoints(track), track.first_frame, options))
        for track in tracks.people
    ]
    if arguments.out is not None:
        _write_csv(arguments, found, options.fps)
    if arguments.json:
        print(json.dumps(_report(found, options.fps, reader.describe()), indent=2))
        return 0
    for note in _notes(reader):
        print(f"note: {note}")
    for track, values in found:
        print(_table(track, values, options.fps, arguments.every))
    return 0


def _notes(reader: "LabelReader") -> Iterator[str]:
    """Labels that the text encoder cuts, confuses or does not know."""
    from langpose_dist.models.tokens import load_tokenizer
    from langpose_dist.tasks.labels import describe_labels

    assert reader.model.config is not None
    config = reader.model.config.text
    yield from describe_labels(reader.labels, load_tokenizer(config), config)


Found = Sequence[tuple["Track", Mapping[str, np.ndarray]]]


def _report(found: Found, fps: float, facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "fps": fps,
        "facts": dict(facts),
        "people": [
            {
                "person": track.person,
                "first_frame": track.first_frame,
                "probabilities": {
                    label: np.round(series.astype(float), 4).tolist() for label, series in values.items()
                },
            }
            for track, values in found
        ],
    }


def _table(track: "Track", values: Mapping[str, np.ndarray], fps: float, every_s: float) -> str:
    """A line per moment: time, best label, and the probability of each."""
    widths = [max(len(label), 6) for label in values]
    head = "  ".join(f"{label:>{width}}" for label, width in zip(values, widths, strict=True))
    best_width = max(map(len, values))
    lines = [f"person {track.person}", f"{'time':>8}  {'fits best':{best_width}}  {head}"]
    series = np.stack(list(values.values()), axis=1)
    step = max(round(every_s * fps), 1)
    for start in range(0, len(series), step):
        means = series[start : start + step].mean(axis=0)
        best = list(values)[int(means.argmax())]
        cells = "  ".join(f"{value:>{width}.2f}" for value, width in zip(means, widths, strict=True))
        lines.append(f"{(track.first_frame + start) / fps:>7.2f}s  {best:{best_width}}  {cells}")
    return "\n".join(lines)


def _write_csv(arguments: argparse.Namespace, found: Found, fps: float) -> None:
    import csv

    with arguments.out.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["person", "frame", "time_s", *(found[0][1] if found else ())])
        for track, values in found:
            for number, cells in enumerate(zip(*values.values(), strict=True)):
                frame = track.first_frame + number
                rows.writerow([track.person, frame, f"{frame / fps:.4f}", *(f"{cell:.4f}" for cell in cells)])
