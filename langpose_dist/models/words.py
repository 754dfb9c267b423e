"""Words of captions as numbers."""

from collections.abc import Iterable, Sequence
from typing import Self

import torch
from jaxtyping import Int
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordLevel
from tokenizers.trainers import WordLevelTrainer
from torch import Tensor

PAD, START, END, UNKNOWN = range(4)
_SPECIAL = ["[pad]", "[sos]", "[eos]", "[unk]"]
"""By number."""
_KIT_ML_WORDS = 1400


class WordTokenizer:
    """Words and their numbers, with marks of a caption's beginning and end.

    Text is brought to lower case and to letters, digits and apostrophes.

    Args:
        tokenizer: From ``train`` or ``from_json``.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    @classmethod
    def train(cls, captions: Iterable[str], *, min_count: int, max_words: int) -> Self:
        """Number the words of captions, the most frequent first; their order does not matter.

        Args:
            captions: Of training.
            min_count: A rarer word is unknown.
            max_words: Words of a caption that are kept.
        """
        tokenizer = Tokenizer(WordLevel(unk_token=_SPECIAL[UNKNOWN]))
        plain = normalizers.Replace(Regex("[^a-z0-9']+"), " ")
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.NFKC(), normalizers.Lowercase(), plain, normalizers.Strip()]
        )
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # Whitespace would split "it's"
        trainer = WordLevelTrainer(min_frequency=min_count, special_tokens=_SPECIAL, show_progress=False)
        tokenizer.train_from_iterator(captions, trainer)
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{_SPECIAL[START]} $A {_SPECIAL[END]}",
            special_tokens=[(_SPECIAL[START], START), (_SPECIAL[END], END)],
        )
        tokenizer.enable_truncation(max_words + 2)
        tokenizer.enable_padding(pad_id=PAD, pad_token=_SPECIAL[PAD])
        return cls(tokenizer)

    @classmethod
    def outline(cls) -> Self:
        """As many words as KIT-ML has, for models whose weights are counted before there are any."""
        return cls.train(map(str, range(_KIT_ML_WORDS)), min_count=1, max_words=1)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The tokenizer that gave the text.

        Raises:
            ValueError: If it is none.
        """
        try:
            return cls(Tokenizer.from_str(text))
        except Exception as error:  # tokenizers raises nothing more specific
            raise ValueError(f"no tokenizer: {error}") from None

    def to_json(self) -> str:
        """Its whole state."""
        return self._tokenizer.to_str()

    def __len__(self) -> int:
        """Words and marks (V)."""
        return self._tokenizer.get_vocab_size()

    def encode(self, captions: Sequence[str]) -> Int[Tensor, "B L"]:
        """Numbers of captions between their marks; the longest decides on L."""
        return torch.tensor([one.ids for one in self._tokenizer.encode_batch(list(captions))])

    def decode(self, ids: Int[Tensor, "B L"]) -> list[str]:
        """Captions of numbers, without marks."""
        return self._tokenizer.decode_batch(ids.tolist())
