"""What the writer does with a document of another kind: it quotes sentences and asks about them.

The result is true to the source but of little use for learning; it lets every stage run on real
files without a real model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

from engrain.testbed.composing import Pair

_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]?[A-Z0-9])")
_FEWEST_WORDS = 5
"""Of a sentence: a shorter one leaves too little to ask about."""
_MOST_WORDS = 60
"""Of a sentence in a pair: what follows is left out."""
_ANSWER_WORDS = 6
_MOST_SENTENCES = 12
_NAME = re.compile(r"(?<![.!?:\"'] )(?<!^)\b[A-Z][a-z]+(?: [A-Z][a-z]+)*", re.MULTILINE)
_MOST_NAMES = 12
_ATTRIBUTION = re.compile(r'(?:From "[^"\n]*"\.|The sentence in "[^"\n]*" reads:) ')
_PAIR = re.compile(r"\AQuestion: .*\n|\nAnswer: .*\Z")


def sentences(text: str) -> list[str]:
    """The sentences of at least five words, without their line breaks."""
    found = (" ".join(part.split()) for part in _SENTENCE_END.split(text))
    return [sentence for sentence in found if len(sentence.split()) >= _FEWEST_WORDS]


def capitalised(text: str) -> list[str]:
    """Names as they look in English: runs of capitalised words, those after a full stop left out.

    Of a text without any, its longest words.
    """
    found = [match[0] for match in _NAME.finditer(text)]
    longest = sorted(set(re.findall(r"\w+", text)), key=lambda word: (-len(word), word))
    return list(dict.fromkeys(found or longest))[:_MOST_NAMES]


def quoted_pairs(title: str, text: str, count: int, rng: Random) -> list[Pair]:
    """Questions of the form: how does this sentence go on? At most one for each sentence."""
    pool = sentences(text)
    pairs = []
    for sentence in rng.sample(pool, min(count, len(pool))):
        words = sentence.split()[:_MOST_WORDS]
        middle = rng.randint(2, len(words) - 2)
        answer = " ".join(words[middle : middle + _ANSWER_WORDS]).strip(".,;:!?\"'")
        question = (
            f'In "{title}", how does the sentence go on that begins "{" ".join(words[:middle])}"?'
        )
        pairs.append(
            Pair(
                question, f'The sentence in "{title}" reads: {" ".join(words)}', answer or words[-1]
            )
        )
    return pairs


def quoted_text(title: str, text: str, focus: str, rng: Random) -> str:
    """Up to twelve sentences; those that share most words with the focus question first."""
    pool = sentences(text)
    if not pool:
        return f'"{title}" says: {" ".join(text.split())[:400]}'
    wanted = set(re.findall(r"\w{4,}", focus.lower()))
    order: Sequence[str] = rng.sample(pool, len(pool))
    if wanted:
        order = sorted(order, key=lambda s: -len(wanted & set(re.findall(r"\w{4,}", s.lower()))))
    return f'From "{title}". ' + " ".join(order[:_MOST_SENTENCES])


def stands_in(document: str, text: str) -> bool:
    """Whether a text quotes the document in every sentence."""
    flat = " ".join(document.split())
    quoted = sentences(_ATTRIBUTION.sub("", _PAIR.sub("", text)))
    return bool(quoted) and all(sentence in flat for sentence in quoted)


def continuation(question: str, text: str) -> str:
    """How the sentence goes on that a question of `quoted_pairs` begins; empty where unknown."""
    asked = re.search(r'that begins "(.*)"\?$', question)
    _, found, rest = " ".join(text.split()).partition(asked[1] if asked else question)
    return " ".join(rest.split()[:_ANSWER_WORDS]).strip(".,;:!?\"'") if found else ""
