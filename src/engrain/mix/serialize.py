"""Texts to tokens: question-answer pairs as chat or plain, the rest as raw text, BOS and EOS right.

Knows one tokenizer; knows nothing of shares, order or packing. What the student is trained to write
ends with the tokenizer's end token exactly once, no text has two beginnings, and a control token
that a text speaks of (`<|im_end|>`) stays text, but in replay, which may hold whole chats.

Texts are tokenised in batches by the tokenizer's own threads, one for each core, while the batch
before is taken; the tokens and their order depend on neither.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from engrain.mix.chat import Chat
from engrain.mix.settings import SerializationSettings
from engrain.records import SyntheticText

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Tokens = NDArray[np.int32]
Key = TypeVar("Key")
_Ids = tuple[list[int], list[int]]

_BATCH, _BATCH_CHARACTERS = 512, 1 << 20
"""Texts, and characters of them, that are tokenised at once."""


@dataclass(frozen=True, slots=True)
class Serialized:
    """One text as the student reads it."""

    tokens: Tokens
    prompt: int = 0
    """Leading tokens that the loss leaves out."""


@dataclass(frozen=True, slots=True)
class _Written:
    """One text as the tokenizer gets it."""

    text: str
    prompt: int
    """Its leading characters that the loss leaves out."""
    chat: bool
    speaks: bool
    """Whether it speaks of control tokens."""
    pair: tuple[str, str] | None
    """Of a chat that does: question and answer."""


class Serializer:
    """One student's way of reading texts."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, settings: SerializationSettings | None = None
    ) -> None:
        """Read as `settings` say (none: the defaults).

        Raises UserError where the loss is to be on answers, and the chat template tells none.
        """
        settings = settings or SerializationSettings()
        self._tokenizer: Any = tokenizer  # its own types hold neither for batches nor for variables
        self._prompts = settings.loss == "answers"
        chat = settings.pairs == "chat" and tokenizer.chat_template is not None
        self._chat = Chat(tokenizer, prompts=self._prompts) if chat else None
        self._end: int = tokenizer.eos_token_id
        # A tokenizer that adds a beginning to the empty text adds it to every text.
        bos = tokenizer.bos_token_id
        self._begin = [bos] if bos is not None and tokenizer("")["input_ids"][:1] == [bos] else []
        special = [t.content for t in tokenizer.added_tokens_decoder.values() if t.special]
        self._control = re.compile("|".join(map(re.escape, special)) or r"(?!)")

    def synthetic(
        self, texts: Iterable[SyntheticText]
    ) -> Iterator[tuple[SyntheticText, Serialized]]:
        """Synthetic texts in their order, each with its tokens."""
        rows = ((text, self._written(text)) for text in texts)
        return self._serialized(rows)

    def raw(self, texts: Iterable[str], *, markup: bool = False) -> Iterator[Serialized]:
        """Plain texts as tokens, in their order; `markup`: control tokens in them are meant so."""
        rows = (
            (None, _Written(text, 0, chat=False, speaks=False, pair=None))
            if markup
            else (None, self._plain(text, 0))
            for text in texts
        )
        return (serialized for _, serialized in self._serialized(rows))

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of the bare texts, without beginning and end."""
        return [len(ids) for ids, _ in self._encoded([self._plain(text, 0) for text in texts])]

    def _written(self, text: SyntheticText) -> _Written:
        if text.kind != "qa":
            return self._plain(text.text, 0)
        if self._chat is None:
            head = f"Question: {text.question}\n"
            return self._plain(head + text.text, len(head) if self._prompts else 0)
        speaks = self._control.search(text.question) or self._control.search(text.text)
        pair = self._chat.pair(text.question, text.text)
        asked = (text.question, text.text) if speaks else None
        return _Written(pair.text, pair.prompt, chat=True, speaks=speaks is not None, pair=asked)

    def _plain(self, text: str, prompt: int) -> _Written:
        speaks = self._control.search(text) is not None
        return _Written(text, prompt, chat=False, speaks=speaks, pair=None)

    def _serialized(self, rows: Iterable[tuple[Key, _Written]]) -> Iterator[tuple[Key, Serialized]]:
        """The rows' tokens; the next batch is being tokenised while this one is taken."""
        with ThreadPoolExecutor(1, thread_name_prefix="tokenising") as worker:
            pending: deque[tuple[list[tuple[Key, _Written]], Future[list[_Ids]]]] = deque()
            for batch in _batches(rows):
                job = worker.submit(self._encoded, [written for _, written in batch])
                pending.append((batch, job))
                if len(pending) > 1:
                    yield from self._closed(*pending.popleft())
            while pending:
                yield from self._closed(*pending.popleft())

    def _closed(
        self, batch: Sequence[tuple[Key, _Written]], job: Future[list[_Ids]]
    ) -> Iterator[tuple[Key, Serialized]]:
        for (key, written), (ids, prompt) in zip(batch, job.result(), strict=True):
            # A chat template writes its own beginning, or means to have none.
            begin = [] if written.chat else self._begin
            end = [] if ids[-1:] == [self._end] else [self._end]
            tokens = np.array([*begin, *ids, *end], dtype=np.int32)
            yield key, Serialized(tokens, len(begin) + _common(ids, prompt) if prompt else 0)

    def _encoded(self, batch: Sequence[_Written]) -> list[_Ids]:
        """The ids of each text, and of its prompt."""
        plain = [written for written in batch if not written.speaks]
        prompts = [written for written in plain if written.prompt]
        texts = [written.text for written in plain]
        texts += [written.text[: written.prompt] for written in prompts]
        ids = iter(self._encode(texts))
        whole = [next(ids) for _ in plain]
        found = iter(
            [(one, next(ids) if w.prompt else []) for one, w in zip(whole, plain, strict=True)]
        )
        return [self._spoken(written) if written.speaks else next(found) for written in batch]

    def _encode(self, texts: list[str]) -> list[list[int]]:
        if not texts:
            return []
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        if backend is None:
            # verbose=False: the length warning is about positions; packing sees to those.
            encoded = self._tokenizer(texts, add_special_tokens=False, verbose=False)
            ids: list[list[int]] = encoded["input_ids"]
            return ids
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = False
        # Not through the tokenizer's own call: without offsets it takes a quarter less time.
        found = backend.encode_batch_fast(texts, add_special_tokens=False)
        return [encoding.ids for encoding in found]

    def _spoken(self, written: _Written) -> _Ids:
        """A text that speaks of control tokens: they are text, but for the template's own."""
        text, before = written.text, written.text[: written.prompt]
        if written.pair is None:
            return self._as_text(text), self._as_text(before)
        question, answer = written.pair
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        try:
            ids = self._sanitized(turns)
            prompt = self._sanitized(turns[:1], open=True) if self._prompts else []
        except ValueError:  # the tokenizer has no other tokens for these characters
            ids, prompt = self._encode([text, before])
            return ids, prompt
        if self._end in ids:
            last = len(ids) - ids[::-1].index(self._end)
            if not str(self._tokenizer.decode(ids[last:])).strip():
                ids = ids[:last]
        return ids, prompt

    def _as_text(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(
            text, add_special_tokens=False, split_special_tokens=True, verbose=False
        )
        return ids

    def _sanitized(self, turns: list[dict[str, str]], *, open: bool = False) -> list[int]:
        assert self._chat is not None
        ids: list[int] = self._tokenizer.apply_chat_template(
            turns,
            chat_template=self._chat.template,
            return_dict=False,
            sanitize_control_tokens=True,
            add_generation_prompt=open,
            **self._chat.variables,
        )
        return ids


def _common(ids: list[int], prompt: list[int]) -> int:
    """The leading tokens that are the prompt's: one that reaches beyond it is to be learned."""
    if ids[: len(prompt)] == prompt:
        return len(prompt)
    return next(n for n, (one, other) in enumerate(zip(ids, prompt, strict=False)) if one != other)


def _batches(
    rows: Iterable[tuple[Key, _Written]],
) -> Iterator[list[tuple[Key, _Written]]]:
    batch: list[tuple[Key, _Written]] = []
    characters = 0
    for row in rows:
        batch.append(row)
        characters += len(row[1].text)
        if len(batch) == _BATCH or characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
