"""A rewrite of the document in one of four styles (WRAP, arXiv 2401.16380).

The wording of the styles is ours. Knows nothing of budgets or of when it is asked.
"""

from __future__ import annotations

from engrain.backends.base import Lineage, Reply, Request, Sampling
from engrain.records import TextKind
from engrain.synthesize.base import Known, Parsed, Preparation, Window
from engrain.synthesize.focal import pair
from engrain.synthesize.parsing import body
from engrain.synthesize.prompts import user_message
from engrain.synthesize.settings import DocumentSettings
from engrain.synthesize.verify import whole_text

STYLES = (
    "simple words and short sentences, as for a child",
    "the even tone of an encyclopedia",
    "terse and scholarly, as for an expert",
    "a conversation in which one person asks and another explains",
)


class Rewrite:
    """The styles in turn; with Focal Rewriting, each with a question."""

    name = "rewrite"
    kind: TextKind = "document"
    preparation: Preparation | None = None

    def __init__(self, settings: DocumentSettings, *, seed: int) -> None:
        self._focal = settings.focal
        self._sampling = Sampling(
            temperature=settings.temperature, top_p=settings.top_p, max_tokens=settings.max_tokens
        )
        self._seed = seed

    def expected_tokens(self, window: Window) -> int:
        """About the window's own length."""
        return min(self._sampling.max_tokens, 30 + window.tokens)

    def plan(self, window: Window, known: Known, number: int) -> Request:
        """The next style, and the next question."""
        style, question = pair(number, STYLES, known.questions if self._focal else ())
        return Request(
            messages=user_message("rewrite", window, style=style, question=question),
            sampling=self._sampling,
            sample=self._seed + number,
            lineage=Lineage(
                document_id=window.document_id, method=self.name, strategy=style, focus=question
            ),
        )

    def parse(self, reply: Reply) -> Parsed:
        """The whole reply."""
        return whole_text(reply, body(reply.text))
