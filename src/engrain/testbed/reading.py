"""Reads a document of the world back into statements, by its grammar: the writer's eyes.

It knows how the world's facts are worded, not which facts there are: what it finds is in the text
before it, and a text in another language yields nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from engrain.testbed.grammar import CLAUSES, DESCRIPTION, RELATIONS, Clause, EntityType
from engrain.testbed.names import Kind

NAME = "[A-Z][a-z]+ [A-Z][a-z]+"
HOUSE = "[Tt]he [A-Z][a-z]+ [A-Z][a-z]+"
"""How subjects look, as patterns."""

_SHAPES: dict[Kind, str] = {
    "person": NAME,
    "house": "the [A-Z][a-z]+ [A-Z][a-z]+",
    "place": "[A-Z][a-z]+",
    "prize": "[A-Z][a-z]+ [A-Z][a-z]+",
    "year": "[0-9]{4}",
    "count": "[0-9]{1,3}",
}
_WORDS = "[a-z]+ [a-z]+"
"""The shape of all other values: trades, animals, dishes, ..."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One clause that a text states of a subject: the values of its facts by name."""

    subject: str
    entity: EntityType
    clause: Clause
    values: dict[str, str]


def read(text: str) -> list[Statement]:
    """The statements of a text, in order.

    A pronoun stands for the subject last named in its paragraph.
    """
    found: list[Statement] = []
    for paragraph in text.split("\n\n"):
        found += _read_paragraph(" ".join(paragraph.split()))
    return found


def _read_paragraph(text: str) -> Iterator[Statement]:
    subject: str | None = None
    for match in _pattern().finditer(text):
        groups = {name: value for name, value in match.groupdict().items() if value is not None}
        subject = groups.pop("subject", subject)
        if subject is None:
            continue
        subject = "the" + subject[3:] if subject.startswith("The ") else subject
        entity: EntityType = "house" if subject.startswith("the ") else "person"
        values = {name.rsplit("_", 1)[0]: value for name, value in groups.items()}
        clause = next((c for c in CLAUSES[entity] if c.name in values), None)
        if clause is not None:
            yield Statement(subject, entity, clause, values)


@cache
def _pattern() -> re.Pattern[str]:
    """All wordings as alternatives, `(subject )?verb phrase`, each value in a group of its own."""
    wordings = [
        template
        for clauses in CLAUSES.values()
        for clause in clauses
        for template in (*clause.document, *clause.written)
    ]
    phrases = [_phrase(template, number) for number, template in enumerate(wordings)]
    phrases.sort(key=len, reverse=True)  # Of alternatives, a pattern takes the first that fits.
    return re.compile(rf"\b(?:(?P<subject>{HOUSE}|{NAME}) )?(?:{'|'.join(phrases)})\b")


def _phrase(template: str, number: int) -> str:
    pattern = re.sub(r"\ba \{", "an? {", template).replace("{pos}", "(?:her|his)")
    for name, relation in RELATIONS.items():
        shape = _SHAPES.get(relation.kind, _WORDS)
        pattern = pattern.replace(f"{{{name}}}", f"(?P<{name}_{number}>{shape})")
    return pattern


def known_values(subject: str, statements: Iterable[Statement]) -> dict[str, str]:
    """All that the statements say of a subject: values by the names of their facts."""
    return {
        name: value for s in statements if s.subject == subject for name, value in s.values.items()
    }


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What a question is about, as far as the text at hand tells."""

    subject: str
    relation: str


def understand(question: str, statements: Sequence[Statement]) -> Inquiry | None:
    """Which subject and fact a question asks about; None where the statements do not tell.

    Understands the grammar's own question wordings, with a name or a description as the subject.
    """
    for statement in statements:
        for subject in (statement.subject, *_descriptions(statement.subject, statements)):
            if subject not in question:
                continue
            asked = question.replace(subject, "{s}")
            for relation in RELATIONS.values():
                if any(asked.lower() == wording.lower() for wording in relation.questions):
                    return Inquiry(statement.subject, relation.name)
    return None


def _descriptions(subject: str, statements: Sequence[Statement]) -> list[str]:
    known = known_values(subject, statements)
    if "trade" in known and "home" in known:
        return [DESCRIPTION.format(trade=known["trade"], home=known["home"])]
    return []
