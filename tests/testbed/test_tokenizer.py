"""The student's tokenizer: lossless, and no split's names are easier than another's."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from engrain.testbed import student
from engrain.testbed.names import SPLITS, people
from engrain.testbed.tokenizer import train_tokenizer
from engrain.testbed.world import build

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(0, max_length=2048)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "x",
        "Mira Toland lived in Wilmon.",
        "\u00dcber 1,577 \u20ac\n\n\tna\u00efve \U0001f600",
        "  two  spaces ",
    ],
)
def test_any_text_comes_back(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text


def test_names_of_all_splits_take_as_many_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    means = []
    for split in SPLITS:
        names = people(split, 400, Random(0))
        means.append(
            sum(len(tokenizer(f" {n}", add_special_tokens=False)["input_ids"]) for n in names) / 400
        )
    assert max(means) - min(means) < 0.6


def test_a_conversation_is_written_with_its_roles(tokenizer: PreTrainedTokenizerFast) -> None:
    messages = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Mira."}]
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    assert text == "<|begin|><|user|>Who?<|end|><|assistant|>Mira.<|end|>"
    asked = tokenizer.apply_chat_template(messages[:1], tokenize=False, add_generation_prompt=True)
    assert asked == "<|begin|><|user|>Who?<|end|><|assistant|>"


def test_the_shipped_tokenizer_is_the_one_that_the_seed_gives(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    from transformers import AutoTokenizer

    shipped = AutoTokenizer.from_pretrained(student.path())
    for document in build(seed=4, split="other", documents=5).documents:
        assert shipped(document.text)["input_ids"] == tokenizer(document.text)["input_ids"]
