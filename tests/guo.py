"""The published evaluator's files with made-up weights, and a data set of made-up motions."""

import math
import pickle
from pathlib import Path

import numpy as np
import torch

from langpose_dist.models.guo import GuoMatcher

PARTS = ("movement_encoder", "motion_encoder", "text_encoder")
WORDS = ("sos", "eos", "unk", "a", "person", "walk", "forward", "slowly", "then", "jump", "up")
TEXTS = {
    "00001": "A person walks.#a/DET person/NOUN walk/VERB#0.0#0.0\n",
    "00002": "A person jumps up.#a/DET person/NOUN jump/VERB up/ADP#0.0#0.0\n"
    "a person slowly cartwheels#a/DET person/NOUN slowly/ADV cartwheel/VERB#0.0#0.0\n",
    "00003": f"{'a person then ' * 7}walks#{'a/DET person/NOUN then/ADV ' * 7}walk/VERB#1.0#4.0\n",
}
LENGTHS = {"00001": 230, "00002": 50, "00003": 60}


def scatter(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """Numbers from -1 to 1 without a pattern, the same anywhere: squares modulo a prime."""
    index = torch.arange(math.prod(shape)) + 1009 * seed
    return (index * index % 10007).double().reshape(shape) / 5003 - 1


def fill(model: GuoMatcher) -> GuoMatcher:
    """Weights that anybody can make again, of a size that keeps what comes in alive."""
    for number, part in enumerate(PARTS):
        state = model.get_submodule(part).state_dict()
        for place, name in enumerate(sorted(state)):
            size = 2 / state[name].shape[-1] ** 0.5 if state[name].ndim > 1 else 0.2
            state[name].copy_(size * scatter(tuple(state[name].shape), 20 * number + place))
    return model


def write_files(folder: Path, num_channels: int = 251) -> None:
    """All six files of the evaluator."""
    folder.mkdir(parents=True, exist_ok=True)
    model = fill(GuoMatcher(num_channels))
    state = {part: model.get_submodule(part).state_dict() for part in PARTS}
    torch.save({**state, "epoch": 3, "iter": 1200}, folder / "finest.tar")
    # Out of order, so that the index is needed.
    (folder / "our_vab_words.pkl").write_bytes(pickle.dumps(list(WORDS)))
    (folder / "our_vab_idx.pkl").write_bytes(pickle.dumps({word: n for n, word in enumerate(WORDS[::-1])}))
    np.save(folder / "our_vab_data.npy", scatter((len(WORDS), 300), 1).numpy())
    np.save(folder / "mean.npy", scatter((num_channels,), 2).numpy().astype(np.float32))
    np.save(folder / "std.npy", 1.5 + scatter((num_channels,), 3).numpy().astype(np.float32))


def write_dataset(folder: Path, num_channels: int = 251) -> None:
    """Three motions, one too long, one with a caption of its own times and of more than 20 words."""
    for name in ("new_joint_vecs", "texts"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number, (name, length) in enumerate(LENGTHS.items()):
        motion = 2 * scatter((length, num_channels), 4 + number)
        np.save(folder / "new_joint_vecs" / f"{name}.npy", motion.numpy().astype(np.float32))
        (folder / "texts" / f"{name}.txt").write_text(TEXTS[name])
