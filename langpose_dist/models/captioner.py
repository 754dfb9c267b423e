"""The captioner: the motion encoder, the frame features of its pose pooling, and a decoder of words."""

from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from langpose_dist.config import CaptionConfig, RunConfig
from langpose_dist.models.dstformer import DSTformer
from langpose_dist.models.pooling import PosePooling
from langpose_dist.models.pretrained import load_encoder_weights, load_pooling_weights
from langpose_dist.models.words import END, PAD, START, UNKNOWN, WordTokenizer
from langpose_dist.skeleton import H36M17

if TYPE_CHECKING:
    from transformers import MarianMTModel

_NUM_POSITIONS = 64
_NEVER_SAID = (PAD, START, UNKNOWN)
_EMBEDDING = "decoder.model.shared.weight"
_SAME = tuple(
    f"decoder.{name}.weight"
    for name in ("lm_head", "model.encoder.embed_tokens", "model.decoder.embed_tokens")
)
"""Further names of the embedding, which files hold once."""


class Captioner(nn.Module):
    """Describes motions in words.

    Args:
        config: Its ``model``, ``window`` and ``caption`` sections define the architecture.
        tokenizer: Words that it knows.
    """

    def __init__(self, config: RunConfig, tokenizer: WordTokenizer) -> None:
        super().__init__()
        model = config.model
        self.tokenizer = tokenizer
        self.encoder = DSTformer(model, num_frames=config.window.num_frames, num_joints=H36M17.num_joints)
        self.pose_pooling = PosePooling(
            model.dim_representation, H36M17.num_joints, model.pool_dim, model.embed_dim, model.pool_dropout
        )
        caption = config.caption
        self.over_frames = nn.ModuleList(
            nn.TransformerEncoderLayer(
                model.embed_dim, caption.num_heads, 4 * model.embed_dim, caption.dropout, batch_first=True
            )
            for _ in range(caption.memory_layers)
        )
        self.decoder = _build_decoder(caption, model.embed_dim, len(tokenizer))
        # Neither poses nor a sum over frames are asked for.
        self.encoder.head.requires_grad_(False)
        self.pose_pooling.weighted_sum.requires_grad_(False)
        self.register_state_dict_post_hook(_drop_ties)
        self.register_load_state_dict_pre_hook(_restore_ties)
        self.register_load_state_dict_post_hook(_tie)

    @classmethod
    def build(cls, config: RunConfig, tokenizer: WordTokenizer) -> "Captioner":
        """A model to train, from ``config.model.initial_weights`` where it names some.

        Raises:
            UserError: If they do not fit.
        """
        model = cls(config, tokenizer)
        for parameter in (*model.over_frames.parameters(), *model.decoder.parameters()):
            if parameter.requires_grad and parameter.ndim == 2:
                nn.init.xavier_uniform_(parameter)
        if (path := config.model.initial_weights) is not None:
            load_encoder_weights(model.encoder, path)
            load_pooling_weights(model.pose_pooling, path)
        if config.caption.frozen:
            model.encoder.requires_grad_(False)
            model.pose_pooling.requires_grad_(False)
        return model

    def header(self) -> dict[str, str]:
        """Entries of an export's header that rebuild the model, besides the configuration."""
        return {"tokenizer": self.tokenizer.to_json()}

    def forward(
        self,
        motion: Float[Tensor, "B T J 3"],
        frame_mask: Bool[Tensor, "B T"],
        token_ids: Int[Tensor, "B L"],
    ) -> Float[Tensor, "B M V"]:
        """Logits of the words after each word of captions but the last (M is L - 1).

        Args:
            motion: 3D joints or 2D keypoints, as the model was trained with.
            frame_mask: Frames that the decoder sees.
            token_ids: From the tokenizer.
        """
        features = self.pose_pooling.frame_features(self.encoder(motion))
        return self.next_words(features, frame_mask, token_ids)

    def next_words(
        self,
        features: Float[Tensor, "B T D"],
        frame_mask: Bool[Tensor, "B T"],
        token_ids: Int[Tensor, "B L"],
    ) -> Float[Tensor, "B M V"]:
        """As ``forward``, from the features of frames."""
        ids = token_ids[:, :-1]
        is_before = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool, device=ids.device).tril()
        # Masks of four axes: at the values of others transformers looks, and would wait for the GPU.
        return self.decoder(
            encoder_outputs=self._memory(features, frame_mask),
            attention_mask=frame_mask[:, None, None],
            decoder_input_ids=ids,
            decoder_attention_mask=is_before[None, None],
            use_cache=False,
        ).logits

    def generate(
        self,
        motion: Float[Tensor, "B T J 3"],
        frame_mask: Bool[Tensor, "B T"],
        *,
        num_beams: int,
        length_penalty: float,
        max_words: int,
    ) -> list[str]:
        """The likeliest caption of each motion, by beam search.

        Args:
            motion: As in training.
            frame_mask: Frames that the decoder sees.
            num_beams: Beams; 1 takes the likeliest word each time.
            length_penalty: A caption's log probability is divided by its length to this power.
            max_words: Longest caption.
        """
        search: dict[str, Any] = {"length_penalty": length_penalty, "early_stopping": True}
        features = self.pose_pooling.frame_features(self.encoder(motion))
        ids = self.decoder.generate(  # pyright: ignore[reportAttributeAccessIssue]
            encoder_outputs=self._memory(features, frame_mask),
            attention_mask=frame_mask,
            do_sample=False,
            num_beams=num_beams,
            max_new_tokens=max_words,
            suppress_tokens=list(_NEVER_SAID),
            **search if num_beams > 1 else {},
        )
        return self.tokenizer.decode(ids)

    def _memory(self, features: Float[Tensor, "B T D"], frame_mask: Bool[Tensor, "B T"]) -> Any:
        from transformers.modeling_outputs import BaseModelOutput

        for layer in self.over_frames:
            features = layer(features, src_key_padding_mask=~frame_mask)
        return BaseModelOutput(last_hidden_state=features)


def _build_decoder(config: CaptionConfig, dim: int, num_words: int) -> "MarianMTModel":
    """TM2T's decoder: that of the transformer of 2017, its output tied to its embedding.

    Source:
        Guo et al., TM2T, ECCV 2022; the same as ``nn.TransformerDecoder`` with these weights.
    """
    from transformers import MarianConfig, MarianMTModel

    return MarianMTModel(
        MarianConfig(
            vocab_size=num_words,
            decoder_vocab_size=num_words,
            d_model=dim,
            encoder_layers=0,
            decoder_layers=config.num_layers,
            decoder_attention_heads=config.num_heads,
            decoder_ffn_dim=4 * dim,
            activation_function="relu",
            scale_embedding=True,
            dropout=config.dropout,
            attention_dropout=config.dropout,
            max_position_embeddings=_NUM_POSITIONS,
            pad_token_id=PAD,
            bos_token_id=START,
            eos_token_id=END,
            decoder_start_token_id=START,
            forced_eos_token_id=None,
        )
    )


def _drop_ties(model: nn.Module, state: dict[str, Tensor], prefix: str, metadata: Any) -> None:
    for name in _SAME:
        state.pop(prefix + name, None)


def _restore_ties(model: nn.Module, state: dict[str, Tensor], prefix: str, *arguments: Any) -> None:
    if (embedding := state.get(prefix + _EMBEDDING)) is not None:
        state.update({prefix + name: embedding for name in _SAME})


def _tie(model: nn.Module, incompatible: Any) -> None:
    assert isinstance(model, Captioner)
    model.decoder.tie_weights()
