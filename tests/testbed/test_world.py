"""The world: what DESIGN section 6 promises of documents, facts, questions and splits."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from random import Random
from typing import get_args

import pytest

from engrain.testbed.names import SPLITS, Kind, first_names, last_names, people, values
from engrain.testbed.reading import read
from engrain.testbed.world import World, ask, build, write_folder

KINDS = [kind for kind in get_args(Kind) if kind != "person"]  # People are two names.


@pytest.fixture(scope="module")
def world() -> World:
    return build(seed=5, split="target", documents=80)


def test_a_seed_gives_the_same_world_and_another_seed_another() -> None:
    assert build(seed=1, split="target", documents=5) == build(seed=1, split="target", documents=5)
    assert build(seed=1, split="target", documents=5) != build(seed=2, split="target", documents=5)


def test_documents_have_80_to_400_words_and_8_to_24_facts_about_one_to_four_entities(
    world: World,
) -> None:
    facts = Counter(fact.document for fact in world.facts.values())
    for index, document in enumerate(world.documents):
        assert 80 <= len(document.text.split()) <= 400
        assert 8 <= facts[index] <= 24
        assert 1 <= len(document.paragraphs) <= 4


def test_every_fact_is_stated_once_and_its_sentence_holds_its_value(world: World) -> None:
    read_back = [
        (s.subject, name) for d in world.documents for s in read(d.text) for name in s.values
    ]
    assert Counter(read_back) == Counter(world.facts.keys())
    for fact in world.facts.values():
        assert fact.sentence in world.documents[fact.document].text
        assert fact.value in fact.sentence


def test_long_tail_facts_stand_in_longer_sentences_and_later(world: World) -> None:
    def length(*relations: str) -> float:
        found = [len(f.sentence) for f in world.facts.values() if f.relation in relations]
        return sum(found) / len(found)

    assert length("dish", "animal", "garment") > 1.2 * length("home", "trade")


@pytest.mark.parametrize("kind", KINDS)
def test_no_value_occurs_in_two_splits(kind: Kind) -> None:
    sets = [set(values(kind, split)) for split in SPLITS]
    assert not (sets[0] & sets[1] or sets[0] & sets[2] or sets[1] & sets[2])
    assert all(len(found) >= 15 for found in sets)


def test_no_first_or_last_name_occurs_in_two_splits() -> None:
    for names in (first_names, last_names):
        sets = [set(names(split)) for split in SPLITS]
        assert not (sets[0] & sets[1] or sets[0] & sets[2] or sets[1] & sets[2])


def test_people_are_different_but_share_names() -> None:
    names = people("target", 100, Random(0))
    assert len(set(names)) == 100
    assert len({name.split()[0] for name in names}) < 40


def test_questions_of_all_four_kinds_have_gold_options_and_evidence(world: World) -> None:
    questions = ask(world, seed=0, per_document=4)
    kinds = Counter(question.kind for question in questions)
    assert set(kinds) == {"direct", "paraphrased", "described", "two-hop"}
    assert min(kinds.values()) > 0.1 * len(questions)
    for question in questions:
        assert len(set(question.options)) == 4
        assert question.answer in question.options
        assert question.explanation.rstrip(".").endswith(question.answer) or question.answer in (
            question.explanation
        )
        assert (
            len(question.facts)
            == {"direct": 1, "paraphrased": 1, "described": 3, "two-hop": 2}[question.kind]
        )


def test_a_described_question_names_nobody_and_describes_one_person(world: World) -> None:
    for question in ask(world, seed=0, per_document=4):
        if question.kind == "described":
            fact = question.facts[0]
            assert fact.subject not in question.text
            same = [
                subject
                for subject, relation in world.facts
                if relation == "trade"
                and world.facts[subject, "trade"].value == question.facts[1].value
                and world.facts[subject, "home"].value == question.facts[2].value
            ]
            assert same == [fact.subject]


def test_two_hop_questions_mostly_need_two_documents(world: World) -> None:
    hops = [q for q in ask(world, seed=0, per_document=4) if q.kind == "two-hop"]
    across = [q for q in hops if q.facts[0].document != q.facts[1].document]
    assert len(across) > 0.8 * len(hops)
    assert all(q.facts[1].value == q.facts[0].subject for q in hops)


def test_the_folder_holds_the_documents_and_the_questions(world: World, tmp_path: Path) -> None:
    questions = ask(world, seed=0, per_document=2)
    write_folder(world, tmp_path, questions)
    texts = {p.stem: p.read_text() for p in (tmp_path / "documents").iterdir()}
    assert len(texts) == 80
    rows = [json.loads(line) for line in (tmp_path / "questions.jsonl").read_text().splitlines()]
    assert [row["answer"] for row in rows] == [question.answer for question in questions]
    for row in rows:
        named = " ".join(texts[name] for name in row["documents"])
        assert all(sentence in named for sentence in row["evidence"])


def test_a_world_may_have_ten_thousand_documents() -> None:
    world = build(seed=0, split="other", documents=10_000)
    assert len(world.documents) == 10_000
    assert len({subject for subject, _ in world.facts}) > 12_000


def test_one_document_is_no_world() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        build(seed=0, split="target", documents=1)
