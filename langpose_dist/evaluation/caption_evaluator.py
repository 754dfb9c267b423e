"""Training of the evaluator of captions, and R-precision by it."""

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from langpose_dist.config import CaptionConfig, TextConfig, UserError
from langpose_dist.data.captions import Captioned, TextForm
from langpose_dist.data.manifest import Manifest
from langpose_dist.data.shards import ShardReader
from langpose_dist.data.windows import Window
from langpose_dist.datasets.splits import RECORDING
from langpose_dist.datasets.timing import resample
from langpose_dist.host.atomic import hash_file
from langpose_dist.host.bars import Bar
from langpose_dist.metrics.caption import normalise_caption
from langpose_dist.metrics.retrieval import recall_in_batches
from langpose_dist.models.matcher import CaptionMatcher
from langpose_dist.models.text import TextEncoder, load_text_encoder, pool_tokens
from langpose_dist.models.weights import write_weights
from langpose_dist.skeleton import H36M17
from langpose_dist.tasks.task import Caption

FPS = 12.5
"""Rate that motions are judged at: KIT-ML's."""
BATCH_SIZE = 32
TEMPERATURE = 0.1
ALIKE = 0.6
"""Cosine of two sentences above which neither is a negative of the other's motion."""
_TEXT = TextConfig(max_tokens=64)
_FORMAT = "langpose caption evaluator 1"


@dataclass(frozen=True)
class CaptionedClip:
    """A motion with the sentences that people wrote about it."""

    key: str
    recording: str
    """The same for a motion and its mirrored copy."""
    frames: tuple[int, int]
    """First frame that the captions describe and one past the last, at the manifest's rate."""
    motion: Float32[np.ndarray, "T 102"]
    captions: tuple[str, ...]


def read_captioned_clips(path: str, split: str, text_form: TextForm) -> list[CaptionedClip]:
    """Captioned motions of a split, of any length, in the shards' order.

    Raises:
        DataError: If there is no such split.
    """
    manifest = Manifest.load(path)
    reader = ShardReader(manifest, path)
    found = Captioned.find(manifest, split, CaptionConfig(text_form=text_form), num_frames=1)
    return [_read(reader, motion, manifest.fps) for motion in found.motions]


def read_described_clips(path: str, split: str, captions: Sequence[Caption]) -> list[CaptionedClip]:
    """Motions that a model described, with their references.

    Raises:
        DataError: If there is no such split.
    """
    manifest = Manifest.load(path)
    reader = ShardReader(manifest, path)
    places = {
        entry.key: (shard, place, entry)
        for shard, content in manifest.shards_of(split)
        for place, entry in enumerate(content.samples)
    }
    motions = [Window(*places[one.clip], *one.frames, (), captions=one.references) for one in captions]
    return [_read(reader, motion, manifest.fps) for motion in motions]


def _read(reader: ShardReader, motion: Window, fps: float) -> CaptionedClip:
    poses = reader.read_poses(motion.shard, motion.sample, motion.start, motion.stop)
    recording = reader.read_meta(motion.shard, motion.sample).get(RECORDING, motion.key)
    frames = (motion.start, motion.stop)
    return CaptionedClip(motion.key, recording, frames, motion_features(poses, fps), motion.captions)


def motion_features(poses_3d: Float[np.ndarray, "T 17 3"], fps: float) -> Float32[np.ndarray, "S 102"]:
    """Joints about the pelvis and velocities in m/s, seen by a person who faced forward in the first frame.

    Args:
        poses_3d: World axes, metres, z up.
        fps: Their rate; the features have ``FPS``.
    """
    poses = resample(poses_3d, fps, FPS)
    hips = poses[0, H36M17.index("left_hip")] - poses[0, H36M17.index("right_hip")]
    cosine, sine = np.array([hips[0], -hips[1]]) / max(float(np.hypot(*hips[:2])), 1e-6)
    turn = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    turned = poses @ turn.T
    velocities = np.diff(turned, axis=0, append=turned[-1:]) * FPS
    joints = np.concatenate((turned - turned[:, :1], velocities), axis=-1)
    return joints.reshape(len(joints), -1).astype(np.float32)


