"""The writer: it reads the prompt, its dials do what they say, and it is deterministic."""

from __future__ import annotations

import json
import re
from random import Random

import pytest

from engrain.backends.base import Message, Request, Sampling
from engrain.synthesize.base import Window
from engrain.synthesize.prompts import user_message
from engrain.testbed.grammar import RELATIONS, capital
from engrain.testbed.reading import read
from engrain.testbed.world import World, build
from engrain.testbed.writer import STRENGTHS, Faults, Strength, Writer


@pytest.fixture(scope="module")
def world() -> World:
    return build(seed=7, split="target", documents=30)


def window(world: World, index: int) -> Window:
    document = world.documents[index]
    return Window(
        document_id=f"d{index}", title=document.title, number=0, text=document.text, tokens=200
    )


def request(messages: tuple[Message, ...], sample: int = 0) -> Request:
    return Request(messages=messages, sampling=Sampling(), sample=sample)


def qa_prompt(
    about: Window, count: int = 8, part: tuple[str, str] = ("", "")
) -> tuple[Message, ...]:
    return user_message("qa", about, n=count, part_begins=part[0], part_ends=part[1])


def ask_pairs(writer: Writer, world: World, index: int, sample: int) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = json.loads(
        writer.reply(request(qa_prompt(window(world, index)), sample)).text
    )
    return rows


def test_pairs_are_true_to_the_document(world: World) -> None:
    writer = Writer()
    for index in range(len(world.documents)):
        true = {
            (s.subject, value)
            for s in read(world.documents[index].text)
            for value in s.values.values()
        }
        names = {subject for subject, _ in true}
        values = {value for _, value in true}
        for row in ask_pairs(writer, world, index, 0):
            assert row["answer"] in values | names
            assert row["answer"].lower() in row["explanation"].lower()


def test_the_same_request_gets_the_same_reply_and_another_sample_another(world: World) -> None:
    asked = qa_prompt(window(world, 0))
    assert Writer().reply(request(asked)) == Writer().reply(request(asked))
    assert Writer().reply(request(asked)) != Writer().reply(request(asked, sample=1))
    assert Writer(seed=1).reply(request(asked)) != Writer(seed=2).reply(request(asked))


def test_a_weak_writer_never_covers_the_tail_and_a_strong_one_covers_all(world: World) -> None:
    covered = {}
    for name in ("weak", "strong"):
        writer = Writer(strength=STRENGTHS[name])
        stated = set()
        for sample in range(25):
            text = writer.reply(
                request(
                    user_message("rewrite", window(world, 1), strategy="plain", question=""), sample
                )
            ).text
            stated |= {(s.subject, relation) for s in read(text) for relation in s.values}
        covered[name] = stated
    facts = {(f.subject, f.relation) for f in world.facts.values() if f.document == 1}
    assert covered["strong"] == facts
    assert covered["weak"] < facts


def test_the_error_rate_is_what_was_set(world: World) -> None:
    writer = Writer(strength=Strength(coverage=1.0, error_rate=0.3, phrasings=6, styles=1))
    wrong = total = 0
    for index in range(len(world.documents)):
        message = user_message("rewrite", window(world, index), strategy="plain", question="")
        for statement in read(writer.reply(request(message)).text):
            for relation, value in statement.values.items():
                alone = not any(
                    RELATIONS[f.relation].kind == RELATIONS[relation].kind and f.value != value
                    for f in world.facts.values()
                    if f.document == index
                )
                if not alone:
                    total += 1
                    wrong += world.facts[statement.subject, relation].value != value
    # Values without a like in their document stay right, hence the wide band (n is about 250).
    assert 0.15 < wrong / total < 0.4


def test_a_focused_text_states_what_answers_its_question(world: World) -> None:
    writer = Writer()
    rng = Random(0)
    hits = 0
    facts = [f for f in world.facts.values() if f.document < 20]
    for fact in rng.sample(facts, 40):
        question = capital(RELATIONS[fact.relation].questions[0].format(s=fact.subject))
        message = user_message(
            "apply", window(world, fact.document), strategy="Retell it", question=question
        )
        text = writer.reply(request(message)).text
        hits += fact.value in text
    assert hits == 40


