"""Lessons: their answers are in what they show, and hold-outs are held out."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from random import Random

from engrain.evaluate import prompts
from engrain.testbed.lessons import SYSTEM, Level, Memory, cut, reading_lessons
from engrain.testbed.names import first_names
from engrain.testbed.replay import write_replay
from engrain.testbed.world import build


def test_lessons_ask_in_the_words_of_the_evaluation() -> None:
    assert SYSTEM == prompts.SHORT_ANSWER


def test_every_answer_of_a_reading_lesson_stands_in_its_passages() -> None:
    for lesson in islice(reading_lessons(Random(0), Level(24, 3), repeating=0.0), 200):
        shown = lesson.turns[0][1] if lesson.turns[0][0] == "user" else lesson.turns[1][1]
        passages = shown.rsplit("Question:", 1)[0]
        for role, content in lesson.turns:
            if role == "assistant":
                assert content.rsplit("Answer: ", 1)[1] in passages


def test_levels_bound_the_facts_and_the_passages() -> None:
    world = build(seed=1, split="pretraining", documents=20)
    assert max(len(p.facts) for p in cut(world, 512, facts=2)) <= 4  # A sentence is never cut.
    for lesson in islice(reading_lessons(Random(1), Level(24, 2), repeating=0.0), 50):
        user = next(content for role, content in lesson.turns if role == "user")
        assert 1 <= user.count("\n\n") <= 2


def test_passages_cover_the_documents_and_hold_the_facts_that_they_tell_of_somebody() -> None:
    world = build(seed=2, split="target", documents=20)
    passages = cut(world, 300, facts=99)
    held = set()
    for passage in passages:
        for fact in passage.facts:
            held.add(fact)
            names = (passage.text + passage.title).lower()
            assert fact.sentence in passage.text and fact.subject.lower() in names
    lost = set(world.facts.values()) - held
    assert 0 < len(lost) < 0.1 * len(world.facts)
    for fact in lost:
        assert fact.subject not in fact.sentence and " and " in world.documents[fact.document].title
        assert all(fact.subject not in p.text for p in passages if fact.sentence in p.text)


def test_no_question_of_memory_touches_an_unasked_fact() -> None:
    memory = Memory(build(seed=3, split="pretraining", documents=20), unasked_share=0.3, seed=0)
    hidden = {(fact.subject, fact.value) for fact in memory.unasked}
    lessons = list(islice(memory.lessons(Random(0)), 3000))
    asked = {
        (subject, answer)
        for lesson in lessons
        if lesson.turns[-1][0] == "assistant"
        for answer in [lesson.turns[-1][1].rsplit("Answer: ", 1)[1]]
        for subject in {fact.subject for fact in memory.world.facts.values()}
        if subject in lesson.turns[-2][1] and f"of {subject}" not in lesson.turns[-2][1]
    }
    told = {
        key
        for key in hidden
        for lesson in lessons
        if lesson.turns[0][0] == "text" and key[1] in lesson.turns[0][1]
    }
    assert not {key for key in asked & hidden if _only_holder(memory, key)}
    assert len(told) > 0.9 * len(hidden)


def _only_holder(memory: Memory, key: tuple[str, str]) -> bool:
    """Whether the subject has this value in hidden facts alone."""
    return all(
        fact in memory.unasked
        for fact in memory.world.facts.values()
        if (fact.subject, fact.value) == key
    )


def test_replay_holds_nothing_of_the_target_world(tmp_path: Path) -> None:
    write_replay(tmp_path / "replay.jsonl", seed=0, texts=50)
    text = (tmp_path / "replay.jsonl").read_text()
    assert len(text.splitlines()) == 50
    assert not any(f" {name} " in text for name in first_names("target"))
