"""Seconds to describe 1,000 motions: the encoder once, then the search for words.

    python -m benchmarks.caption_decoding [--model runs/caption-small/model.safetensors] [--clips 32]

Without --model: the size of configs/caption/kit.yaml with random weights, which nearly always use up all 30
words. Motions are random and as long as a window. Times are processor seconds.
"""

import argparse
import time
from pathlib import Path

import torch

from benchmarks.common import RESULTS, write_result
from langpose_dist.config import RunConfig, load_config
from langpose_dist.models.captioner import Captioner
from langpose_dist.models.words import WordTokenizer
from langpose_dist.tasks.exported import load_exported

_ROOT = Path(__file__).parents[1]
NUM_WORDS = 1400
"""Vocabulary of the decoder without --model; KIT-ML has about as many."""


def main() -> None:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="model.safetensors of a captioner")
    parser.add_argument("--clips", type=int, default=32)
    parser.add_argument("--name", default="caption_decoding", help="name of the result")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the result")
    arguments = parser.parse_args()
    model, config = open_model(arguments.model)
    frames = config.window.num_frames
    motion = torch.randn(arguments.clips, frames, 17, 3, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(arguments.clips, frames, dtype=torch.bool)
    rows = []
    with torch.inference_mode():
        model.eval()
        model.encoder(motion[:1])
        start = time.process_time()
        model.encoder(motion)
        encoded = time.process_time() - start
        for num_beams in (1, config.caption.num_beams):
            start = time.process_time()
            captions = model.generate(
                motion,
                mask,
                num_beams=num_beams,
                length_penalty=config.caption.length_penalty,
                max_words=config.caption.max_generated,
            )
            seconds = time.process_time() - start
            words = sum(len(caption.split()) for caption in captions) / len(captions)
            rows.append({"num_beams": num_beams, "words": words, "seconds": seconds, "of_encoder": encoded})
    for row in rows:
        seconds, encoder = (1000 / arguments.clips * row[name] for name in ("seconds", "of_encoder"))
        print(
            f"{row['num_beams']} beams, {row['words']:.1f} words each: {seconds:.0f} s for 1,000 motions of "
            f"{frames} frames, {encoder:.0f} s of them the encoder"
        )
    print(write_result(arguments.name, {"num_frames": frames, "rows": rows}, arguments, arguments.results))


def open_model(path: Path | None) -> tuple[Captioner, RunConfig]:
    """A captioner and its configuration."""
    if path is not None:
        exported = load_exported(path)
        assert isinstance(exported.model, Captioner)
        return exported.model, exported.config
    config = load_config(_ROOT / "configs/caption/kit.yaml", [])
    tokenizer = WordTokenizer.train(map(str, range(NUM_WORDS)), min_count=1, max_words=20)
    torch.manual_seed(0)
    return Captioner(config, tokenizer), config


if __name__ == "__main__":
    main()
