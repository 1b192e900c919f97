"""The planted circuit copies before any training, also where single tokens tell too little."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from engrain.testbed import student
from engrain.testbed.pretrain import PretrainSettings, new_model

SEEN = 300
"""Tokens, drawn at random and then said again."""


def copied(vocabulary: int, *, plant: bool) -> float:
    """Share of the repeated tokens that an untrained student foresees."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(student.path())
    model = new_model(dataclasses.replace(PretrainSettings(), plant=plant), tokenizer)
    generator = torch.Generator().manual_seed(1)
    pool = 100 + torch.randperm(2000, generator=generator)[:vocabulary]
    said = pool[torch.randint(vocabulary, (4, SEEN), generator=generator)]
    with torch.no_grad():
        foreseen = model(input_ids=torch.cat([said, said], dim=1)).logits.argmax(-1)
    # After four tokens of the repetition the circuit has all that it goes by.
    return (foreseen[:, SEEN + 3 : -1] == said[:, 4:]).float().mean().item()


@pytest.mark.parametrize(("vocabulary", "least"), [(2000, 0.8), (30, 0.55)])
def test_a_planted_student_repeats_random_tokens_and_an_unplanted_one_does_not(vocabulary, least):
    assert copied(vocabulary, plant=True) > least
    assert copied(vocabulary, plant=False) < 0.1


def test_a_model_without_room_for_the_circuit_is_refused():
    tokenizer = PreTrainedTokenizerFast.from_pretrained(student.path())
    for small in (PretrainSettings(layers=1), PretrainSettings(heads=2)):
        with pytest.raises(ValueError, match="needs 2 layers and 3 heads"):
            new_model(small, tokenizer)
