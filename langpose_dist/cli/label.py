"""``langpose label``: how well labels fit a motion over time."""

import argparse
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from langpose_dist.cli.infer import add_input_options, open_model, open_reader, options_of, read
from langpose_dist.host.arguments import positive_number

if TYPE_CHECKING:
    import numpy as np

    from langpose_dist.detections.track import Track

_EXAMPLES = """examples:
  langpose label openpose_json/ --model models:/langpose-small@champion --fps 30 \\
      --labels "sit down,stand up,walk"
  langpose label keypoints.json --model runs/pretrained --fps 30 --labels "wave,throw a ball" --json

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
        help="a line for so much time; default: 1",
    )
    parser.add_argument("--json", action="store_true", help="print the probabilities of every frame as JSON")
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """Label and report."""
    import numpy as np

    from langpose_dist.inference.assumptions import reading_facts, reading_sentences
    from langpose_dist.inference.labels import parse_labels
    from langpose_dist.inference.lift import used_keypoints

    labels = parse_labels(arguments.labels)
    tracks = read(arguments)
    options = options_of(arguments, tracks)
    assert options.fps is not None
    model = open_model(arguments.model, arguments.tracking_uri, device=arguments.device)
    reader = open_reader(model, labels)
    facts = {
        **reader.describe(),
        "normalisation": options.normalisation,
        "device": model.device.type,
        **reading_facts(tracks, options.size),
    }
    if not arguments.json:
        ids = dict.fromkeys(track.person for track in tracks.people)
        print(
            f"person {', '.join(ids)} from {tracks.detector} ({tracks.layout}), {options.fps:g} frames a "
            f"second, by {model.name}"
        )
        for sentence in reading_sentences(facts):
            print(sentence)
    people = []
    for track in tracks.people:
        values = reader.probabilities(used_keypoints(track), track.first_frame, options)
        if not arguments.json:
            print(_table(track, values, options.fps, arguments.every))
        series = {label: np.round(row.astype(float), 4).tolist() for label, row in values.items()}
        people.append({"person": track.person, "first_frame": track.first_frame, "probabilities": series})
    if arguments.json:
        print(json.dumps({"fps": options.fps, "facts": facts, "people": people}, indent=2))
    return 0


def _table(track: "Track", values: "Mapping[str, np.ndarray]", fps: float, every_s: float) -> str:
    """A line per moment: time, best label, and the probability of each."""
    import numpy as np

    labels, series = list(values), np.stack(list(values.values()), axis=1)
    best_width = max(9, *map(len, labels))
    head = "  ".join(f"{label:>6}" for label in labels)
    lines = [f"person {track.person}", f"{'time s':>8}  {'fits best':{best_width}}  {head}"]
    step = max(round(every_s * fps), 1)
    for start in range(0, len(series), step):
        means = series[start : start + step].mean(axis=0)
        cells = "  ".join(
            f"{value:>{max(len(label), 6)}.2f}" for label, value in zip(labels, means, strict=True)
        )
        best = labels[int(means.argmax())]
        lines.append(f"{(track.first_frame + start) / fps:>8.2f}  {best:{best_width}}  {cells}")
    return "\n".join(lines)
