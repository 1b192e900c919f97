"""Active Reading (arXiv 2508.09494): list strategies for studying a document, then apply each.

With Focal Rewriting (arXiv 2603.23562) each application is focused on one synthetic question.
"""

from __future__ import annotations

import re

from engrain.backends.base import Lineage, Reply, Request, Sampling
from engrain.records import TextKind
from engrain.synthesize.base import Known, Parsed, Preparation, Window
from engrain.synthesize.focal import pair
from engrain.synthesize.parsing import body
from engrain.synthesize.prompts import one_line, user_message
from engrain.synthesize.settings import DocumentSettings
from engrain.synthesize.verify import whole_text

_HEADING = re.compile(r"^\s*#{1,4}\s+(.+?)\s*#*\s*$", re.MULTILINE)
_ITEM = re.compile(r"^\s*(?:[-*]|\d+[.)])\s+(.+?)\s*$", re.MULTILINE)
_EMPHASIS = re.compile(r"\*\*|__")

# A strategy is a line of a prompt: a longer one is a text by itself.
_LONGEST_STRATEGY = 400
# A list of one-line strategies needs no more.
_LIST_TOKENS = 1024


class Strategies:
    """Stage 1: lists of strategies made for one window."""

    name = "strategies"

    def __init__(self, settings: DocumentSettings, *, seed: int) -> None:
        self._texts_per_list = settings.texts_per_list
        limit = min(_LIST_TOKENS, settings.max_tokens)
        self._sampling = Sampling(
            temperature=settings.temperature, top_p=settings.top_p, max_tokens=limit
        )
        self._seed = seed

    def needed(self, texts: int) -> int:
        """One for every `texts_per_list` texts."""
        return -(-texts // self._texts_per_list)

    def plan(self, window: Window, number: int) -> Request:
        """The same prompt, another draw."""
        return Request(
            messages=user_message("strategies", window),
            sampling=self._sampling,
            sample=self._seed + number,
            lineage=Lineage(document_id=window.document_id, method=self.name),
        )

    def parse(self, reply: Reply) -> tuple[str, ...]:
        """The headings; where there are none, the items of a list."""
        text = body(reply.text)
        lines = _HEADING.findall(text) or _ITEM.findall(text)
        found = (one_line(_EMPHASIS.sub("", line)) for line in lines)
        return tuple(dict.fromkeys(line for line in found if 0 < len(line) <= _LONGEST_STRATEGY))


class ActiveReading:
    """Stage 2: apply the strategies in turn; with Focal Rewriting, each with a question."""

    name = "active_reading"
    kind: TextKind = "document"

    def __init__(self, settings: DocumentSettings, *, seed: int) -> None:
        self.preparation: Preparation | None = Strategies(settings, seed=seed)
        self._texts_per_list = settings.texts_per_list
        self._focal = settings.focal
        self._sampling = Sampling(
            temperature=settings.temperature, top_p=settings.top_p, max_tokens=settings.max_tokens
        )
        self._seed = seed

    def expected_tokens(self, window: Window) -> int:
        """Somewhat less than the window's length, and not much less than a paragraph."""
        return min(self._sampling.max_tokens, 100 + int(0.8 * window.tokens))

    def plan(self, window: Window, known: Known, number: int) -> Request:
        """The next strategy of the list that is current, and the next question."""
        current = min(number // self._texts_per_list, len(known.lists) - 1)
        strategy, question = pair(
            number, known.lists[current], known.questions if self._focal else ()
        )
        return Request(
            messages=user_message("apply", window, strategy=strategy, question=question),
            sampling=self._sampling,
            sample=self._seed + number,
            lineage=Lineage(
                document_id=window.document_id, method=self.name, strategy=strategy, focus=question
            ),
        )

    def parse(self, reply: Reply) -> Parsed:
        """The whole reply."""
        return whole_text(reply, body(reply.text))