@dataclass(frozen=True)
class CaptionEvaluator:
    """A trained matcher."""

    metric: ClassVar[str] = "r_precision"

    model: CaptionMatcher
    encoder: TextEncoder
    facts: Mapping[str, Any]
    """Data, seed and score on real captions."""
    sha256: str = ""

    @property
    def origin(self) -> str:
        """Data and seed, for a line of the report."""
        return f"{self.facts['dataset']} {self.facts['fingerprint'][:16]}, seed {self.facts['seed']}"

    @classmethod
    def load(cls, path: Path) -> Self:
        """Load a file of ``save``.

        Raises:
            UserError: If it is none.
        """
        try:
            with safe_open(path, framework="pt") as file:
                facts = json.loads((file.metadata() or {}).get("evaluator", "null"))
        except (SafetensorError, OSError) as error:
            raise UserError(f"caption evaluator {path} cannot be read: {error}") from None
        if facts is None or facts["format"] != _FORMAT:
            raise UserError(f"{path} is no caption evaluator; make one by langpose caption-evaluator")
        encoder = load_text_encoder(_TEXT)
        model = CaptionMatcher(encoder.dim)
        model.load_state_dict(load_file(path))
        return cls(model.eval(), encoder, facts, hash_file(path))

    def save(self, path: Path) -> None:
        """Write one safetensors file."""
        write_weights(path, self.model.state_dict(), {"evaluator": json.dumps(self.facts, sort_keys=True)})

    def hits(
        self, clips: Sequence[CaptionedClip], captions: Sequence[str], top: int = 3
    ) -> Float[Tensor, "N top"]:
        """Share of random batches of 32 in which each motion's own caption is among the best 1, 2, ... of it.

        Raises:
            ValueError: If there are fewer clips than a batch holds.
        """
        return recall_in_batches(
            self.embed_motions(clips), self.embed_texts(captions), size=BATCH_SIZE, top=top
        )

    @torch.inference_mode()
    def embed_motions(self, clips: Sequence[CaptionedClip]) -> Float[Tensor, "N 256"]:
        """Features of unit length."""
        return torch.cat(
            [
                self.model.embed_motion(*pad_motions([clip.motion for clip in clips[start : start + 256]]))
                for start in range(0, len(clips), 256)
            ]
        )

    @torch.inference_mode()
    def embed_texts(self, captions: Sequence[str]) -> Float[Tensor, "N 256"]:
        """Features of unit length."""
        return self.model.embed_text(*_token_features(self.encoder, captions))


