"""``langpose export``: a trained model for use elsewhere."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from langpose_dist.config import TrackingConfig, UserError
from langpose_dist.host.arguments import local_path, place

if TYPE_CHECKING:
    from langpose_dist.export.model import LangPose

_EXAMPLES = """examples:
  langpose export onnx runs/small --out small.onnx
  langpose export safetensors models:/langpose-small@champion --out champion.safetensors
  langpose export huggingface runs/small --out small-hf --licence "CC BY-NC 4.0"

MODEL is the folder of a finished run, its checkpoints/best, a folder that registry pull or this command made,
an exported model.safetensors, or a model of the registry (models:/NAME@ALIAS). docs/export.md says more.
"""
_FORMATS = {
    "onnx": (
        "FILE.onnx",
        "one file for ONNX Runtime and others: batch and frames of any size up to the window",
    ),
    "safetensors": ("FILE.safetensors", "the weights, with configuration and origin in the header"),
    "huggingface": ("FOLDER", "a folder for from_pretrained, with a model card"),
}


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``export`` to the command line."""
    parser = subparsers.add_parser("export", help="write a model as ONNX, safetensors or Hugging Face folder")
    commands = parser.add_subparsers(title="formats", dest="format", metavar="FORMAT", required=True)
    for name, (target, text) in _FORMATS.items():
        command = commands.add_parser(
            name, help=text, epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        command.add_argument("model", metavar="MODEL", type=place, help="model to export; see below")
        command.add_argument("--out", metavar=target, type=local_path, required=True, help="must not exist")
        command.add_argument(
            "--tracking-uri",
            type=place,
            metavar="URI",
            help=f"of the registry; default: MLFLOW_TRACKING_URI, or {TrackingConfig().uri}",
        )
        if name != "safetensors":  # which is the file as it is
            command.add_argument(
                "--licence",
                metavar="TEXT",
                help="of the training data; default: as the run or version states",
            )
        command.add_argument("--json", action="store_true", help="report as JSON")
        command.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """Export and report."""
    out: Path = arguments.out
    if out.exists():
        raise UserError(f"--out {out} exists; name another place, or remove it first")
    if not out.parent.is_dir():
        raise UserError(f"--out {out} must be in a folder that exists; {out.parent} does not")

    from langpose_dist.library import load

    model = load(arguments.model, tracking_uri=arguments.tracking_uri)
    write = {"onnx": _write_onnx, "safetensors": _write_safetensors, "huggingface": _write_huggingface}
    write[arguments.format](arguments, model)
    if arguments.json:
        print(json.dumps({"format": arguments.format, "out": str(out), **model.facts}, indent=2))
    else:
        print(
            "{out}: windows of at most {max_frames} frames, poses in {space} ({unit}), weights "
            "{weights_sha256:.12}".format(out=out, **model.facts)
        )
    return 0


def _write_onnx(arguments: argparse.Namespace, model: "LangPose") -> None:
    from langpose_dist.export.onnx import write_onnx

    write_onnx(arguments.out, _licensed(arguments, model))


def _write_safetensors(arguments: argparse.Namespace, model: "LangPose") -> None:
    model.save(arguments.out)


def _write_huggingface(arguments: argparse.Namespace, model: "LangPose") -> None:
    _licensed(arguments, model).save_pretrained(arguments.out)


def _licensed(arguments: argparse.Namespace, model: "LangPose") -> "LangPose":
    from langpose_dist.export.facts import LICENCE

    if arguments.licence is not None:
        model.facts[LICENCE] = arguments.licence
    return model
