"""What the small student is pre-trained on: reading lessons, and one fixed world to remember.

A *reading lesson* shows passages of a world that is made for it and never seen again, and asks
about them; the loss is on the answers. A *memory lesson* tells or asks about the fixed pre-training
world without a passage; the loss is on everything. Knows nothing of tokenizers or models: a lesson
is a list of messages, or a text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from engrain.testbed.composing import STYLES, Hand, reversed_pair
from engrain.testbed.grammar import capital
from engrain.testbed.names import Split, parts
from engrain.testbed.reading import read
from engrain.testbed.world import Asker, Fact, QuestionKind, World, WorldQuestion, build

SYSTEM = 'Answer the question. Explain first, then end with "Answer:" and the answer alone.'
"""The evaluation's instruction (`evaluate/prompts.py`), word for word; a test compares the two."""

PASSAGE_CHARACTERS = 512
"""Most characters in a passage of a reading lesson."""

Turn = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Level:
    """How hard the reading lessons are."""

    facts: int
    """Most facts in a passage."""
    passages: int
    """Most passages in a lesson."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """One training example: turns of (role, content), or one text with the role `text`."""

    turns: tuple[Turn, ...]
    learn_all: bool
    """Loss on every token; otherwise on the assistant's turns only."""


@dataclass(frozen=True, slots=True)
class Passage:
    """Some consecutive sentences of one document, under its title, and the facts they state."""

    title: str
    text: str
    facts: tuple[Fact, ...]


def answer_text(question: WorldQuestion) -> str:
    """The reply to learn: the explanation, then the answer."""
    return f"{question.explanation}\nAnswer: {question.answer}"


def cut(world: World, characters: int, facts: int) -> list[Passage]:
    """Passages of at most `characters` characters and `facts` facts; they never cut a sentence.

    A passage's `facts` are those of which it tells whose they are: a piece that begins with "She"
    under the names of two people tells of nobody.
    """
    passages: list[Passage] = []
    for document in world.documents:
        for paragraph in document.paragraphs:
            texts: list[str] = []
            stated: list[Fact] = []
            for sentence in paragraph:
                new = [world.facts[sentence.subject, name] for name in sentence.relations]
                too_long = sum(map(len, texts)) + len(sentence.text) > characters
                if texts and (too_long or len(stated) + len(new) > facts):
                    passages.append(_passage(document.title, texts, stated))
                    texts, stated = [], []
                texts.append(sentence.text)
                stated += new
            passages.append(_passage(document.title, texts, stated))
    return [passage for passage in passages if passage.facts]


def _passage(title: str, texts: Sequence[str], stated: Sequence[Fact]) -> Passage:
    text = " ".join(texts)
    named = {
        fact.subject
        for fact in stated
        if fact.subject in text or capital(fact.subject) in text or capital(fact.subject) == title
    }
    return Passage(title, text, tuple(fact for fact in stated if fact.subject in named))


def passages_prompt(passages: Sequence[Passage], question: str) -> str:
    """The user's turn with passages, as the evaluation writes it."""
    shown = "".join(f"[{p.title}]\n{p.text}\n\n" for p in passages)
    return f"{shown}Question: {question}"


def reading_lessons(
    rng: Random,
    level: Level,
    *,
    repeating: float,
    split: Split = "pretraining",
    questions: int = 8,
) -> Iterator[Lesson]:
    """Endless lessons, each about passages of a small world that is thrown away afterwards.

    `repeating` is the share of passages that are also to be repeated word for word; a lesson has
    up to `questions` questions.
    """
    while True:
        world = build(seed=rng.getrandbits(62), split=split, documents=10)
        asker = Asker(world)
        passages = cut(world, PASSAGE_CHARACTERS, level.facts)
        rng.shuffle(passages)
        for gold in passages:
            if rng.random() < repeating:
                yield repeating_lesson(gold if rng.random() < 0.5 else _scrambled(gold, rng))
            # Mostly the larger numbers: those are the hard ones.
            count = max(rng.randint(1, level.passages), rng.randint(1, level.passages))
            shown = [
                gold,
                *rng.sample([p for p in passages if p is not gold], min(count, len(passages)) - 1),
            ]
            asked = _questions_on(asker, shown, rng, questions)
            if asked:
                rng.shuffle(shown)
                yield _conversation(shown, asked, rng)


def repeating_lesson(passage: Passage) -> Lesson:
    """Say a passage again, word for word: a dense lesson in copying, which reading is built on."""
    user = f"[{passage.title}]\n{passage.text}\n\nRepeat the text."
    return Lesson((("user", user), ("assistant", passage.text)), learn_all=False)


