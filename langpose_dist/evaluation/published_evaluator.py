"""R-precision by the published evaluator of Guo et al., for those who have its files.

It computes what TM2T's evaluation does, but for two things. Words get the kind (verb, noun, ...) that they
most often have in the data set's own texts, where TM2T asks spaCy about each sentence. The result is the mean
over random batches of 20 orders, where TM2T draws one order.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from langpose_dist.config import RunConfig, UserError
from langpose_dist.data.manifest import Manifest
from langpose_dist.data.sample import DataError
from langpose_dist.datasets.arrays import read_npy
from langpose_dist.datasets.humanml3d.clips import read_captions
from langpose_dist.datasets.humanml3d.motion import LAYOUTS
from langpose_dist.datasets.pickles import load_pickle
from langpose_dist.evaluation.caption_evaluator import BATCH_SIZE, CaptionedClip
from langpose_dist.host.atomic import hash_file
from langpose_dist.metrics.retrieval import similarity_recall
from langpose_dist.models.guo import FRAMES_PER_STEP, WORD_DIM, GuoMatcher

HOME = "https://github.com/EricGuo5513/text-to-motion"
WEIGHTS, VECTORS, WORDS, INDEX = "finest.tar", "our_vab_data.npy", "our_vab_words.pkl", "our_vab_idx.pkl"
MEAN, STD = "mean.npy", "std.npy"
NUM_FRAMES = 196
"""Frames of a motion that are looked at; shorter ones are filled with zeros."""
MAX_WORDS = 20
"""Words of a caption that are looked at."""
KINDS = (
    *("VERB", "NOUN", "DET", "ADP", "NUM", "AUX", "PRON", "ADJ", "ADV"),
    *("Loc_VIP", "Body_VIP", "Obj_VIP", "Act_VIP", "Desc_VIP", "OTHER"),
)
"""Kinds of words, in the order of the text side's input."""
_DATASETS = {251: "kit-ml", 263: "humanml3d"}
"""By the channels of a motion."""
_SPECIAL = {
    "Loc_VIP": "left right clockwise counterclockwise anticlockwise forward back backward up down straight "
    "curve",
    "Body_VIP": "arm chin foot feet face hand mouth leg waist eye knee shoulder thigh",
    "Obj_VIP": "stair dumbbell chair window floor car ball handrail baseball basketball",
    "Act_VIP": "walk run swing pick bring kick put squat throw hop dance jump turn stumble stop sit lift "
    "lower raise wash stand kneel stroll rub bend balance flap jog shuffle lean rotate spin spread climb",
    "Desc_VIP": "slowly carefully fast careful slow quickly happy angry sad happily angrily sadly",
}
"""Words of these kinds, whatever their grammar."""


@dataclass(frozen=True)
class _Vocabulary:
    row_of: Mapping[str, int]
    vectors: Float[Tensor, "V 300"]
    kinds: Float[Tensor, "V 15"]
    """A single 1 in each row."""

    @classmethod
    def load(cls, folder: Path, texts: Path) -> Self:
        vectors = _read_numbers(folder / VECTORS, (-1, WORD_DIM))
        words, index = load_pickle(folder / WORDS), load_pickle(folder / INDEX)
        kind_of = _read_kinds(texts)
        kind_of |= {word: kind for kind, special in _SPECIAL.items() for word in special.split()}
        kinds = torch.zeros(len(vectors), len(KINDS))
        try:
            row_of = {word: index[word] for word in (*words, "sos", "eos", "unk")}
            for word, row in row_of.items():
                kind = kind_of.get(word)
                kinds[row, KINDS.index(kind if kind in KINDS else "OTHER")] = 1
        except (IndexError, KeyError, TypeError) as error:
            raise UserError(
                f"{folder}: {VECTORS}, {WORDS} and {INDEX} are of different vocabularies ({error}); copy all "
                "three again"
            ) from None
        return cls(row_of, torch.from_numpy(vectors), kinds)

    def rows(self, caption: str) -> Tensor:
        """Rows of a caption's words, between those of its beginning and end."""
        words = ("sos", *caption.split()[:MAX_WORDS], "eos")
        return torch.tensor([self.row_of.get(word, self.row_of["unk"]) for word in words])


