"""How the writer words what it has read: question-answer pairs, and texts in several styles.

Statements in, text out. Knows nothing of requests or replies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random

from engrain.testbed.grammar import DESCRIPTION, RELATIONS, Relation, capital, pronoun, say
from engrain.testbed.reading import Statement, known_values


@dataclass(frozen=True, slots=True)
class Pair:
    """One synthetic question with its explanation and short answer."""

    question: str
    explanation: str
    answer: str


class Hand:
    """One writer's way of wording things in one reply."""

    def __init__(self, rng: Random, *, phrasings: int, error_rate: float) -> None:
        """`phrasings` wordings of each clause are used; a value is wrong with `error_rate`."""
        self.rng = rng
        self._phrasings = phrasings
        self._error_rate = error_rate

    def phrase(self, statement: Statement) -> str:
        """The words after the subject."""
        clause = statement.clause
        wordings = (clause.document + clause.written)[: self._phrasings]
        return say(self.rng.choice(wordings), statement.subject, statement.values)

    def state(self, statement: Statement, *, named: bool = True) -> str:
        """One sentence."""
        subject = statement.subject if named else pronoun(statement.subject, statement.entity)
        return f"{capital(subject)} {self.phrase(statement)}."

    def misread(self, statement: Statement, others: Sequence[Statement]) -> Statement:
        """The statement with the writer's errors.

        A wrong value is another of its kind that `others` state; where there is none it stays.
        """
        values = dict(statement.values)
        for name, value in values.items():
            if self.rng.random() < self._error_rate:
                kind = RELATIONS[name].kind
                pool = sorted(
                    {
                        v
                        for s in others
                        for n, v in s.values.items()
                        if RELATIONS[n].kind == kind and v != value
                    }
                )
                values[name] = self.rng.choice(pool) if pool else value
        return replace(statement, values=values)


def direct_pair(hand: Hand, statement: Statement, relation: Relation) -> Pair:
    """A question that names its subject."""
    question = hand.rng.choice(relation.questions).format(s=statement.subject)
    return Pair(capital(question), hand.state(statement), statement.values[relation.name])


def described_pair(
    hand: Hand, statement: Statement, relation: Relation, statements: Sequence[Statement]
) -> Pair | None:
    """A question that describes its subject by trade and home; None where they are not told."""
    known = known_values(statement.subject, statements)
    if statement.clause.name in ("trade", "home") or not {"trade", "home"} <= known.keys():
        return None
    subject = DESCRIPTION.format(trade=known["trade"], home=known["home"])
    question = hand.rng.choice(relation.questions).format(s=subject)
    explanation = f"{capital(subject)} was {statement.subject}. {hand.state(statement)}"
    return Pair(capital(question), explanation, statement.values[relation.name])


def reversed_pair(hand: Hand, statement: Statement, statements: Sequence[Statement]) -> Pair:
    """A question whose answer is the subject."""
    known = known_values(statement.subject, statements)
    if {"trade", "home"} <= known.keys() and hand.rng.random() < 0.5:
        subject = DESCRIPTION.format(trade=known["trade"], home=known["home"])
        return Pair(
            f"Who was {subject}?", f"{capital(subject)} was {statement.subject}.", statement.subject
        )
    named = next((r for r in statement.clause.relations if r.noun), None)
    if named is not None:
        noun = capital(named.noun.format(s=statement.subject))
        value = statement.values[named.name]
        return Pair(f"Who was {noun[0].lower()}{noun[1:]}?", f"{noun} was {value}.", value)
    word = "Which place" if statement.entity == "house" else "Who"
    return Pair(f"{word} {hand.phrase(statement)}?", hand.state(statement), statement.subject)


def make_pair(hand: Hand, statement: Statement, statements: Sequence[Statement]) -> Pair:
    """One pair about a statement: mostly direct, sometimes described or reversed."""
    relation = hand.rng.choice(statement.clause.relations)
    draw = hand.rng.random()
    if draw < 0.2:
        return reversed_pair(hand, statement, statements)
    found = described_pair(hand, statement, relation, statements) if draw < 0.4 else None
    return found or direct_pair(hand, statement, relation)


