"""``langpose caption-evaluator``: nets that judge captions, for R-precision."""

import argparse
from pathlib import Path

from langpose_dist.host.arguments import count, local_path, place, whole_number

_EXAMPLES = """examples:
  langpose caption-evaluator data/kit --out evaluators
  langpose caption-evaluator data/kit --out evaluators --seeds 0 --text-form raw
  langpose evaluate runs/caption data.validation_split=test --evaluator evaluators/*.safetensors

An evaluator says which of 32 captions fits a motion best. It learns the training split's own captions and
shares no weights with any model that it judges; its best epoch is chosen on the validation split. It is not
the published one: its R-precision compares models with each other and with the score of real captions, not
with published numbers.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "caption-evaluator",
        help="train the nets that judge captions of langpose evaluate",
        description="Train evaluators of captions.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_EXAMPLES,
    )
    parser.add_argument(
        "data",
        type=place,
        metavar="FOLDER",
        help="folder or URL of shards with captions, splits train and validation",
    )
    parser.add_argument("--out", type=local_path, required=True, metavar="DIR", help="folder for the files")
    parser.add_argument(
        "--seeds",
        type=whole_number,
        nargs="+",
        default=[0, 1, 2],
        metavar="N",
        help="one file for each; default: 0 1 2",
    )
    parser.add_argument(
        "--text-form",
        choices=("words", "raw"),
        default="words",
        help="of the captions, as caption.text_form; default: words",
    )
    parser.add_argument("--epochs", type=count, default=500, metavar="N", help="at most; default: 500")
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """Train those that are missing."""
    from langpose_dist.evaluation.caption_evaluator import train_evaluator
    from langpose_dist.host.paths import make_folder

    make_folder(arguments.out)
    for seed in arguments.seeds:
        path: Path = arguments.out / f"evaluator-{arguments.text_form}-{seed}.safetensors"
        if path.exists():
            print(f"{path} exists already; remove it to train it again")
            continue
        evaluator = train_evaluator(
            str(arguments.data), text_form=arguments.text_form, seed=seed, epochs=arguments.epochs
        )
        evaluator.save(path)
        facts = evaluator.facts
        print(f"{path}: validation R@1 {facts['validation_r_at_1']:.3f} after epoch {facts['epoch']}")
    return 0