def _scrambled(passage: Passage, rng: Random) -> Passage:
    """Half as many words, made of parts at random: nothing but copying can repeat them."""
    starts, endings = parts()
    words = [
        rng.choice(starts) + rng.choice(["", *endings])
        for _ in range(len(passage.text.split()) // 2)
    ]
    return Passage(passage.title, " ".join(words), ())


def _questions_on(
    asker: Asker, shown: Sequence[Passage], rng: Random, count: int
) -> list[WorldQuestion]:
    """Questions that these passages answer, of all kinds that they allow."""
    facts = [fact for passage in shown for fact in passage.facts]
    known = set(facts)
    found: list[WorldQuestion] = []
    kinds: tuple[QuestionKind, ...] = ("two-hop", "described", "direct", "paraphrased", "direct")
    for fact in _mostly_contested(facts, rng)[:count]:
        for kind in rng.sample(kinds, len(kinds)):
            asked = asker.ask(fact, kind, rng, within=known)
            if asked is not None:
                found.append(asked)
                break
    return found


def _mostly_contested(facts: Sequence[Fact], rng: Random) -> list[Fact]:
    """In random order, but facts that are told of several subjects come early.

    Who found the right kind of value has answered the others; these need the right subject too.
    """
    told = Counter(fact.relation for fact in facts)
    return sorted(facts, key=lambda fact: rng.random() + (told[fact.relation] == 1) * 0.5)


def _conversation(shown: Sequence[Passage], asked: Sequence[WorldQuestion], rng: Random) -> Lesson:
    turns: list[Turn] = [("system", SYSTEM)] if rng.random() < 0.7 else []
    for i, question in enumerate(asked):
        text = passages_prompt(shown, question.text) if i == 0 else f"Question: {question.text}"
        turns += [("user", text), ("assistant", answer_text(question))]
    return Lesson(tuple(turns), learn_all=False)


class Memory:
    """Lessons about one fixed world: its documents, rewrites of them, and questions.

    Facts in `unasked` occur in prose but in no question: what the student answers about them it has
    learned from prose alone.
    """

    def __init__(self, world: World, *, unasked_share: float, seed: int) -> None:
        """Choose the unasked facts."""
        rng = Random(f"unasked/{seed}")
        self.world = world
        self.asker = Asker(world)
        everything = list(world.facts.values())
        self.unasked = frozenset(rng.sample(everything, round(unasked_share * len(everything))))
        self.asked = [fact for fact in everything if fact not in self.unasked]
        self._statements = [read(document.text) for document in world.documents]
        hidden = {(fact.subject, fact.relation) for fact in self.unasked}
        self._askable = [
            [s for s in statements if not any((s.subject, name) in hidden for name in s.values)]
            for statements in self._statements
        ]

    def lessons(self, rng: Random) -> Iterator[Lesson]:
        """Endless lessons: a text, four questions, another text, and so on."""
        while True:
            index = rng.randrange(len(self.world.documents))
            yield Lesson((("text", self._prose(index, rng)),), learn_all=True)
            for _ in range(4):
                yield (
                    self._reversed_question(rng)
                    if rng.random() < 0.15
                    else self._asked_question(rng)
                )

    def _prose(self, index: int, rng: Random) -> str:
        """The document itself, or a rewrite of it as the writer would make it."""
        document = self.world.documents[index]
        draw = rng.random()
        if draw < 0.25:
            return f"{document.title}\n\n{document.text}"
        hand = Hand(rng, phrasings=6, error_rate=0.0)
        name = rng.choice(list(STYLES)) if draw < 0.75 else "prose"
        asks = name in ("dialogue", "reversed")
        statements = (self._askable if asks else self._statements)[index]
        return STYLES[name](hand, rng.sample(statements, min(len(statements), rng.randint(4, 20))))

    def _reversed_question(self, rng: Random) -> Lesson:
        statements = rng.choice([askable for askable in self._askable if askable])
        hand = Hand(rng, phrasings=6, error_rate=0.0)
        pair = reversed_pair(hand, rng.choice(statements), statements)
        return _closed_book(pair.question, f"{pair.explanation}\nAnswer: {pair.answer}", rng)

    def _asked_question(self, rng: Random) -> Lesson:
        while True:
            kind: QuestionKind = rng.choice(
                ("direct", "direct", "paraphrased", "described", "two-hop")
            )
            question = self.asker.ask(rng.choice(self.asked), kind, rng, avoid=self.unasked)
            if question is not None:
                return _closed_book(question.text, answer_text(question), rng)

    def question(self, fact: Fact, rng: Random) -> Lesson:
        """A direct question about this fact, asked or unasked, without a passage."""
        question = self.asker.ask(fact, "direct", rng)
        assert question is not None
        return _closed_book(question.text, answer_text(question), rng)


def _closed_book(question: str, answer: str, rng: Random) -> Lesson:
    prefix = "Question: " if rng.random() < 0.5 else ""
    turns: list[Turn] = [("user", prefix + question), ("assistant", answer)]
    if rng.random() < 0.5:
        turns.insert(0, ("system", SYSTEM))
    return Lesson(tuple(turns), learn_all=True)
