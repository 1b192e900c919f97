"""Texts that say again what an earlier text of the stage said: of equal ones the first is kept."""

from __future__ import annotations

import hashlib
import math
import re
from array import array
from collections import Counter

from rensa import RMinHash

from engrain.synthesize.verify.base import Candidate, Verdict
from engrain.synthesize.verify.seen import Seen
from engrain.synthesize.words import grams, words

# Jaccard similarity is that of the sets of runs of three words.
_SHINGLE = 3
# A text with fewer has too few runs to be alike in most of them.
_FEWEST_WORDS = 10
_SEED = 1
# The word that begins a sentence is capitalised whatever it is.
_OPENING = re.compile(r"(?:\A|[.!?:]\s|\n)\W*(\w+)")


class Duplicate:
    """Texts that came before word for word, but for case and white space."""

    def __init__(self, most: int) -> None:
        self._seen = Seen(most)

    def judge(self, candidate: Candidate) -> Verdict | None:
        """`duplicate`."""
        key = (_digest(" ".join(candidate.text.casefold().split()).encode()),)
        if self._seen.any(key):
            return Verdict("duplicate", "the same text came before")
        self._seen.add(key)
        return None


class NearDuplicate:
    """Texts that share about `similarity` of their runs of three words with an earlier one.

    MinHash with locality-sensitive hashing, over all documents. Texts that give another answer, or
    other numbers or names, are never near-duplicates, however alike their words: facts of one form
    are told in one form. Each remembered text takes eight 64-bit keys and nothing else.
    """

    # Two texts are alike where all hashes of one band agree. Eight bands are what memory allows;
    # how many hashes a band has decides from which similarity on.
    KEYS = 8

    def __init__(self, similarity: float, most: int) -> None:
        # The curve 1 - (1 - s^rows)^bands is steepest near s = (1 / bands)^(1 / rows).
        self._rows = max(1, round(math.log(1 / self.KEYS) / math.log(similarity)))
        self._seen = Seen(most)

    def judge(self, candidate: Candidate) -> Verdict | None:
        """`near_duplicate`."""
        if len(candidate.folded) < _FEWEST_WORDS:
            return None
        keys = self._keys(candidate)
        if self._seen.any(keys):
            return Verdict("near_duplicate", "an earlier text says nearly the same")
        self._seen.add(keys)
        return None

    def _keys(self, candidate: Candidate) -> list[int]:
        sketch = RMinHash(num_perm=self.KEYS * self._rows, seed=_SEED)
        sketch.update(list(map(" ".join, grams(candidate.folded, _SHINGLE))))
        # 32 bits a hash.
        values, size = array("I", sketch.digest()).tobytes(), 4 * self._rows
        facts = _facts(candidate)
        return [
            _digest(bytes([band]) + values[band * size : (band + 1) * size] + facts)
            for band in range(self.KEYS)
        ]


def _facts(candidate: Candidate) -> bytes:
    """The answer, the numbers and the names."""
    counts = Counter(candidate.words)
    named = {word for word in counts if word[0].isdigit()}
    counts.subtract(_OPENING.findall(candidate.text))
    named.update(word for word, count in counts.items() if count > 0 and word[0].isupper())
    return " ".join([*words(candidate.piece.answer), "/", *sorted(named)]).encode()


def _digest(data: bytes) -> int:
    """64 bits, never 0."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest()) or 1
