"""What the kept texts touch of each document, against hand-made truths and the testbed's."""

from __future__ import annotations

import pytest

from engrain import artifacts
from engrain.artifacts import Covered
from engrain.progress import Silent
from engrain.records import Document, Question, SyntheticText
from engrain.store import run_stage, write_rows
from engrain.synthesize import SynthesisSettings, coverage
from engrain.synthesize.coverage import Card, Rarity, cover
from engrain.synthesize.run import synthesize
from engrain.synthesize.words import words
from engrain.testbed.world import Fact, World, build
from engrain.testbed.writer import STRENGTHS, Writer

STORY = """# The bakery

Ada Wren was born in Oslo in 1912. Her father kept a small bakery beside the harbour.
In the winter of 1947 the ice closed the harbour for nine weeks.
"The flour is gone!" said the mayor.

The shop burned down a year after Eva Lind had bought it. No."""


def document(text: str = STORY, name: str = "d") -> Document:
    return Document(id=name, title="t", source="s", text=text, sha256="")


def text(body: str, name: str = "d", question: str = "") -> SyntheticText:
    return SyntheticText(
        id=body[:20], document_id=name, kind="document", method="m", text=body,
        question=question, request_id="r", tokens=1,
    )  # fmt: skip


def card(one: Document, window: int = 1500) -> Card:
    rarity = Rarity()
    rarity.count(one)
    return Card(one, window, rarity)


def counted(made: Card, kind: str) -> dict[str, int]:
    return {row.text: row.texts for row in made.rows() if row.kind == kind}


def test_every_sentence_stands_at_its_place_and_headings_and_exclamations_are_none():
    rows = [row for row in card(document()).rows() if row.kind == "sentence"]
    assert [row.text for row in rows] == [
        "Ada Wren was born in Oslo in 1912.",
        "Her father kept a small bakery beside the harbour.",
        "In the winter of 1947 the ice closed the harbour for nine weeks.",
        '"The flour is gone!',
        "The shop burned down a year after Eva Lind had bought it.",
    ]
    assert all(STORY[row.start : row.end] == row.text for row in rows)


def test_a_paraphrase_touches_its_sentence_and_no_other():
    made = card(document())
    made.count(text("It was in 1912, at Oslo, that Ada Wren came into the world."))
    made.count(text("Oslo, of course.", question="Where was Ada Wren born?"))
    made.count(text("Nine weeks of ice in the winter of 1947 made the harbour useless."))
    assert list(counted(made, "sentence").values()) == [2, 0, 1, 0, 0]


def test_names_are_capitalised_runs_and_are_counted_wherever_they_are_said():
    made = card(document())
    made.count(text("A shop was sold to EVA LIND by the people of Oslo; Eva Lind kept it."))
    assert counted(made, "name") == {"Ada Wren": 0, "Oslo": 1, "Eva Lind": 1}


def test_where_nothing_is_capitalised_long_rare_words_stand_for_names():
    made = card(document("the lighthouse keeper saw the lighthouse. a schooner came by night."))
    assert set(counted(made, "name")) == {"lighthouse", "schooner"}


def test_a_window_is_touched_with_its_sentences():
    paragraphs = [f"The {word} loaf was baked by baker number {n}. " * 3 + f"Its crumb was {word}x."
                  for n, word in enumerate(["amber", "brown", "crimson", "dun"])]  # fmt: skip
    one = document("\n\n".join(paragraphs))
    made = card(one, window=50)
    made.count(text("The crimson loaf was the work of baker number 2."))
    rows = [row for row in made.rows() if row.kind == "window"]
    assert [row.texts for row in rows] == [0, 0, 1, 0]
    assert "crimson" in one.text[rows[2].start : rows[2].end]


def test_documents_are_covered_the_same_however_few_fit_in_memory(tmp_path, monkeypatch):
    world = build(seed=3, split="target", documents=6)
    documents = [document(made.text, f"d{n}") for n, made in enumerate(world.documents)]
    kept = [text(made.text, f"d{n}") for n, made in enumerate(world.documents) if n != 2]
    for name, characters in (("whole", 10**9), ("split", 1)):
        monkeypatch.setattr(coverage, "_CHARACTERS", characters)
        write_rows(tmp_path / name / "kept" / "m.parquet", SyntheticText, kept)
        figures = cover(tmp_path / name, lambda: documents, 1500)
        assert figures["windows"] == {"all": 6, "touched": 5, "touched_3_times": 0, "never": 1}
    whole, split = (tmp_path / name / "coverage.parquet" for name in ("whole", "split"))
    assert whole.read_bytes() == split.read_bytes()