@dataclass(frozen=True)
class PublishedEvaluator:
    """The published nets, word vectors and normalisation, and the motions of their data set."""

    metric: ClassVar[str] = "published_r_precision"

    model: GuoMatcher
    vocabulary: _Vocabulary
    mean: Float32[np.ndarray, "C"]
    std: Float32[np.ndarray, "C"]
    dataset: Path
    """Folder of KIT-ML or HumanML3D."""
    facts: Mapping[str, Any]
    sha256: str
    """Hash of the weights."""
    fps: float
    """Rate that the frames of clips are counted in."""
    _seen: dict[tuple[str, tuple[int, int]], Tensor] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path, dataset: Path) -> Self:
        """Load the published files, and what they need of their data set.

        Args:
            folder: Holds ``finest.tar``, the three parts of ``our_vab``, ``mean.npy`` and ``std.npy``.
            dataset: KIT-ML or HumanML3D with ``new_joint_vecs`` and ``texts``.

        Raises:
            UserError: If one of them is missing or another's.
        """
        others = (VECTORS, WORDS, INDEX, MEAN, STD)
        for name in (WEIGHTS, *others):
            if not (folder / name).is_file():
                raise UserError(f"{folder} has no {name}, a file of the published evaluator: see {HOME}")
        model = GuoMatcher.load(folder / WEIGHTS)
        channels = model.num_channels
        if channels not in _DATASETS:
            raise UserError(
                f"{folder / WEIGHTS} takes motions of {channels} channels; the published evaluator of KIT-ML "
                "takes 251, that of HumanML3D 263"
            )
        mean, std = (_read_numbers(folder / name, (channels,)) for name in (MEAN, STD))
        facts = {
            "dataset": _DATASETS[channels],
            "fingerprint": hashlib.sha256(
                "".join(hash_file(folder / name) for name in others).encode()
            ).hexdigest(),
            "text_form": "words",
            "kinds_of_words": "most frequent in the data set's texts, not spaCy's",
        }
        vocabulary = _Vocabulary.load(folder, dataset / "texts")
        sha256, fps = hash_file(folder / WEIGHTS), LAYOUTS[_DATASETS[channels]].fps
        found = cls(model, vocabulary, mean, std, dataset, facts, sha256, fps)
        if (first := next((dataset / "new_joint_vecs").glob("*.npy"), None)) is None:
            raise UserError(f"{dataset} has no new_joint_vecs/*.npy, which the published evaluator judges")
        found.read_motion(first.stem, (0, NUM_FRAMES))  # now rather than after all captions are generated
        return found

    @property
    def origin(self) -> str:
        """For a line of the report."""
        return f"the published one of {self.facts['dataset']}; kinds of words: {self.facts['kinds_of_words']}"

    def for_data(self, config: RunConfig) -> Self:
        """The same for clips of a configuration's data.

        Raises:
            UserError: If the captions are not processed words.
        """
        if config.caption.text_form != "words":
            raise UserError(
                f"the published evaluator learned processed words, the model writes "
                f"{config.caption.text_form} captions; train one with caption.text_form=words"
            )
        return replace(self, fps=Manifest.load(config.data.path).fps, _seen={})

    def hits(
        self, clips: Sequence[CaptionedClip], captions: Sequence[str], top: int = 3
    ) -> Float[Tensor, "N top"]:
        """Share of random batches of 32 with each motion's own caption among the nearest 1, 2, ... of it.

        Raises:
            UserError: If a clip is not among the data set's motions.
            ValueError: If there are fewer clips than a batch holds.
        """
        motions, texts = self.embed_motions(clips).double(), self.embed_texts(captions).double()
        distances = torch.cdist(motions, texts, compute_mode="donot_use_mm_for_euclid_dist")
        return similarity_recall(-distances, size=BATCH_SIZE, top=top)

    @torch.inference_mode()
    def embed_motions(self, clips: Sequence[CaptionedClip]) -> Float[Tensor, "N 512"]:
        """Features of the described frames; they are kept, as every row of a report asks for them.

        Raises:
            UserError: As by ``hits``.
        """
        places = [(clip.key, clip.frames) for clip in clips]
        for batch in _batches([place for place in places if place not in self._seen]):
            motions = [torch.from_numpy(self.read_motion(*place)) for place in batch]
            padded = [nn.functional.pad(one, (0, 0, 0, NUM_FRAMES - len(one))) for one in motions]
            lengths = torch.tensor([len(one) for one in motions])
            features = self.model.embed_motion(torch.stack(padded), lengths)
            self._seen.update(zip(batch, features, strict=True))
        return torch.stack([self._seen[place] for place in places])

    def read_motion(self, key: str, frames: tuple[int, int]) -> Float32[np.ndarray, "T C"]:
        """At most 196 frames of a motion, normalised as the evaluator learned them.

        Raises:
            UserError: If there is no such motion, or one of other channels.
        """
        path = self.dataset / "new_joint_vecs" / f"{key}.npy"
        rate = LAYOUTS[self.facts["dataset"]].fps / self.fps
        start, stop = (round(frame * rate) for frame in frames)
        motion = _read_numbers(path, (-1, self.model.num_channels))[start:stop][:NUM_FRAMES]
        if len(motion) < FRAMES_PER_STEP:
            raise UserError(f"{path}: {len(motion)} frames from {start} to {stop}, the evaluator needs 4")
        return (motion - self.mean) / self.std

    @torch.inference_mode()
    def embed_texts(self, captions: Sequence[str]) -> Float[Tensor, "N 512"]:
        """Features of sentences; equal ones have equal features."""
        features: dict[str, Tensor] = {}
        for batch in _batches(list(dict.fromkeys(captions))):
            sentences = [self.vocabulary.rows(caption) for caption in batch]
            rows = nn.utils.rnn.pad_sequence(sentences, batch_first=True)
            lengths = torch.tensor([len(one) for one in sentences])
            found = self.model.embed_text(self.vocabulary.vectors[rows], self.vocabulary.kinds[rows], lengths)
            features.update(zip(batch, found, strict=True))
        return torch.stack([features[caption] for caption in captions])


def _batches(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (items[start : start + 64] for start in range(0, len(items), 64))


def _read_kinds(folder: Path) -> dict[str, str]:
    """The most frequent kind of each word in a folder of texts."""
    counts: Counter[tuple[str, str]] = Counter()
    for path in sorted(folder.glob("*.txt")):
        captions, _ = read_captions(path, fps=1.0, num_frames=2**31)
        tokens = (token.rpartition("/") for caption in captions for token in caption.words.split())
        counts.update((word.lower(), kind) for word, _, kind in tokens)
    if not counts:
        raise UserError(f"{folder} has no *.txt with processed words; give KIT-ML or HumanML3D as they come")
    return {word: kind for (word, kind), _ in reversed(counts.most_common())}


def _read_numbers(path: Path, shape: tuple[int, ...]) -> Float32[np.ndarray, "..."]:
    """An npy file of this shape, whose first length may be -1: any."""
    try:
        content = read_npy(path)
    except (DataError, OSError) as error:
        raise UserError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if content.ndim != len(shape) or content.shape[-1] != shape[-1]:
        raise UserError(
            f"{path} has shape {content.shape}, the published evaluator needs {shape[-1]} as its last length"
        )
    return np.array(content, dtype=np.float32)
