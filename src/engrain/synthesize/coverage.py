"""The coverage card: which windows, sentences and names of each document the kept texts touch.

A text touches a sentence when it says enough of the words that tell that sentence from the others,
of its document and of the corpus. Knows words and their rarity; no language, no model and nothing
of methods. An estimate: on the testbed's worlds some 84 per cent of what it calls touched is, and
some 85 per cent of what is touched it finds (docs/notebook.md, 2026-11-21).
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from engrain.artifacts import COVERAGE, Covered, texts_in
from engrain.records import Document, SyntheticText
from engrain.store import write_rows
from engrain.synthesize.windows import windows
from engrain.synthesize.words import words

# Share of a sentence's words, weighed by rarity, that a text must say. Chosen on one of the
# testbed's worlds, where it is known which text states which fact, and checked on another.
_TOUCHED = 0.3

# Where sentences end: after their mark (and what closes a quotation), and at the ends of lines.
_END = re.compile(r"(?<=[.!?])[\"'\u201d\u2019)\]]*\s+|(?<=[\u3002\uff01\uff1f])|\s*\n\s*")
# A stretch with fewer different words (a heading, a number, "Yes, he said.") states no fact.
_FEWEST_WORDS = 4
# A word in more of a document's sentences tells nothing, and its list would be long: the greater of
# a share and a number.
_COMMON, _COMMON_SENTENCES = 0.02, 50
_TOKEN = re.compile(r"\w[\w'\u2019-]*")
# Where nothing is capitalised, long words that come up seldom stand for names.
_LONG, _SELDOM = 8, 3
# What so many texts touch is counted by itself.
_OFTEN = 3
# Characters of documents whose cards are in memory at a time; a card takes some 35 times as much.
_CHARACTERS = 4_000_000


def cover(folder: Path, documents: Callable[[], Iterable[Document]], window: int) -> dict[str, Any]:
    """Write the coverage of all documents by the kept texts in `folder`; returns its figures.

    In bounded memory: documents are taken a few megabytes at a time, and for each such share the
    kept texts are read once more.
    """
    rarity, summary = Rarity(), Summary()
    for document in documents():
        rarity.count(document)

    def rows() -> Iterator[Covered]:
        for share in _shares(documents()):
            cards = {document.id: Card(document, window, rarity) for document in share}
            for text in texts_in(folder):
                if text.document_id in cards:
                    cards[text.document_id].count(text)
            for card in cards.values():
                yield from card.rows()

    write_rows(folder / COVERAGE, Covered, summary.take(rows()))
    return summary.as_json()


class Rarity:
    """In how many of the corpus's sentences each word stands."""

    def __init__(self) -> None:
        self._sentences = 0
        self._with: Counter[str] = Counter()

    def count(self, document: Document) -> None:
        """Take one document."""
        for _, told in _stated(document.text):
            self._sentences += 1
            self._with.update(told)

    def of(self, word: str) -> float:
        """The logarithm of how rare a word of the corpus is."""
        return math.log(1 + self._sentences / self._with[word])


class Card:
    """One document's windows, sentences and names, and how many texts have touched each."""

    def __init__(self, document: Document, window: int, rarity: Rarity) -> None:
        """`window` is the size of windows, in tokens."""
        self.document = document
        self._windows = [(cut.start, cut.end) for cut in windows([document], window)]
        stated = list(_stated(document.text))
        self._spans = [span for span, _ in stated]
        self._texts = [0] * len(self._spans)
        self._window_texts = [0] * len(self._windows)
        self._window_of = [
            max(0, sum(begin <= start for begin, _ in self._windows) - 1)
            for start, _ in self._spans
        ]
        said = [told for _, told in stated]
        self._weights = _weights(said, rarity)
        self._sentences_with: dict[str, list[int]] = defaultdict(list)
        self._wanted = []
        for number, told in enumerate(said):
            known = [word for word in told if word in self._weights]
            self._wanted.append(_TOUCHED * sum(self._weights[word] for word in known))
            for word in known:
                self._sentences_with[word].append(number)
        self._names = dict(_names(document.text))
        self._name_texts: Counter[tuple[str, ...]] = Counter()
        self._names_with: dict[str, list[tuple[str, ...]]] = defaultdict(list)
        for name in self._names:
            self._names_with[name[0]].append(name)

    def count(self, text: SyntheticText) -> None:
        """Take one kept text of this document."""
        told = words(f"{text.question} {text.text}")
        vocabulary = set(told)
        touched = self.touched(vocabulary)
        for number in touched:
            self._texts[number] += 1
        for number in {self._window_of[number] for number in touched}:
            self._window_texts[number] += 1
        line = f" {' '.join(told)} "
        for word in vocabulary & self._names_with.keys():
            for name in self._names_with[word]:
                if f" {' '.join(name)} " in line:
                    self._name_texts[name] += 1

    def touched(self, vocabulary: set[str]) -> list[int]:
        """The sentences, by their number, that a text with these words touches."""
        said: dict[int, float] = defaultdict(float)
        for word in vocabulary & self._weights.keys():
            weight = self._weights[word]
            for number in self._sentences_with[word]:
                said[number] += weight
        # Sums of the same weights in another order may differ in the last digit.
        return [number for number, sum_ in said.items() if sum_ > self._wanted[number] - 1e-9]

    def rows(self) -> Iterator[Covered]:
        """The windows, then the sentences, then the names, each in the document's order."""
        for (start, end), texts in zip(self._windows, self._window_texts, strict=True):
            yield self._row("window", start, end, texts, "")
        for (start, end), texts in zip(self._spans, self._texts, strict=True):
            yield self._row("sentence", start, end, texts, self.document.text[start:end])
        for name, (start, end) in self._names.items():
            written = self.document.text[start:end]
            yield self._row("name", start, end, self._name_texts[name], written)

    def _row(self, kind: str, start: int, end: int, texts: int, text: str) -> Covered:
        return Covered(
            document_id=self.document.id, kind=kind, start=start, end=end, texts=texts, text=text
        )


