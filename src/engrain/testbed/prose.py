"""Writes the documents of the world: facts in, connected prose out.

Salient facts come early in short sentences; long-tail facts are buried in long ones. Every fact is
stated once. Knows nothing of how the facts were drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from engrain.testbed.grammar import CLAUSE_OF, Clause, EntityType, capital, pronoun, say

_OPENINGS = (
    "As the neighbours tell it,",
    "In those years",
    "According to the parish book,",
    "For most of this time",
    "When the river was low and work was scarce,",
    "So far as anyone remembers,",
    "In the town records it is noted that",
    "By all accounts",
)
_JOINS = ("and", "and", "while in later years", "and it is said that")
_TAILS = (
    ", which few people knew",
    ", as old letters show",
    ", to the surprise of everyone in the street",
    ", and nobody thought it odd",
    "",
    "",
    "",
    "",
)
_ASIDES = (
    "The town was small then, and news travelled slowly.",
    "Little else is written about those days.",
    "It was a time of hard winters and short summers.",
    "Much of this was only found out later.",
    "People still speak of it on market days.",
    "The old records are not complete.",
)
_NAMED_AGAIN = 0.45
"""Share of later sentences that repeat the full name instead of a pronoun."""
_ASIDE = 0.3
"""Share of sentences that are followed by one that states no fact."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence, and the names of the facts that it states of its subject."""

    text: str
    subject: str
    relations: tuple[str, ...]


def write_paragraph(
    subject: str, entity: EntityType, facts: dict[str, str], rng: Random
) -> list[Sentence]:
    """The sentences about one entity, in order; they state every fact once."""
    clauses = list(dict.fromkeys(CLAUSE_OF[relation] for relation in facts))
    clauses.sort(key=lambda clause: clause.salience + 0.8 * rng.random())
    sentences: list[Sentence] = []
    while clauses:
        depth = clauses[0].salience
        size = min(len(clauses), rng.choice({1: (1, 1, 2), 2: (1, 2), 3: (2, 2, 3)}[depth]))
        group, clauses = clauses[:size], clauses[size:]
        named = not sentences or rng.random() < _NAMED_AGAIN
        parts = [say(rng.choice(clause.document), subject, facts) for clause in group]
        text = _sentence(subject, entity, group, parts, named=named, rng=rng)
        stated = tuple(relation.name for clause in group for relation in clause.relations)
        sentences.append(Sentence(text, subject, stated))
        if clauses and rng.random() < _ASIDE:
            sentences.append(Sentence(rng.choice(_ASIDES), subject, ()))
    return sentences


def _sentence(
    subject: str,
    entity: EntityType,
    group: list[Clause],
    parts: list[str],
    *,
    named: bool,
    rng: Random,
) -> str:
    they = pronoun(subject, entity)
    text = f"{subject if named else they} {parts[0]}"
    for part in parts[1:]:
        join = rng.choice(_JOINS)
        text += f", {join} {they} {part}" if join != "and" or rng.random() < 0.5 else f" and {part}"
    if rng.random() < (0.25, 0.5, 0.6)[group[0].salience - 1]:
        text = f"{rng.choice(_OPENINGS)} {text}"
    if group[-1].salience == 3:
        text += rng.choice(_TAILS)
    return capital(text) + "."


def pad(paragraphs: list[list[Sentence]], words: int, rng: Random) -> None:
    """Add sentences that state no fact, in place, until there are `words` words in all."""
    while sum(len(s.text.split()) for paragraph in paragraphs for s in paragraph) < words:
        paragraph = rng.choice(paragraphs)
        paragraph.insert(
            rng.randint(1, len(paragraph)), Sentence(rng.choice(_ASIDES), paragraph[0].subject, ())
        )
