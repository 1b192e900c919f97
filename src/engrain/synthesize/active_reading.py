"""Active Reading (arXiv 2508.09494): list strategies for studying a document, then apply each.

Task-agnostic lists cover all that the document says; task-specific ones begin with the questions of
an examiner.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from engrain.backends.base import Lineage, Reply, Request, Sampling
from engrain.synthesize.base import Known, Window
from engrain.synthesize.drafting import Drafter
from engrain.synthesize.parsing import body
from engrain.synthesize.prompts import one_line, user_message
from engrain.synthesize.settings import DocumentSettings

_HEADING = re.compile(r"^\s*#{1,4}\s+(.+?)\s*#*\s*$", re.MULTILINE)
_ITEM = re.compile(r"^\s*(?:[-*]|\d+[.)])\s+(.+?)\s*$", re.MULTILINE)
_EMPHASIS = re.compile(r"\*\*|__")

# A strategy is a line of a prompt: a longer one is a text by itself.
_LONGEST_STRATEGY = 400
# A list of one-line strategies needs no more.
_LIST_TOKENS = 1024
_TEMPLATES = {"task_agnostic": "strategies", "task_specific": "strategies_task"}


class Strategies:
    """Stage 1: lists of strategies made for one window."""

    name = "strategies"

    def __init__(self, settings: DocumentSettings, *, seed: int) -> None:
        self._texts_per_list = settings.texts_per_list
        self._template = _TEMPLATES[settings.strategies]
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
            messages=user_message(self._template, window),
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


class ActiveReading(Drafter):
    """Stage 2: apply the strategies in turn."""

    name = "active_reading"
    template = "apply"

    def __init__(self, settings: DocumentSettings, *, window: int | None, seed: int) -> None:
        """Take the settings; the lists of strategies are asked for with the same."""
        super().__init__(settings, window=window, seed=seed)
        self.preparation = Strategies(settings, seed=seed)
        self._texts_per_list = settings.texts_per_list

    def expected_tokens(self, window: Window) -> int:
        """Somewhat less than the window's length, and not much less than a paragraph."""
        return min(self._sampling.max_tokens, 100 + int(0.8 * window.tokens))

    def strategies(self, window: Window, known: Known, number: int) -> Sequence[str]:
        """Those of the list that is current."""
        return known.lists[min(number // self._texts_per_list, len(known.lists) - 1)]