Style = Callable[[Hand, Sequence[Statement]], str]


def prose(hand: Hand, statements: Sequence[Statement]) -> str:
    """Plain sentences, subject by subject."""
    parts: list[str] = []
    for subject in dict.fromkeys(s.subject for s in statements):
        own = [s for s in statements if s.subject == subject]
        parts.append(
            " ".join(
                hand.state(s, named=i == 0 or hand.rng.random() < 0.6) for i, s in enumerate(own)
            )
        )
    return "\n\n".join(parts)


def notes(hand: Hand, statements: Sequence[Statement]) -> str:
    """One fact a line, each with its subject's name."""
    return "\n".join(f"- {hand.state(statement)}" for statement in statements)


def linked(hand: Hand, statements: Sequence[Statement]) -> str:
    """Each fact together with another of its subject, or with the subject's trade and home."""
    lines = []
    for statement in statements:
        known = known_values(statement.subject, statements)
        other = hand.rng.choice([s for s in statements if s.subject == statement.subject])
        if {"trade", "home"} <= known.keys() and hand.rng.random() < 0.5:
            subject = capital(DESCRIPTION.format(trade=known["trade"], home=known["home"]))
            lines.append(f"{subject} was {statement.subject}, who {hand.phrase(statement)}.")
        elif other.clause is not statement.clause:
            lines.append(
                f"{capital(statement.subject)}, who {hand.phrase(other)}, {hand.phrase(statement)}."
            )
        else:
            lines.append(hand.state(statement))
    return " ".join(lines)


def dialogue(hand: Hand, statements: Sequence[Statement]) -> str:
    """A pupil asks, a teacher answers."""
    turns = []
    for statement in statements:
        relation = hand.rng.choice(statement.clause.relations)
        asked = capital(hand.rng.choice(relation.questions).format(s=statement.subject))
        turns.append(f"Pupil: {asked}\nTeacher: {hand.state(statement)}")
    return "\n".join(turns)


def reversed_notes(hand: Hand, statements: Sequence[Statement]) -> str:
    """From the value to the subject: who it was that did each thing."""
    lines = []
    for statement in statements:
        pair = reversed_pair(hand, statement, statements)
        lines.append(f"{pair.question} {pair.explanation}")
    return "\n".join(lines)


STYLES: dict[str, Style] = {
    "prose": prose,
    "notes": notes,
    "linked": linked,
    "dialogue": dialogue,
    "reversed": reversed_notes,
}

STRATEGIES: dict[str, str] = {
    "prose": "Retell in your own words all that is said about {who}",
    "notes": "Write down every fact about {who} on a line of its own",
    "linked": "Connect the facts about {who} with one another, two at a time",
    "dialogue": "Teach a pupil about {who} by question and answer",
    "reversed": "Start from each detail and recall to whom it belongs, for {who}",
}


def style_of(strategy: str) -> str:
    """The style that a strategy or a rewrite style asks for; prose where it says nothing known."""
    for name, template in STRATEGIES.items():
        if strategy.startswith(template.split("{who}")[0].rstrip()):
            return name
    asked = strategy.lower()
    return next((style for word, style in _STYLE_WORDS.items() if word in asked), "prose")


_STYLE_WORDS = {
    "list": "notes",
    "terse": "notes",
    "key concepts": "notes",
    "mind map": "notes",
    "implications": "linked",
    "; ": "linked",
    "conversation": "dialogue",
    "discussion": "dialogue",
    "critical thinking": "dialogue",
    "lesson": "dialogue",
}
"""What a wanted style or form is recognised by; `; ` joins the entities that are to be related."""


def by_salience(statements: Sequence[Statement]) -> list[Statement]:
    """Salient statements first, otherwise in the document's order."""
    return sorted(statements, key=lambda s: s.clause.salience)
