"""A rewrite of the document in one of four styles (WRAP, arXiv 2401.16380).

The wording of the styles is ours. WRAP found that more than some 300 tokens at once lose detail:
set `window` so to follow it.
"""

from __future__ import annotations

from collections.abc import Sequence

from engrain.synthesize.base import Known, Window
from engrain.synthesize.drafting import Drafter

STYLES = (
    "simple words and short sentences, as for a child",
    "the even tone of an encyclopedia",
    "terse and scholarly, as for an expert",
    "a conversation in which one person asks and another explains",
)


class Rewrite(Drafter):
    """The styles in turn."""

    name = "rewrite"
    template = "rewrite"

    def strategies(self, window: Window, known: Known, number: int) -> Sequence[str]:
        """The four styles."""
        return STYLES
