"""One form for answers that differ only in case, articles, punctuation or number format.

Follows the normalisation of SQuAD's official evaluation (Rajpurkar et al. 2016, arXiv 1606.05250),
except where that confuses answers: decimal points and minus signs of numbers stay, "1,577" is one
number and "1, 5" is two, hyphens part words, and "Vitamin A" keeps its A.
"""

from __future__ import annotations

import re
import unicodedata

# fmt: off
_UNITS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen",
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
# fmt: on
_NUMBERS = {word: value for value, word in enumerate(_UNITS)} | {
    word: 10 * (value + 2) for value, word in enumerate(_TENS)
}
_DASHES = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2212"), "-")
_QUOTES = dict.fromkeys(map(ord, "\u2018\u2019\u201b\u02bc`"), "'")
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?!\d)")
# "U.S." and "U.S": the stops go without parting the letters.
_ABBREVIATION = re.compile(r"\b[^\W\d_](?:\.[^\W\d_])+\b\.?")
# "-$5": the sign belongs to the number.
_SIGNED_CURRENCY = re.compile(r"(?<=-)[$\u00a3\u00a5\u20ac]\s*(?=[\d.])")
# A number with its sign and decimals; a word, with what tells C++ and C# from C; a percent sign.
_WORD = re.compile(r"(?<![\w.])-?(?:\d+(?:\.\d+)?|\.\d+)(?!\w)|\w+[+#]*|%")


def normalise(text: str) -> str:
    """The normal form; a text that is all punctuation keeps it, so that it equals itself only."""
    folded = unicodedata.normalize("NFKC", text).translate(_DASHES | _QUOTES).casefold()
    folded = folded.replace("'", "")
    folded = _THOUSANDS.sub(lambda found: found[0].replace(",", ""), folded)
    folded = _ABBREVIATION.sub(lambda found: found[0].replace(".", ""), folded)
    folded = _SIGNED_CURRENCY.sub("", folded)
    words = [_plain(word) for word in _WORD.findall(folded)]
    words = _without_articles(_joined_numbers(words))
    return " ".join(words) or " ".join(folded.split())


def _plain(word: str) -> str:
    """One spelling of a number; other words as they are."""
    if word == "%":
        return "percent"
    if not re.fullmatch(r"-?\d*\.?\d+", word) or not word.isascii():
        return word
    sign = "-" if word.startswith("-") else ""
    whole, _, fraction = word.lstrip("-").partition(".")
    whole, fraction = whole.lstrip("0") or "0", fraction.rstrip("0")
    plain = f"{whole}.{fraction}" if fraction else whole
    return plain if plain == "0" else sign + plain


def _joined_numbers(words: list[str]) -> list[str]:
    """Number words as digits: "twenty five" is 25, "per cent" is percent."""
    joined: list[str] = []
    position = 0
    while position < len(words):
        word, following = words[position], words[position + 1 : position + 2]
        position += 1
        if word in _TENS and following and 1 <= _NUMBERS.get(following[0], 0) <= 9:
            joined.append(str(_NUMBERS[word] + _NUMBERS[following[0]]))
            position += 1
        elif word == "per" and following == ["cent"]:
            joined.append("percent")
            position += 1
        else:
            joined.append(str(_NUMBERS[word]) if word in _NUMBERS else word)
    return joined


def _without_articles(words: list[str]) -> list[str]:
    """Drops "the", and "a" or "an" before another word; a lone article stays."""
    kept = [
        word
        for position, word in enumerate(words)
        if word != "the" and not (word in ("a", "an") and position + 1 < len(words))
    ]
    return kept or words
