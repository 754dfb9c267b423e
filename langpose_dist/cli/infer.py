"""``langpose infer``: 3D poses of the people in anybody's 2D keypoints."""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from langpose_dist.host.arguments import local_path, place, positive_number
from langpose_dist.host.paths import make_folder

if TYPE_CHECKING:
    from langpose_dist.detections.track import Tracks
    from langpose_dist.inference.captions import Describer
    from langpose_dist.inference.labels import LabelReader
    from langpose_dist.inference.model import LiftingModel
    from langpose_dist.inference.options import LiftOptions
    from langpose_dist.inference.result import LiftedClip

FORMATS = ("npz", "json", "trc", "csv")
_MOVING = ("html", "gif", "mp4")
_EXAMPLES = """examples:
  langpose infer alphapose-results.json --model models:/langpose-small@champion --fps 30 --out out
  langpose infer openpose_json/ --model runs/finetuned --fps 30 --size 1088x1920 --height 1.75 --out out
  langpose infer points.npy --layout coco17 --model model.safetensors --fps 50 --out out --formats trc,gif
  langpose infer video.json --model runs/finetuned --out out --size 1920x1080 --focal-length 1500 \\
      --labels "sit down,stand up,walk" --label-model runs/pretrained
  langpose infer video.json --model runs/pretrained --fps 30 --out out --caption runs/caption
  langpose infer video.json --model runs/finetuned --fps 30 --out out --overlay frames/

KEYPOINTS is a file or folder of a 2D detector; docs/inference.md lists them. MODEL is the folder of a
finished run, its checkpoints/best, an exported model.safetensors, a MotionBERT checkpoint, or a model of the
registry (models:/NAME@ALIAS).

For each person the output folder gets person-ID-frame-FIRST with the ending of each format; player.html shows
all of them. Poses are in metres, in the camera's axes (x right, y down, z forward), with the pelvis at 0.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "infer",
        help="3D poses from the 2D keypoints of any detector, in metres",
        description="Lift 2D keypoints to 3D.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_EXAMPLES,
    )
    add_input_options(parser, model_help="model that lifts")
    parser.add_argument("--out", type=local_path, required=True, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--formats",
        type=_formats,
        default=("npz", "json", "html"),
        metavar="LIST",
        help=f"of {', '.join((*FORMATS, *_MOVING))}, with commas between; default: npz,json,html. mp4 needs "
        "the extra video",
    )
    parser.add_argument(
        "--height",
        type=_height,
        metavar="METRES",
        help="of the person; default: as the model's training data",
    )
    parser.add_argument(
        "--focal-length",
        type=positive_number,
        metavar="PIXELS",
        help="of the camera; estimates the path of the pelvis, and turns people who stand aside",
    )
    parser.add_argument(
        "--smooth",
        type=positive_number,
        metavar="SECONDS",
        help="smooth poses and path over so long a window, such as 0.3; default: not at all",
    )
    parser.add_argument(
        "--flip",
        action="store_true",
        help="lift each window twice, once mirrored: a little better, twice as long",
    )
    parser.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        default="float32",
        help="of the model's activations; bfloat16 is faster on a GPU (default: float32)",
    )
    parser.add_argument(
        "--labels", metavar="LIST", help="show how well labels fit over time, such as 'walk,run'"
    )
    parser.add_argument(
        "--label-model",
        type=place,
        metavar="MODEL",
        help="model with a text side for --labels; default: the one that lifts",
    )
    parser.add_argument(
        "--caption",
        type=place,
        metavar="MODEL",
        help="model that was trained with task=caption: says in a sentence what each person does",
    )
    parser.add_argument(
        "--overlay",
        type=local_path,
        metavar="FRAMES_DIR",
        help="folder with every frame of the video as a picture; draws the 2D joints on them in OUT/overlay",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.set_defaults(handler=run)


def add_input_options(parser: argparse.ArgumentParser, *, model_help: str) -> None:
    """Keypoints, model, and everything that says how to read them."""
    parser.add_argument(
        "keypoints", type=local_path, metavar="KEYPOINTS", help="file or folder of 2D keypoints"
    )
    parser.add_argument("--model", type=place, required=True, metavar="MODEL", help=model_help)
    parser.add_argument(
        "--tracking-uri", type=place, metavar="URI", help="of the registry; default: MLFLOW_TRACKING_URI"
    )
    parser.add_argument(
        "--fps",
        type=positive_number,
        metavar="RATE",
        help="frames per second of the video, if its file does not say",
    )
    parser.add_argument(
        "--size", type=_size, metavar="WxH", help="of the picture in pixels, if its file does not say"
    )
    parser.add_argument(
        "--layout", metavar="NAME", help="names of the keypoints; default: by structure and count"
    )
    parser.add_argument(
        "--person", default="largest", metavar="WHO", help="largest (the default), all, or an id"
    )
    parser.add_argument(
        "--threshold",
        type=float,
        metavar="CONFIDENCE",
        help="below it a keypoint counts as missing; default: by the kind of detector",
    )
    parser.add_argument(
        "--normalise",
        choices=("image", "box"),
        help="2D by the width of the picture, or by the person's size and place in it; default: box",
    )
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="that the model runs on; default: the GPU where there is one",
    )


def run(arguments: argparse.Namespace) -> int:
    """Lift and report."""
    from langpose_dist.config import UserError
    from langpose_dist.inference.files import write_results
    from langpose_dist.inference.labels import parse_labels
    from langpose_dist.inference.lift import lift_tracks
    from langpose_dist.report.player.pictures import (
        check_pictures,
        check_video,
        list_pictures,
        picture_size,
    )

    if "mp4" in arguments.formats:
        check_video()
    if arguments.label_model is not None and arguments.labels is None:
        raise UserError("--label-model needs --labels, such as --labels 'sit down,walk'")
    labels = None if arguments.labels is None else parse_labels(arguments.labels)
    drawings = arguments.out / "overlay"
    pictures = [] if arguments.overlay is None else list_pictures(arguments.overlay, drawings)
    if pictures:
        size = picture_size(pictures[0])
        _check_same_size(size, arguments.size, "--size says")
        arguments.size = size
    tracks = read(arguments)
    if pictures:
        _check_same_size(arguments.size, tracks.facts["size_in_file"], f"{arguments.keypoints} says")
        check_pictures(pictures, max(one.first_frame + len(one.keypoints) for one in tracks.people))
    options = options_of(arguments, tracks)
    model = open_model(
        arguments.model, arguments.tracking_uri, precision=arguments.precision, device=arguments.device
    )
    reader = None
    if labels is not None:
        text_model = model
        if arguments.label_model is not None:
            text_model = open_model(arguments.label_model, arguments.tracking_uri, device=arguments.device)
        reader = open_reader(text_model, labels)
    describer = None
    if arguments.caption is not None:
        describer = _open_describer(arguments.caption, arguments.tracking_uri, arguments.device)
    make_folder(arguments.out)

    clips = lift_tracks(model, tracks, options, reader)
    if describer is not None:
        clips = [describer.add_captions(clip, options) for clip in clips]
    written = list(
        write_results(arguments.out, clips, [name for name in FORMATS if name in arguments.formats])
    )
    written += _write_pictures(arguments, clips, pictures)
    _report(arguments, clips, written)
    return 0


def _check_same_size(pictures: tuple[int, int], other: Sequence[int] | None, source: str) -> None:
    from langpose_dist.config import UserError

    if other is not None and tuple(other) != pictures:
        raise UserError(
            f"the pictures of --overlay are {pictures[0]}x{pictures[1]}, {source} {other[0]}x{other[1]}; "
            "give the frames of the video that the keypoints are of"
        )


def read(arguments: argparse.Namespace) -> "Tracks":
    """The chosen people of the keypoints."""
    from langpose_dist.detections import read_tracks

    return read_tracks(
        arguments.keypoints,
        layout=arguments.layout,
        person=arguments.person,
        threshold=arguments.threshold,
        size=arguments.size,
    )


def options_of(arguments: argparse.Namespace, tracks: "Tracks") -> "LiftOptions":
    """Options of the command line, with rate and size as the file says them."""
    from langpose_dist.inference.options import DEFAULT_NORMALISATION, LiftOptions

    return LiftOptions(
        fps=arguments.fps,
        size=arguments.size,
        normalisation=arguments.normalise or DEFAULT_NORMALISATION,
        height=getattr(arguments, "height", None),
        focal_length=getattr(arguments, "focal_length", None),
        smoothing=getattr(arguments, "smooth", None),
        flip_averaging=getattr(arguments, "flip", False),
    ).completed(tracks)


def open_model(
    name: str, tracking_uri: str | None, *, precision: str = "float32", device: str = "auto"
) -> "LiftingModel":
    """A model by whatever name.

    Args:
        name: As the user gives it.
        tracking_uri: Of the registry.
        precision: Of the activations.
        device: ``cpu``, ``cuda``, or ``auto``: the GPU where there is one.

    Raises:
        UserError: If there is none of that name, it lifts no poses, or there is no GPU.
    """
    import torch

    from langpose_dist.evaluation.contenders import open_contender
    from langpose_dist.inference.model import MOTIONBERT_FPS, LiftingModel
    from langpose_dist.tracking.registry.weights import find_model

    device = choose_device(device)
    weights, version = find_model(name, tracking_uri)
    found = open_contender(weights, name)
    facts = {
        **found.facts,
        "fps_source": "its file" if found.fps else "assumed: Human3.6M's",
        "reference": name,
    }
    if version is not None:
        facts |= {
            "registered_name": version.name,
            "version": version.version,
            "run_id": version.run_id,
        }
    return LiftingModel(
        name=name,
        model=found.model.to(device).eval(),
        space=found.space,
        num_frames=found.num_frames,
        fps=found.fps or MOTIONBERT_FPS,
        config=found.config,
        facts=facts,
        autocast=torch.bfloat16 if precision == "bfloat16" else None,
    )


def choose_device(name: str) -> str:
    """Device that ``--device`` means.

    Raises:
        UserError: If it is a GPU, and there is none.
    """
    import torch

    from langpose_dist.config import UserError

    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: PyTorch finds no GPU here; --device cpu or auto needs none")
    return "cuda" if name == "auto" and torch.cuda.is_available() else name.replace("auto", "cpu")


def open_reader(model: "LiftingModel", labels: Sequence[str]) -> "LabelReader":
    """Labels for a model; those that its text encoder cuts, confuses or does not know are named.

    Raises:
        UserError: If the model has no text side.
    """
    from langpose_dist.inference.labels import LabelReader
    from langpose_dist.models.tokens import load_tokenizer
    from langpose_dist.tasks.labels import describe_labels

    reader = LabelReader.open(model, labels)
    assert model.config is not None
    text = model.config.text
    reader = replace(reader, notes=tuple(describe_labels(labels, load_tokenizer(text), text)))
    for note in reader.notes:
        print(f"note: {note}", file=sys.stderr)
    return reader


def _open_describer(name: str, tracking_uri: str | None, device: str) -> "Describer":
    """A captioner by whatever name.

    Raises:
        UserError: If there is none of that name, or it writes no captions.
    """
    from langpose_dist.config import UserError
    from langpose_dist.host.atomic import hash_file
    from langpose_dist.inference.captions import Describer
    from langpose_dist.tasks.exported import load_exported
    from langpose_dist.tracking.registry.weights import find_model

    weights, _ = find_model(name, tracking_uri)
    captioner = load_exported(weights)
    if captioner.config.task != "caption":
        raise UserError(
            f"--caption {name} was trained with task={captioner.config.task} and writes none; give a model "
            "of task=caption (configs/caption/kit.yaml)"
        )
    captioner.model.to(choose_device(device))
    fps, facts = float(captioner.header["fps"]), {"weights_sha256": hash_file(weights)}
    return Describer(name, captioner.config, fps, captioner.predict, facts)


def _write_pictures(
    arguments: argparse.Namespace, clips: Sequence["LiftedClip"], pictures: Sequence[Path]
) -> Iterator[Path]:
    from langpose_dist.inference.files import name_of
    from langpose_dist.report.player.page import write_player
    from langpose_dist.report.player.pictures import write_gif, write_mp4, write_overlay

    if "html" in arguments.formats:
        page = arguments.out / "player.html"
        write_player(page, clips, f"{arguments.keypoints.name} by {arguments.model}")
        yield page
    for ending, write in (("gif", write_gif), ("mp4", write_mp4)):
        for clip in clips if ending in arguments.formats else ():
            path = arguments.out / f"{name_of(clip)}.{ending}"
            write(path, clip)
            yield path
    if pictures:
        folder = arguments.out / "overlay"
        folder.mkdir(exist_ok=True)
        drawn = sum(1 for _ in write_overlay(folder, pictures, clips))
        if not arguments.json:
            print(f"{drawn} pictures drawn in {folder}")


def _report(arguments: argparse.Namespace, clips: Sequence["LiftedClip"], written: Sequence[Path]) -> None:
    from langpose_dist.inference.assumptions import sentences

    if arguments.json:
        report = {
            "clips": [
                {"person": clip.person, "first_frame": clip.first_frame, "num_frames": len(clip.poses_3d)}
                | {"facts": dict(clip.facts)}
                for clip in clips
            ],
            "files": [str(path) for path in written],
        }
        print(json.dumps(report, indent=2))
        return
    for clip in clips:
        print("\n".join(sentences(clip)))
        for part in clip.facts.get("captions", {}).get("parts", ()):
            print(f"{part['start_s']:8.2f} to {part['end_s']:.2f} s: {part['caption']}")
    print(f"written to {arguments.out}: {', '.join(path.name for path in written)}")


def _formats(text: str) -> tuple[str, ...]:
    chosen, known = tuple(text.split(",")), (*FORMATS, *_MOVING)
    if unknown := [name for name in chosen if name not in known]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(known)}")
    return chosen


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9]\d{0,5})[xX]([1-9]\d{0,5})", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} must be width and height in pixels, such as 1920x1080")
    return int(found[1]), int(found[2])


def _height(text: str) -> float:
    value = positive_number(text)
    if not 0.4 <= value <= 2.8:
        raise argparse.ArgumentTypeError(f"{text!r} must be a person's height in metres, 0.4 to 2.8")
    return value