def test_a_stage_tells_what_was_never_touched(make_corpus, writer, tmp_path):
    made = synthesize(
        make_corpus(3), writer, SynthesisSettings.model_validate({"budget": {"tokens": 3000}}),
        tmp_path / "out", seed=0, concurrency=4, progress=Silent(),
    )  # fmt: skip
    rows: list[Covered] = list(artifacts.coverage(made))
    for kind in ("window", "sentence"):
        mine = [row for row in rows if row.kind == kind]
        assert made.counts["coverage"][f"{kind}s"] == {
            "all": len(mine),
            "touched": sum(row.texts > 0 for row in mine),
            "touched_3_times": sum(row.texts >= 3 for row in mine),
            "never": sum(row.texts == 0 for row in mine),
        }


@pytest.fixture
def make_world(tmp_path):
    """Makes a world of the testbed, its corpus, and what a writer of a strength writes about it."""
    world = build(seed=1, split="target", documents=12)
    documents = [document(made.text, f"d{n}") for n, made in enumerate(world.documents)]

    def write(folder):
        write_rows(folder / "documents.parquet", Document, documents)
        write_rows(folder / "questions.parquet", Question, [])
        return {}

    corpus = run_stage(
        tmp_path / "corpus", stage="corpus", settings={}, inputs={}, build=write,
        say=lambda line: None,
    )  # fmt: skip

    def make(strength: str):
        made = synthesize(
            corpus, Writer(strength=STRENGTHS[strength]),
            SynthesisSettings.model_validate({"budget": {"tokens": 60_000}}),
            tmp_path / strength, seed=0, concurrency=4, progress=Silent(),
        )  # fmt: skip
        return world, documents, made

    return make


def stated(world: World, document_id: str, text: str, start: int, end: int) -> list[Fact]:
    """The facts that a stretch of a document states."""
    return [
        fact
        for fact in world.facts.values()
        if f"d{fact.document}" == document_id and start <= text.index(fact.sentence) < end
    ]


@pytest.mark.parametrize(("strength", "least", "most"), [("strong", 0.98, 1.0), ("weak", 0.5, 0.7)])
def test_a_writer_touches_the_sentences_whose_facts_it_notices(make_world, strength, least, most):
    """The strong writer writes about all facts, the weak one about 60 per cent of them."""
    world, documents, made = make_world(strength)
    texts = {one.id: one.text for one in documents}
    with_facts: list[bool] = []
    without: list[bool] = []
    for row in artifacts.coverage(made):
        if row.kind == "sentence":
            facts = stated(world, row.document_id, texts[row.document_id], row.start, row.end)
            (with_facts if facts else without).append(row.texts > 0)
    assert least <= sum(with_facts) / len(with_facts) <= most
    # "People still speak of it on market days."
    assert sum(without) / len(without) < 0.2


def test_a_text_touches_the_sentences_whose_facts_it_states(make_world):
    world, documents, made = make_world("strong")
    rarity = Rarity()
    for one in documents:
        rarity.count(one)
    both = found = true = 0
    kept = list(artifacts.texts(made))
    for one in documents:
        made_card = Card(one, 1500, rarity)
        sentences = [row for row in made_card.rows() if row.kind == "sentence"]
        facts = [stated(world, one.id, one.text, row.start, row.end) for row in sentences]
        for body in (f"{t.question} {t.text}" for t in kept if t.document_id == one.id):
            touched = {n for n in made_card.touched(set(words(body))) if facts[n]}
            told = {
                number
                for number, inside in enumerate(facts)
                if any(fact.value in body and fact.subject in body for fact in inside)
            }
            both, found, true = both + len(touched & told), found + len(touched), true + len(told)
    assert both / found > 0.75
    assert both / true > 0.75
