"""Texts in another language than what they were written about."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import TYPE_CHECKING

from engrain.synthesize.base import Window
from engrain.synthesize.verify.base import Candidate, Verdict, window_vocabulary

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

# Shorter texts are not judged: of names and numbers alone no language can be told. In bytes, so
# that a line of Chinese is as long as one of English that says the same.
_FEWEST_BYTES = 80
# A text whose plain words stand in its window to such a share is in the window's language: asking
# the identifier takes fifty times as long.
_SHARED = 0.25
# What the identifier reads of a text or window.
_CHARACTERS = 600
# Both languages must be this certain.
_CERTAIN = 0.9


class SameLanguage:
    """Texts whose language is certain, is not their window's, and shares no words with it."""

    def judge(self, candidate: Candidate) -> Verdict | None:
        """`wrong_language`."""
        if len(candidate.text.encode()) < _FEWEST_BYTES:
            return None
        different = set(candidate.words)
        plain = {word for word in different if not (word[0].isupper() or word[0].isdigit())}
        known = window_vocabulary(candidate.window)
        if len(plain & known) >= _SHARED * len(plain):
            return None
        wanted, sure = _language(candidate.window)
        found, certainty = identify(candidate.text[:_CHARACTERS])
        if found == wanted or min(sure, certainty) < _CERTAIN:
            return None
        return Verdict("wrong_language", f"{found!r}, and the document is {wanted!r}")


@lru_cache(maxsize=1024)
def _language(window: Window) -> tuple[str, float]:
    # The middle: a document begins with names and headings.
    middle = max(0, len(window.text) // 2 - _CHARACTERS)
    return identify(window.text[middle : middle + 2 * _CHARACTERS])


def identify(text: str) -> tuple[str, float]:
    """The most likely language and its probability."""
    language, probability = _identifier().classify(text)
    return str(language), float(probability)


@cache
def _identifier() -> LanguageIdentifier:
    # Late: it reads a model for most of a second.
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
