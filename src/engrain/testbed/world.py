"""The fictional world: entities, facts, documents and questions with gold answers, from one seed.

Every fact is stated in exactly one document. Knows the truth; neither the writer nor the student
ever sees this module's data.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal, get_args

from engrain.store import write_text
from engrain.testbed.grammar import (
    CLAUSE_OF,
    CLAUSES,
    DESCRIPTION,
    RELATIONS,
    EntityType,
    Relation,
    capital,
    say,
)
from engrain.testbed.names import Split, people, values
from engrain.testbed.prose import Sentence, pad, write_paragraph

QuestionKind = Literal["direct", "paraphrased", "described", "two-hop"]
QUESTION_KINDS: tuple[QuestionKind, ...] = get_args(QuestionKind)

_FEWEST_WORDS = 80
_ERAS = range(1110, 1850)
"""An entity's first year; its dates lie within a lifetime of it."""


@dataclass(frozen=True, slots=True)
class Fact:
    """What is true of a subject, and where it is said."""

    subject: str
    entity: EntityType
    relation: str
    value: str
    document: int
    sentence: str


@dataclass(frozen=True, slots=True)
class WorldDocument:
    """One document: its paragraphs, each a list of sentences about one entity."""

    title: str
    paragraphs: tuple[tuple[Sentence, ...], ...]

    @property
    def text(self) -> str:
        """The prose, paragraphs parted by an empty line."""
        return "\n\n".join(" ".join(s.text for s in paragraph) for paragraph in self.paragraphs)


@dataclass(frozen=True, slots=True)
class WorldQuestion:
    """One evaluation question with all that is known about it."""

    kind: QuestionKind
    text: str
    answer: str
    explanation: str
    """What a perfect reader would say before the answer."""
    options: tuple[str, ...]
    facts: tuple[Fact, ...]
    """The facts it needs, the one that holds the answer first."""


@dataclass(frozen=True)
class World:
    """All of it. `facts` is keyed by (subject, relation)."""

    split: Split
    documents: tuple[WorldDocument, ...]
    facts: dict[tuple[str, str], Fact]


def build(*, seed: int, split: Split, documents: int) -> World:
    """A world of `documents` documents. The same arguments give the same world everywhere.

    Raises ValueError for fewer than 2 documents.
    """
    if documents < 2:
        raise ValueError(f"a world needs at least 2 documents, not {documents}")
    rng = Random(f"world/{split}/{seed}")
    casts = _casts(documents, split, rng)
    persons = [name for cast in casts for name, entity in cast if entity == "person"]
    homes = _homes_and_trades(persons, split, rng)
    written, facts = [], {}
    for index, cast in enumerate(casts):
        paragraphs = []
        for name, entity in cast:
            stated = _draw_facts(name, entity, len(cast), persons, split, rng)
            if entity == "person":
                stated = {"trade": homes[name][0], "home": homes[name][1]} | stated
            sentences = write_paragraph(name, entity, stated, rng)
            paragraphs.append(sentences)
            for sentence in sentences:
                for relation in sentence.relations:
                    value = stated[relation]
                    facts[name, relation] = Fact(
                        name, entity, relation, value, index, sentence.text
                    )
        pad(paragraphs, _FEWEST_WORDS, rng)
        title = " and ".join(capital(name) for name, _ in cast[:2])
        written.append(WorldDocument(title, tuple(tuple(sentences) for sentences in paragraphs)))
    return World(split, tuple(written), facts)


def _casts(documents: int, split: Split, rng: Random) -> list[list[tuple[str, EntityType]]]:
    """Who each document is about: one to four entities, each in one document only."""
    # A document takes 1.55 people on average at most (once the houses are used up), never over 3.
    names = iter(people(split, min(3 * documents, round(1.65 * documents) + 40), rng))
    houses = iter(rng.sample(values("house", split), len(values("house", split))))
    casts: list[list[tuple[str, EntityType]]] = []
    for _ in range(documents):
        cast: list[tuple[str, EntityType]] = []
        draw = rng.random()
        house = next(houses, None) if draw > 0.7 else None
        if house is not None:
            cast.append((house, "house"))
            count = rng.choice((1, 1, 2, 3))
        else:
            count = 1 if draw < 0.45 else 2
        cast += [(next(names), "person") for _ in range(count)]
        casts.append(cast)
    return casts