def train_evaluator(
    data: str, *, text_form: TextForm = "words", seed: int = 0, epochs: int = 500, patience: int = 40
) -> CaptionEvaluator:
    """Train on the split ``train``; the weights with the best R@1 of the split ``validation``'s own captions.

    Args:
        data: Folder or URL of shards with captions.
        text_form: Of the captions that it learns.
        seed: Of the weights, of the order, and of the caption that is drawn for each clip and epoch.
        epochs: Most epochs.
        patience: Epochs without a better score after which training ends.

    Raises:
        DataError: If there is no such split.
        UserError: If a split is too small for batches of 32.

    Source:
        Petrovich et al., TMR, ICCV 2023: symmetric InfoNCE without negatives that say much the same.
    """
    train, held_out = (read_captioned_clips(data, split, text_form) for split in ("train", "validation"))
    for split, clips in (("train", train), ("validation", held_out)):
        if len(clips) < BATCH_SIZE:
            raise UserError(
                f"{data}: {len(clips)} motions of split {split!r} have captions (text form {text_form}), the "
                f"evaluator needs {BATCH_SIZE}"
            )
    encoder = load_text_encoder(_TEXT)
    sentences = sorted({caption for clip in train for caption in clip.captions})
    texts = _Texts.encode(encoder, sentences)
    number_of = {sentence: number for number, sentence in enumerate(sentences)}
    numbers = [[number_of[caption] for caption in clip.captions] for clip in train]

    model = CaptionMatcher.seeded(encoder.dim, seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    rng = np.random.Generator(np.random.Philox(key=seed))
    best, best_score, best_epoch = copy.deepcopy(model.state_dict()), -1.0, 0
    torch.manual_seed(seed)
    with Bar(epochs, "caption evaluator", "epoch") as bar:
        for epoch in range(1, epochs + 1):
            model.train()
            for rows in _batches(len(train), rng):
                drawn = torch.tensor([int(rng.choice(numbers[row])) for row in rows])
                motion = model.embed_motion(*pad_motions([train[row].motion for row in rows]))
                loss = contrast(motion, model.embed_text(*texts.of(drawn)), texts.alike(drawn))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            evaluator = CaptionEvaluator(model.eval(), encoder, {})
            score = float(evaluator.hits(held_out, [clip.captions[0] for clip in held_out])[:, 0].mean())
            if score > best_score:
                best, best_score, best_epoch = copy.deepcopy(model.state_dict()), score, epoch
            bar.note({"R@1": f"{score:.3f}", "best": f"{best_score:.3f}"})
            bar.update()
            if epoch - best_epoch >= patience:
                break
    model.load_state_dict(best)
    manifest = Manifest.load(data)
    facts = {
        "format": _FORMAT,
        "dataset": manifest.dataset,
        "fingerprint": manifest.fingerprint,
        "seed": seed,
        "epoch": best_epoch,
        "validation_r_at_1": best_score,
        "text_encoder": _TEXT.encoder,
        "text_form": text_form,
    }
    return CaptionEvaluator(model.eval(), encoder, facts)


def contrast(
    motion: Float[Tensor, "B D"], text: Float[Tensor, "B D"], alike: Bool[Tensor, "B B"]
) -> Float[Tensor, ""]:
    """Symmetric InfoNCE; pairs in ``alike`` are no negatives."""
    logits = (motion @ text.T / TEMPERATURE).masked_fill(alike, -torch.inf)
    own = torch.arange(len(logits))
    return (nn.functional.cross_entropy(logits, own) + nn.functional.cross_entropy(logits.T, own)) / 2


def pad_motions(
    motions: Sequence[Float32[np.ndarray, "_ 102"]],
) -> tuple[Float[Tensor, "B T 102"], Bool[Tensor, "B T"]]:
    """Motions of any length as one batch, and which of its frames are theirs."""
    lengths = torch.tensor([len(motion) for motion in motions])
    padded = nn.utils.rnn.pad_sequence([torch.from_numpy(motion) for motion in motions], batch_first=True)
    return padded, torch.arange(padded.shape[1]) < lengths[:, None]


@dataclass(frozen=True)
class _Texts:
    """Features of all training captions."""

    tokens: Float[Tensor, "V L E"]
    mask: Bool[Tensor, "V L"]
    sentences: Float[Tensor, "V E"]

    @classmethod
    def encode(cls, encoder: TextEncoder, captions: Sequence[str]) -> Self:
        tokens, mask = _token_features(encoder, captions)
        return cls(tokens, mask, pool_tokens(tokens, mask))

    def of(self, rows: Tensor) -> tuple[Float[Tensor, "B L E"], Bool[Tensor, "B L"]]:
        return self.tokens[rows], self.mask[rows]

    def alike(self, rows: Tensor) -> Bool[Tensor, "B B"]:
        """Pairs of different motions whose sentences say much the same."""
        cosines = self.sentences[rows] @ self.sentences[rows].T
        return (cosines > ALIKE) & ~torch.eye(len(rows), dtype=torch.bool)


def _token_features(
    encoder: TextEncoder, captions: Sequence[str]
) -> tuple[Float[Tensor, "N L E"], Bool[Tensor, "N L"]]:
    captions = [normalise_caption(one) for one in captions]  # a captioner writes no punctuation, people do
    mask = encoder.tokenize(captions).mask
    length = int(mask.sum(dim=1).max())
    return encoder.token_features(captions)[:, :length].cpu(), mask[:, :length]


def _batches(num_clips: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    order = rng.permutation(num_clips)
    yield from np.split(order, range(BATCH_SIZE, num_clips // BATCH_SIZE * BATCH_SIZE + 1, BATCH_SIZE))[
        : num_clips // BATCH_SIZE
    ]
