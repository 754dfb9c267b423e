"""The nets of the published evaluator of motions and sentences; their weights are not shipped.

Their parameters have the names of the published files, so that these fit.
"""

from pathlib import Path
from typing import Self

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from langpose_dist.config import UserError
from langpose_dist.models.pretrained import read_weights

NUM_KINDS = 15
"""Kinds of words: ten of grammar and five of words that matter most."""
WORD_DIM = 300
FRAMES_PER_STEP = 4
_DIM = 512
_CONTACTS = 4
"""Last channels, which say whether the feet touch the floor, and are not looked at."""


class GuoMatcher(nn.Module):
    """Motions and sentences as vectors, near each other where they belong together.

    Args:
        num_channels: Of a motion: 263 of HumanML3D, 251 of KIT-ML.

    Source:
        Guo et al., Generating Diverse and Natural 3D Human Motions from Text, CVPR 2022;
        https://github.com/EricGuo5513/text-to-motion.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.num_channels = num_channels
        steps = nn.Sequential(*_halve(num_channels - _CONTACTS), *_halve(_DIM))
        self.movement_encoder = nn.ModuleDict({"main": steps, "out_net": nn.Linear(_DIM, _DIM)})
        self.motion_encoder = _Recurrent(_DIM, 1024)
        self.text_encoder = _Recurrent(WORD_DIM, 512, NUM_KINDS)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Load the published file, ``finest.tar``.

        Raises:
            UserError: If it is another file.
        """
        content = read_weights(path)
        try:
            parts = ("movement_encoder", "motion_encoder", "text_encoder")
            state = {f"{part}.{name}": value for part in parts for name, value in content[part].items()}
            model = cls(state["movement_encoder.main.0.weight"].shape[1] + _CONTACTS)
            model.load_state_dict(state)
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"{path} is not the published text_mot_match/model/finest.tar: {reason}"
            ) from None
        return model.eval()

    def embed_motion(
        self, motion: Float[Tensor, "B T C"], lengths: Int[Tensor, "B"]
    ) -> Float[Tensor, "B 512"]:
        """Embed motions of ``lengths`` frames, at least 4 each.

        The published numbers come from motions with zeros up to frame 196, which the convolutions see.
        """
        steps = self.movement_encoder["main"](motion[..., :-_CONTACTS].mT).mT
        return self.motion_encoder(self.movement_encoder["out_net"](steps), lengths // FRAMES_PER_STEP)

    def embed_text(
        self, words: Float[Tensor, "B L 300"], kinds: Float[Tensor, "B L 15"], lengths: Int[Tensor, "B"]
    ) -> Float[Tensor, "B 512"]:
        """Embed sentences of ``lengths`` words from word vectors and kinds, each a row with a single 1."""
        return self.text_encoder(words, lengths, kinds)


def _halve(dim: int) -> tuple[nn.Module, ...]:
    """Half as many steps; the dropout only counts in the names."""
    return nn.Conv1d(dim, _DIM, kernel_size=4, stride=2, padding=1), nn.Dropout(0.2), nn.LeakyReLU(0.2)


class _Recurrent(nn.Module):
    def __init__(self, input_dim: int, dim: int, num_kinds: int = 0) -> None:
        super().__init__()
        if num_kinds:
            self.pos_emb = nn.Linear(num_kinds, input_dim)
        self.input_emb = nn.Linear(input_dim, dim)
        self.hidden = nn.Parameter(torch.zeros(2, 1, dim))
        self.gru = nn.GRU(dim, dim, batch_first=True, bidirectional=True)
        self.output_net = nn.Sequential(
            nn.Linear(2 * dim, dim), nn.LayerNorm(dim), nn.LeakyReLU(0.2), nn.Linear(dim, _DIM)
        )

    def forward(
        self, steps: Float[Tensor, "B T D"], lengths: Int[Tensor, "B"], kinds: Tensor | None = None
    ) -> Float[Tensor, "B 512"]:
        if kinds is not None:
            steps = steps + self.pos_emb(kinds)
        packed = nn.utils.rnn.pack_padded_sequence(
            self.input_emb(steps), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        _, last = self.gru(packed, self.hidden.repeat(1, len(steps), 1))
        return self.output_net(torch.cat((last[0], last[1]), dim=-1))
