"""The writer's eyes: every fact of every document is found, and nothing else."""

from __future__ import annotations

import pytest

from engrain.testbed.names import SPLITS, Split
from engrain.testbed.reading import read, understand
from engrain.testbed.world import build


@pytest.mark.parametrize("split", SPLITS)
def test_reading_a_document_finds_its_facts_and_no_other(split: Split) -> None:
    world = build(seed=11, split=split, documents=60)
    for index, document in enumerate(world.documents):
        true = {
            (f.subject, f.relation, f.value) for f in world.facts.values() if f.document == index
        }
        found = {(s.subject, name, v) for s in read(document.text) for name, v in s.values.items()}
        assert found == true


def test_text_in_another_language_yields_nothing() -> None:
    assert read("Das Haus steht am Fluss.\n\nNet sales grew by 4% to $1,577 million in 2018.") == []


def test_a_question_is_understood_by_name_and_by_description() -> None:
    text = "Mira Toland worked as a salt weaver. She lived in Wilmon. She kept a grey otter."
    statements = read(text)
    for subject in ("Mira Toland", "the salt weaver who lived in Wilmon"):
        inquiry = understand(f"Which animal did {subject} keep?", statements)
        assert inquiry is not None
        assert (inquiry.subject, inquiry.relation) == ("Mira Toland", "animal")
    assert understand("Who is the king?", statements) is None
