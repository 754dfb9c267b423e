"""``langpose caption``: what people do, in a sentence, from anybody's 2D keypoints."""

import argparse
import json
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

from langpose_dist.cli.infer import add_input_options, choose_device, open_model, options_of, read
from langpose_dist.host.arguments import place

if TYPE_CHECKING:
    import numpy as np

    from langpose_dist.detections.track import Tracks
    from langpose_dist.inference.options import LiftOptions
    from langpose_dist.tasks.exported import Exported

_EXAMPLES = """examples:
  langpose caption openpose_json/ --model runs/caption-2d --fps 30
  langpose caption alphapose-results.json --model runs/caption --lift models:/langpose-small@champion \\
      --fps 30 --json

A model that was trained with caption.input=projected_2d describes 2D keypoints as they are; one of
caption.input=joints_3d, the default, needs --lift MODEL. A motion of more frames than the model's window is
described in equal parts. The sentences use the words of the training data, in the form of
caption.text_form, and something is said of every motion, whatever it shows.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "caption",
        help="a sentence about what people do, from the 2D keypoints of any detector",
        description="Describe motions in words.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_EXAMPLES,
    )
    add_input_options(parser, model_help="captioner")
    parser.add_argument("--lift", type=place, metavar="MODEL", help="model that lifts the keypoints first")
    parser.add_argument("--json", action="store_true", help="print the captions as JSON")
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """Describe and report."""
    from langpose_dist.config import UserError
    from langpose_dist.tasks.exported import load_exported
    from langpose_dist.tracking.registry.weights import find_model

    weights, _ = find_model(arguments.model, arguments.tracking_uri)
    captioner = load_exported(weights)
    if captioner.config.task != "caption":
        raise UserError(
            f"{arguments.model} was trained with task={captioner.config.task} and gives no captions; give a "
            "model that was trained with task=caption (configs/caption/kit.yaml)"
        )
    is_3d = captioner.config.caption.input == "joints_3d"
    if is_3d and arguments.lift is None:
        raise UserError(
            f"{arguments.model} describes 3D joints (caption.input=joints_3d); add --lift MODEL to lift the "
            "keypoints first, or give a captioner of caption.input=projected_2d"
        )
    if not is_3d and arguments.lift is not None:
        raise UserError(f"{arguments.model} describes 2D keypoints itself; leave out --lift")
    captioner.model.to(choose_device(arguments.device))
    tracks = read(arguments)
    options = options_of(arguments, tracks)
    find = _lifted if is_3d else _projected
    captions = [
        {"person": person, "start_s": round(start, 2), "end_s": round(end, 2), "caption": text}
        for person, start, end, text in find(arguments, captioner, tracks, options)
    ]
    if arguments.json:
        print(json.dumps({"model": arguments.model, "captions": captions}, indent=2))
        return 0
    for one in captions:
        print(f"person {one['person']}  {one['start_s']:8.2f} to {one['end_s']:.2f} s  {one['caption']}")
    return 0


Described = Iterator[tuple[str, float, float, str]]
"""Person, first and last moment in seconds, caption."""


def _projected(
    arguments: argparse.Namespace, captioner: "Exported", tracks: "Tracks", options: "LiftOptions"
) -> Described:
    """Captions of the keypoints."""
    from langpose_dist.inference.lift import used_keypoints
    from langpose_dist.inference.model import LiftingModel
    from langpose_dist.inference.picture import normalise
    from langpose_dist.inference.rate import Rates

    assert options.fps is not None
    config, fps = captioner.config, float(captioner.header["fps"])
    num_frames = config.window.num_frames
    seen = LiftingModel(arguments.model, captioner.model, "camera", num_frames, fps, config, {})
    for track in tracks.people:
        keypoints, first = Rates(options.fps, fps).to_model(used_keypoints(track), track.first_frame)
        for start, stop in _parts(len(keypoints), num_frames):
            part = keypoints[None, start:stop]
            inputs, _ = normalise(part, options.normalisation, options.size, seen.units_per_metre)
            if not config.noise.enabled:  # trained with confidence 1
                inputs[..., 2] = inputs[..., 2] > 0
            yield _describe(captioner, track.person, inputs, first + start)


def _lifted(
    arguments: argparse.Namespace, captioner: "Exported", tracks: "Tracks", options: "LiftOptions"
) -> Described:
    """Captions of the poses that a model makes of the keypoints."""
    import numpy as np

    from langpose_dist.datasets.timing import resample
    from langpose_dist.inference.lift import lift_tracks

    lifter = open_model(arguments.lift, arguments.tracking_uri, device=arguments.device)
    fps, num_frames = float(captioner.header["fps"]), captioner.config.window.num_frames
    for clip in lift_tracks(lifter, tracks, options):
        poses = resample(clip.poses_3d.astype(np.float64), clip.fps, fps).astype(np.float32)
        first = round(clip.first_frame / clip.fps * fps)
        for start, stop in _parts(len(poses), num_frames):
            yield _describe(captioner, clip.person, poses[None, start:stop], first + start)


def _parts(num_frames: int, longest: int) -> Iterator[tuple[int, int]]:
    """The fewest parts of equal length that fit: a rest of a few frames is no motion."""
    count = -(-num_frames // longest)
    yield from pairwise(num_frames * part // count for part in range(count + 1))


def _describe(
    captioner: "Exported", person: str, inputs: "np.ndarray", first: int
) -> tuple[str, float, float, str]:
    fps = float(captioner.header["fps"])
    (text,) = captioner.predict(inputs)
    return person, first / fps, (first + inputs.shape[1] - 1) / fps, str(text)