def _homes_and_trades(persons: list[str], split: Split, rng: Random) -> dict[str, tuple[str, str]]:
    """A trade and a home for each person: both are shared by many, the pair by nobody."""
    breadth = max(4, round(1.5 * len(persons) ** 0.5) + 1)
    trades = rng.sample(values("trade", split), min(breadth, len(values("trade", split))))
    homes = rng.sample(
        values("place", split),
        min(max(breadth, 2 * len(persons) // len(trades)), len(values("place", split))),
    )
    grid = len(trades) * len(homes)
    if grid < len(persons):
        # Worlds of tens of thousands of documents: pairs repeat, and described questions skip them.
        picks = [rng.randrange(grid) for _ in persons]
    else:
        picks = rng.sample(range(grid), len(persons))
    return {
        name: (trades[i % len(trades)], homes[i // len(trades)])
        for name, i in zip(persons, picks, strict=True)
    }


def _draw_facts(
    name: str, entity: EntityType, company: int, persons: list[str], split: Split, rng: Random
) -> dict[str, str]:
    clauses = [clause for clause in CLAUSES[entity] if clause.name not in ("trade", "home")]
    if entity == "house":
        count = rng.randint(5, {2: 8, 3: 7, 4: 6}[company])
    else:
        low, high = {1: (6, 11), 2: (4, 8), 3: (3, 4), 4: (2, 2)}[company]
        count = rng.randint(low, high)
    era = rng.choice(_ERAS)
    drawn: dict[str, str] = {}
    for clause in sorted(rng.sample(clauses, count), key=clauses.index):
        for relation in clause.relations:
            drawn[relation.name] = _draw_value(relation, name, persons, era, split, rng)
    return drawn


def _draw_value(
    relation: Relation, subject: str, persons: list[str], era: int, split: Split, rng: Random
) -> str:
    pool: Sequence[str] = persons if relation.kind == "person" else values(relation.kind, split)
    if relation.kind == "year":
        first, last = (0, 50) if relation.name in ("birth_year", "opened") else (60, 130)
        pool = [year for year in pool if era + first <= int(year) < era + last]
    while (value := rng.choice(pool)) == subject:
        pass
    return value


def ask(world: World, *, seed: int, per_document: int) -> list[WorldQuestion]:
    """Evaluation questions: up to `per_document` facts of each document, the four kinds in turn.

    Where a document admits no question of a kind it gets a direct one; no fact is asked twice.
    """
    rng = Random(f"questions/{world.split}/{seed}")
    asker = Asker(world)
    by_document: dict[int, list[Fact]] = {}
    for fact in world.facts.values():
        by_document.setdefault(fact.document, []).append(fact)
    asked: list[WorldQuestion] = []
    for index in sorted(by_document):
        facts = rng.sample(by_document[index], len(by_document[index]))
        for turn in range(min(per_document, len(facts))):
            wanted = QUESTION_KINDS[(index + turn) % len(QUESTION_KINDS)]
            kinds: tuple[QuestionKind, ...] = (wanted, "direct")
            found = next(q for kind in kinds for f in facts if (q := asker.ask(f, kind, rng)))
            asked.append(found)
            facts.remove(found.facts[0])
    return asked


class Asker:
    """Asks about the facts of one world."""

    def __init__(self, world: World) -> None:
        """Find whom trade and home describe uniquely, and which facts point to which entity."""
        self.world = world
        holders: dict[tuple[str, str], list[str]] = {}
        self._pointing: dict[str, list[Fact]] = {}
        self._pools: dict[str, list[str]] = {}
        for (subject, relation), fact in world.facts.items():
            if relation == "trade":
                holders.setdefault((fact.value, world.facts[subject, "home"].value), []).append(
                    subject
                )
            if RELATIONS[relation].noun:
                self._pointing.setdefault(fact.value, []).append(fact)
            self._pools.setdefault(relation, []).append(fact.value)
        self._described = {names[0] for names in holders.values() if len(names) == 1}
        self._people = [subject for subject, relation in world.facts if relation == "home"]

    def ask(
        self,
        fact: Fact,
        kind: QuestionKind,
        rng: Random,
        *,
        within: Container[Fact] | None = None,
        avoid: Container[Fact] = (),
    ) -> WorldQuestion | None:
        """A question of this kind about this fact; None where the fact admits none.

        Every fact that the question needs is one of `within` (where given) and none of `avoid`.
        """
        subject, lead = fact.subject, ""
        needed: tuple[Fact, ...] = (fact,)
        if kind == "described":
            if fact.relation in ("trade", "home") or fact.subject not in self._described:
                return None
            trade, home = self.world.facts[subject, "trade"], self.world.facts[subject, "home"]
            needed = (fact, trade, home)
            subject = DESCRIPTION.format(trade=trade.value, home=home.value)
        elif kind == "two-hop":
            link = self._link(fact, rng, within, avoid)
            if link is None:
                return None
            needed = (fact, link)
            subject = RELATIONS[link.relation].noun.format(s=link.subject)
        if any(f in avoid or (within is not None and f not in within) for f in needed):
            return None
        if subject != fact.subject:
            lead = f"{capital(subject)} was {fact.subject}. "
        relation = RELATIONS[fact.relation]
        wordings = relation.paraphrases if kind == "paraphrased" else relation.questions
        return WorldQuestion(
            kind=kind,
            text=capital(rng.choice(wordings).format(s=subject)),
            answer=fact.value,
            explanation=lead + _plain(self.world, fact),
            options=self._options(fact, rng),
            facts=needed,
        )

    def _link(
        self, fact: Fact, rng: Random, within: Container[Fact] | None, avoid: Container[Fact]
    ) -> Fact | None:
        links = [
            link
            for link in self._pointing.get(fact.subject, [])
            if link not in avoid and (within is None or link in within)
        ]
        elsewhere = [link for link in links if link.document != fact.document]
        return rng.choice(elsewhere or links) if links else None

    def _options(self, fact: Fact, rng: Random) -> tuple[str, ...]:
        """The gold value and three others, easy to confuse: this fact of other subjects first."""
        kind = RELATIONS[fact.relation].kind
        pool = self._pools[fact.relation]
        spare = self._people if kind == "person" else values(kind, self.world.split)
        drawn = [rng.choice(pool) for _ in range(12)] + rng.sample(spare, min(12, len(spare)))
        wrong = [value for value in dict.fromkeys(drawn) if value != fact.value][:3]
        return tuple(rng.sample([fact.value, *wrong], len(wrong) + 1))


def _plain(world: World, fact: Fact) -> str:
    """The fact in its plainest wording, with the full name."""
    clause = CLAUSE_OF[fact.relation]
    stated = {r.name: world.facts[fact.subject, r.name].value for r in clause.relations}
    return capital(f"{fact.subject} {say(clause.document[0], fact.subject, stated)}.")


def write_folder(world: World, folder: Path, questions: list[WorldQuestion]) -> None:
    """The world as a user's folder: `documents/*.md`, and `questions.jsonl` beside it."""
    for index, document in enumerate(world.documents):
        write_text(
            folder / "documents" / f"{file_stem(index)}.md",
            f"# {document.title}\n\n{document.text}\n",
        )
    write_text(folder / "questions.jsonl", "".join(_question_rows(questions)))


def file_stem(index: int) -> str:
    """The file name of document number `index`, without its suffix."""
    return f"document-{index:05d}"


def _question_rows(questions: list[WorldQuestion]) -> Iterator[str]:
    for number, asked in enumerate(questions):
        row = {
            "id": f"q{number:05d}",
            "question": asked.text,
            "answer": asked.answer,
            "options": list(asked.options),
            "documents": list(dict.fromkeys(file_stem(fact.document) for fact in asked.facts)),
            "evidence": list(dict.fromkeys(fact.sentence for fact in asked.facts)),
            "kind": asked.kind,
        }
        yield json.dumps(row, ensure_ascii=False) + "\n"