class Summary:
    """Coverage in a few figures, over all documents."""

    def __init__(self) -> None:
        self._units: Counter[str] = Counter()
        self._touched: Counter[str] = Counter()
        self._often: Counter[str] = Counter()

    def take(self, rows: Iterable[Covered]) -> Iterator[Covered]:
        """Pass rows on, and count them."""
        for row in rows:
            self._units[row.kind] += 1
            self._touched[row.kind] += row.texts > 0
            self._often[row.kind] += row.texts >= _OFTEN
            yield row

    def as_json(self) -> dict[str, Any]:
        """How many windows, sentences and names there are, are touched, touched often, never."""
        return {
            f"{kind}s": {
                "all": count,
                "touched": self._touched[kind],
                "touched_3_times": self._often[kind],
                "never": count - self._touched[kind],
            }
            for kind, count in sorted(self._units.items())
        }


def _weights(sentences: list[set[str]], rarity: Rarity) -> dict[str, float]:
    """How much each word tells: the rarer in its document and in the corpus, the more."""
    count = len(sentences)
    held = Counter(word for told in sentences for word in told)
    most = max(_COMMON_SENTENCES, _COMMON * count)
    return {
        word: math.log(1 + count / here) * rarity.of(word) ** 2
        for word, here in held.items()
        if here <= most
    }


def _stated(text: str) -> Iterator[tuple[tuple[int, int], set[str]]]:
    """The sentences that may state a fact: where they stand, and their words."""
    for start, end in _sentences(text):
        told = set(words(text[start:end]))
        if len(told) >= _FEWEST_WORDS:
            yield (start, end), told


def _shares(documents: Iterable[Document]) -> Iterator[list[Document]]:
    share: list[Document] = []
    size = 0
    for document in documents:
        if share and size + len(document.text) > _CHARACTERS:
            yield share
            share, size = [], 0
        share.append(document)
        size += len(document.text)
    if share:
        yield share


def _sentences(text: str) -> Iterator[tuple[int, int]]:
    """Where each sentence starts and ends."""
    cuts = [0, *(place for found in _END.finditer(text) for place in found.span()), len(text)]
    for start, end in list(pairwise(cuts))[::2]:
        if text[start:end].strip():
            yield start, end


def _names(text: str) -> Iterator[tuple[tuple[str, ...], tuple[int, int]]]:
    """Runs of capitalised words, by their words without regard to case, with one place each.

    A single word that begins a sentence is none: it is capitalised whatever it is.
    """
    found: dict[tuple[str, ...], tuple[int, int]] = {}
    plain: Counter[str] = Counter()
    places: dict[str, tuple[int, int]] = {}
    for first, last in _sentences(text):
        run: list[re.Match[str]] = []
        for token in _TOKEN.finditer(text, first, last):
            plain[token[0].casefold()] += 1
            places.setdefault(token[0].casefold(), token.span())
            capital = token[0][0].isupper()
            if run and not (capital and text[run[-1].end() : token.start()] == " "):
                _add(found, run, first, text)
                run = []
            if capital:
                run.append(token)
        _add(found, run, first, text)
    if found or not plain:
        yield from found.items()
        return
    for word, count in plain.items():
        if len(word) >= _LONG and count <= _SELDOM:
            yield tuple(words(word)), places[word]


def _add(
    found: dict[tuple[str, ...], tuple[int, int]], run: list[re.Match[str]], first: int, text: str
) -> None:
    if not run or (len(run) == 1 and not _TOKEN.search(text, first, run[0].start())):
        return
    start, end = run[0].start(), run[-1].end()
    found.setdefault(tuple(words(text[start:end])), (start, end))
