"""Bytes to text, text to clean text, names to titles: knows characters, not files or formats."""

from __future__ import annotations

import codecs
import re
import unicodedata

from engrain.corpus.draft import Unusable

# Random bytes hold 10 % control characters and UTF-16 without a mark 50 %; text with a few stray
# NULs stays far below.
_BINARY_SHARE = 0.05
_TITLE_CHARACTERS = 200

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig", "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32", "utf-32"),  # before UTF-16: its mark starts with UTF-16's
    (codecs.BOM_UTF32_BE, "utf-32", "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16", "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "utf-16"),
)
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f]")
_NEWLINE = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
# Controls, soft hyphens, zero-width spaces and marks, non-characters, lone surrogates (JSON may
# escape them).
_REMOVED = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\u00ad\u200b\u2060\ufeff\ufffe\uffff\ud800-\udfff]"
)


def decode(data: bytes, declared: str = "") -> tuple[str, str]:
    """The text of a file and the encoding in which it was read.

    UTF-8 unless a byte order mark says otherwise. Bytes that are not UTF-8 are read as UTF-8 with
    replacement characters where most of their non-ASCII characters are sound (`utf-8, damaged`),
    else as `declared`, cp1252 or latin-1. Raises Unusable for what is not text.
    """
    text, encoding = _decoded(data, declared)
    if len(_CONTROL.findall(text)) > _BINARY_SHARE * len(text):
        raise Unusable("binary", "the file does not hold text")
    return text, encoding


def _decoded(data: bytes, declared: str) -> tuple[str, str]:
    for mark, codec, name in _MARKS:
        if data.startswith(mark) and codec != "utf-8-sig":
            try:
                return data.decode(codec), name
            except UnicodeDecodeError as error:
                raise Unusable(
                    "bad_encoding", f"it is marked as {name} but is not ({error.reason})"
                ) from None
    try:
        return data.decode("utf-8-sig"), "utf-8"
    except UnicodeDecodeError:
        pass
    damaged = data.decode("utf-8", errors="replace")
    bad = damaged.count("\ufffd")
    if sum(character > "\x7f" for character in damaged) > 2 * bad:
        return damaged, "utf-8, damaged"
    for codec in (declared, "cp1252"):
        try:
            return data.decode(codec), codec.lower()
        except (LookupError, UnicodeDecodeError):
            continue
    return data.decode("latin-1"), "latin-1"


def clean(text: str) -> str:
    """Text in NFC, every newline a line feed, without control or invisible characters.

    Lines lose the white space at their ends; of several empty lines one stays.
    """
    text = _REMOVED.sub("", _NEWLINE.sub("\n", text))
    text = unicodedata.normalize("NFC", text)
    text = "\n".join(line.rstrip() for line in text.split("\n"))
    return re.sub("\n{3,}", "\n\n", text).strip()


def one_line(text: str) -> str:
    """A title: clean, on one line, of bounded length."""
    line = " ".join(clean(text).split())
    return (
        line if len(line) <= _TITLE_CHARACTERS else line[: _TITLE_CHARACTERS - 3].rstrip() + "..."
    )


def stem_title(stem: str) -> str:
    """A file name as a title: underscores become spaces, so that its words can be found."""
    return one_line(stem.replace("_", " ")) or "untitled"
