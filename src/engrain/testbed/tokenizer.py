"""The small student's own BPE tokenizer and chat template.

Names are sampled from all combinations of their parts, whatever the split, so that the merges learn
the parts and no split's names are easier to spell. Knows nothing of facts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from random import Random
from typing import TYPE_CHECKING

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from engrain.testbed.lessons import Level, Memory, reading_lessons
from engrain.testbed.names import SPLITS, compounds, parts
from engrain.testbed.world import build

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BOS, END, PAD = "<|begin|>", "<|end|>", "<|pad|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
VOCABULARY = 2304
_PART_WEIGHT = 60
"""Repeats of each part alone: enough that the parts, not whole names, become tokens."""

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] | trim + '" + END + "' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

_ROUNDS = 500
"""Lessons from each stream."""
_CAPITALISED = re.compile(r"[A-Z][a-z]+")
_WORDS = Regex(r" ?\p{L}+| ?\p{N}{1,2}| ?[^\s\p{L}\p{N}]+|\s")


def train_tokenizer(seed: int, *, max_length: int) -> PreTrainedTokenizerFast:
    """Train the tokenizer on lessons of all splits and on the parts of names.

    Deterministic in `seed`.
    """
    from transformers import PreTrainedTokenizerFast  # Late: `engrain --help` loads no torch.

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(_WORDS, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, BOS, END, *ROLES],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(seed), trainer)
    begin, number = f"{BOS} $A", tokenizer.token_to_id(BOS)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=begin, pair=f"{begin} $B", special_tokens=[(BOS, number)]
    )
    wrapped = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # its __init__ has no types
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=list(ROLES),
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = TEMPLATE
    return wrapped


def _texts(seed: int) -> Iterator[str]:
    rng = Random(f"tokenizer/{seed}")
    lessons = [
        reading_lessons(rng, Level(facts=99, passages=1), repeating=0.1, split=split)
        for split in SPLITS
    ]
    memories = [
        Memory(build(seed=seed, split=split, documents=1000), unasked_share=0.0, seed=seed).lessons(
            rng
        )
        for split in SPLITS
    ]
    for _ in range(_ROUNDS):
        for source in (*lessons, *memories):
            yield from (
                _CAPITALISED.sub(_without_names, content) for _, content in next(source).turns
            )
    starts, endings = parts()
    digits = [f"{number:02d}" for number in range(100)]
    for word in [f" {start}" for start in starts + digits] + endings + digits:
        yield from [word] * _PART_WEIGHT


def _without_names(word: re.Match[str]) -> str:
    """Nothing for a name.

    A token for a whole name of the target world would have an embedding that pre-training never
    touches.
    """
    return "" if word[0] in compounds() else word[0]
