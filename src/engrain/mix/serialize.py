"""Texts to tokens: question-answer pairs as chat, the rest as raw text, BOS and EOS right.

Knows one tokenizer; knows nothing of shares, order or packing. What the student is trained to write
ends with the tokenizer's end token exactly once, and no text has two beginnings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engrain.records import SyntheticText

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Tokens = NDArray[np.int32]

# Llama 3.2's template writes today's date into the prompt unless it is given one: a mixture must
# not change overnight. This is the date that the template itself falls back to.
_DATE = "26 Jul 2024"


class Serializer:
    """One student's way of reading texts."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._chat = tokenizer.chat_template is not None
        self._end: int = tokenizer.eos_token_id
        self._end_text = str(tokenizer.eos_token)
        # A tokenizer that adds a beginning to the empty text adds it to every text.
        bos = tokenizer.bos_token_id
        self._begin = [bos] if bos is not None and tokenizer("")["input_ids"][:1] == [bos] else []

    def synthetic(self, texts: Sequence[SyntheticText]) -> Iterator[Tokens]:
        """The tokens of synthetic texts, one array each."""
        pairs = [text.kind == "qa" for text in texts]
        written = [self._pair(text) if text.kind == "qa" else text.text for text in texts]
        for is_pair, ids in zip(pairs, self._encode(written), strict=True):
            # A chat template writes its own beginning, or means to have none.
            yield self._closed(ids, begin=not (is_pair and self._chat))

    def raw(self, texts: Sequence[str]) -> Iterator[Tokens]:
        """The tokens of plain texts, one array each."""
        for ids in self._encode(texts):
            yield self._closed(ids, begin=True)

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of the bare texts, without beginning and end."""
        return [len(ids) for ids in self._encode(texts)]

    def _pair(self, text: SyntheticText) -> str:
        if not self._chat:
            return f"Question: {text.question}\n{text.text}"
        messages = [
            {"role": "user", "content": text.question},
            {"role": "assistant", "content": text.text},
        ]
        written = self._tokenizer.apply_chat_template(messages, tokenize=False, date_string=_DATE)
        # ChatML templates end with the end token and a line break, which the student never writes.
        trimmed = str(written).rstrip()
        return trimmed if trimmed.endswith(self._end_text) else str(written)

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        # verbose=False: the length warning is about the model's positions; packing sees to those.
        encoded = self._tokenizer(
            list(texts),
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        ids: list[list[int]] = encoded["input_ids"]
        return ids

    def _closed(self, ids: list[int], *, begin: bool) -> Tokens:
        head = self._begin if begin else []
        tail = [] if ids[-1:] == [self._end] else [self._end]
        return np.array([*head, *ids, *tail], dtype=np.int32)
