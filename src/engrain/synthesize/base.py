"""The protocol of a synthesis method: plan requests about a window, parse the replies.

Methods are pure: they know nothing of HTTP, files, budgets or concurrency. A new one is one file,
one prompt and one line in `methods.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from engrain.backends.base import Reply, Request
from engrain.records import TextKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A stretch of one document that a prompt shows."""

    document_id: str
    title: str
    number: int
    """Position among the document's windows, from 0."""
    count: int = 1
    """How many windows the document has."""
    start: int = 0
    """Where in the document it starts, in characters."""
    text: str
    tokens: int
    """Estimated; also the window's weight when a budget is spread."""

    @property
    def end(self) -> int:
        """Where in the document it ends, in characters."""
        return self.start + len(self.text)


@dataclass(frozen=True, slots=True)
class Known:
    """What earlier replies have told about a window."""

    questions: tuple[str, ...] = ()
    """Synthetic questions about it, in the order in which they were written."""
    lists: tuple[tuple[str, ...], ...] = ()
    """What the method's preparation found, one list a reply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One text found in a reply."""

    text: str
    question: str = ""
    answer: str = ""
    written: str = ""
    """What the generator wrote of a text that also holds the document's own; empty: all of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A reply, or a part of one, that cannot be used."""

    reason: str
    """A short slug: counted by it."""
    detail: str
    text: str


@dataclass(frozen=True, slots=True)
class Parsed:
    """What is in a reply."""

    pieces: Sequence[Piece] = ()
    faults: Sequence[Fault] = ()


class Preparation(Protocol):
    """A first stage that finds what a method works with: Active Reading's strategies."""

    name: str

    def needed(self, texts: int) -> int:
        """How many lists a window of so many texts needs."""

    def plan(self, window: Window, number: int) -> Request:
        """The request for a window's list `number` (failed ones count)."""

    def parse(self, reply: Reply) -> tuple[str, ...]:
        """The list; empty where there is none in the reply."""


class Method(Protocol):
    """One way of writing about a document."""

    name: str
    kind: TextKind
    preparation: Preparation | None
    window: int | None
    """Tokens of document text that it wants in a prompt; None: all of the document."""

    def expected_tokens(self, window: Window) -> int:
        """Completion tokens of one reply, guessed: sizes plans, never results."""

    def plan(self, window: Window, known: Known, number: int) -> Request:
        """Request `number` (from 0) about a window; no two numbers give equal requests."""

    def parse(self, reply: Reply, window: Window) -> Parsed:
        """The texts in a reply about a window, and what in it could not be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request of the stage, for tracing: a row of `requests/*.parquet`."""

    request_id: str
    document_id: str
    window: int
    method: str
    strategy: str
    focus: str
    sample: int
    prompt: str
    prompt_tokens: int
    cached_prompt_tokens: int
    completion_tokens: int
    failure: str
    """Why it failed; empty where it was answered."""
