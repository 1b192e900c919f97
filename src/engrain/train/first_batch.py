"""What the student reads first, and whether its tokenizer knows the chat template's markers."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from engrain import store
from engrain.errors import UserError
from engrain.train.data import Sequences

FIRST_BATCH = "first_batch.txt"
_SHOWN = 4
"""Sequences in the file."""
_EXCERPT = 160
"""Characters of the first one in the log."""
_MARKER = re.compile(r"</?\|?\w[\w ./-]*\|?>")
"""`<|im_start|>`, `<start_of_turn>`, `</s>`: what templates put around turns."""
_UNKNOWN = 0.01
"""Share of unknown tokens from which they are told."""


def show(
    path: Path,
    sequences: Sequences,
    tokenizer: PreTrainedTokenizerBase,
    say: Callable[[str], None],
) -> None:
    """Write the first sequences to a file, special tokens and all, and say how they begin.

    A bad template shows here.
    """
    shown, unknown, total = [], 0, 0
    for index in range(min(_SHOWN, len(sequences))):
        ids = sequences[index]["input_ids"][: int(sequences.lengths[index])]
        shown.append(str(tokenizer.decode(ids)))
        total += len(ids)
        if tokenizer.unk_token_id is not None:
            unknown += int((ids == tokenizer.unk_token_id).sum())
    texts = [f"--- sequence {index} ---\n{text}\n" for index, text in enumerate(shown)]
    store.write_text(path, "\n".join(texts))
    begin = shown[0][:_EXCERPT]
    say(f"train: reads first {begin!r}{'...' if len(shown[0]) > _EXCERPT else ''} ({path.name})")
    if unknown > total * _UNKNOWN:
        say(
            f"train: {unknown / total:.1%} of these tokens are unknown to the student's tokenizer "
            f"({tokenizer.unk_token!r}): what they stand for cannot be learned"
        )


def check_markers(
    tokenizer: PreTrainedTokenizerBase, name: str, say: Callable[[str], None]
) -> None:
    """Compare the chat template with the tokenizer.

    Raises UserError where a marker is unknown to it; says where one is ordinary text to it, as it
    is for some published models and for every template of another model.
    """
    if tokenizer.chat_template is None:
        return
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]
    written = str(tokenizer.apply_chat_template(turns, tokenize=False))
    for marker in dict.fromkeys(_MARKER.findall(written)):
        ids = tokenizer(marker, add_special_tokens=False)["input_ids"]
        if tokenizer.unk_token_id is not None and tokenizer.unk_token_id in ids:
            raise UserError(
                f"the chat template of student {name!r} writes {marker!r}, which its tokenizer "
                "does not know; put the template and the tokenizer of one model into its folder"
            )
        if len(ids) > 1:
            say(
                f"train: the chat template writes {marker!r}, which the tokenizer cuts into "
                f"{len(ids)} tokens: ordinary text, if template and tokenizer belong together"
            )
