"""Texts that copy the document they were to be about."""

from __future__ import annotations

from engrain.synthesize.verify.base import Candidate, Verdict, window_grams
from engrain.synthesize.words import grams

# Words in a row: names, dates and set phrases are shorter.
_SIZE = 8
# Fewer runs tell nothing.
_FEWEST = 8


class SourceCopy:
    """Documents most of whose runs of eight words stand verbatim in their window.

    Pairs are exempt: facts must be quoted.
    """

    def __init__(self, share: float) -> None:
        self._share = share

    def judge(self, candidate: Candidate) -> Verdict | None:
        """`source_copy`."""
        if candidate.kind != "document":
            return None
        runs = list(grams(candidate.folded, _SIZE))
        if len(runs) < _FEWEST:
            return None
        known = window_grams(candidate.window, _SIZE)
        copied = sum(run in known for run in runs) / len(runs)
        if copied < self._share:
            return None
        return Verdict("source_copy", f"{copied:.0%} of its runs of {_SIZE} words are the source's")