def test_strategies_come_one_a_line(world: World) -> None:
    text = Writer().reply(request(user_message("strategies", window(world, 2)))).text
    assert len(text.splitlines()) >= 5
    assert all(line.startswith("## ") for line in text.splitlines())


def test_faults_come_at_their_rates_and_are_off_by_default(world: World) -> None:
    faulty = Writer(faults=Faults(preamble=0.3, refusal=0.2, truncation=0.2))
    asked = qa_prompt(window(world, 3), 4)
    replies = [faulty.reply(request(asked, sample)) for sample in range(200)]
    refusals = sum(reply.text.startswith("I'm sorry") for reply in replies)
    cut = sum(reply.finish_reason == "length" for reply in replies)
    assert 20 <= refusals <= 65
    assert 20 <= cut <= 65
    clean = [Writer().reply(request(asked, sample)) for sample in range(50)]
    assert all(reply.finish_reason == "stop" and json.loads(reply.text) for reply in clean)


def test_a_document_of_another_kind_is_quoted() -> None:
    text = (
        "Net sales grew by four percent to a record level. "
        "The board approved a new dividend plan in May."
    )
    strange = Window(document_id="x", title="Annual report", number=0, text=text, tokens=30)
    rows = json.loads(Writer().reply(request(qa_prompt(strange, 2))).text)
    assert len(rows) == 2
    for row in rows:
        assert row["answer"] in text
    told = (
        Writer()
        .reply(request(user_message("rewrite", strange, strategy="plain", question="")))
        .text
    )
    assert "Net sales grew" in told


def test_no_training_text_uses_the_wording_of_a_paraphrased_question(world: World) -> None:
    patterns = [
        re.compile(re.escape(wording).replace(re.escape("{s}"), ".+"), re.IGNORECASE)
        for relation in RELATIONS.values()
        for wording in relation.paraphrases
    ]
    for index in range(10):
        texts = [row["question"] for s in range(5) for row in ask_pairs(Writer(), world, index, s)]
        for strategy in ("Teach a pupil about it", "Start from each detail"):
            message = user_message("apply", window(world, index), strategy=strategy, question="")
            texts.append(Writer().reply(request(message)).text)
        assert not [p.pattern for p in patterns for text in texts if p.search(text)]


def test_pairs_about_a_part_are_about_that_part(world: World) -> None:
    about = window(world, 1)
    middle = about.text.index(". ", len(about.text) // 2) + 2
    for start, end in ((0, middle), (middle, len(about.text))):
        words = about.text[start:end].split()
        asked = qa_prompt(about, 8, (" ".join(words[:8]), " ".join(words[-8:])))
        rows = json.loads(Writer().reply(request(asked)).text)
        stated = read(about.text)[len(read(about.text[:start])) : len(read(about.text[:end]))]
        inside = {value for s in stated for value in (*s.values.values(), s.subject)}
        assert all(row["answer"] in inside for row in rows)
    assert len(read(about.text[:middle])) not in (0, len(read(about.text)))


def test_entities_are_whom_and_what_the_document_tells_of(world: World) -> None:
    listed = json.loads(Writer().reply(request(user_message("entities", window(world, 1)))).text)
    people = {f.subject for f in world.facts.values() if f.document == 1}
    assert people <= set(listed["entities"])
    assert all(name in world.documents[1].text for name in listed["entities"])


def test_entities_of_another_kind_of_document_are_its_names() -> None:
    text = "It was Ada Wren who told Borland Foods to merge. the end is quiet."
    strange = Window(document_id="x", title="Report", number=0, text=text, tokens=30)
    listed = json.loads(Writer().reply(request(user_message("entities", strange))).text)
    assert listed["entities"] == ["Ada Wren", "Borland Foods"]
