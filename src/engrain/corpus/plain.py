"""Readers of plain text and Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from engrain.corpus.draft import Draft
from engrain.corpus.settings import CorpusSettings
from engrain.corpus.text import decode

_FRONT_MATTER = re.compile(r"---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|$)", re.DOTALL)
_FENCE = re.compile(r" {0,3}(```|~~~)")
_HEADING = re.compile(r" {0,3}#{1,6}[ \t]+(.+?)[ \t]*#*[ \t]*$")
_UNDERLINE = re.compile(r" {0,3}(=+|-{2,})[ \t]*$")


def read_text(path: Path, source: str, settings: CorpusSettings) -> Iterator[Draft]:
    """A text file is one document, named after its file."""
    text, encoding = decode(path.read_bytes())
    yield Draft(source=source, key=source, text=text, encoding=encoding)


def read_markdown(path: Path, source: str, settings: CorpusSettings) -> Iterator[Draft]:
    """A Markdown file is one document, its markup kept.

    Front matter gives the title and leaves the text.
    """
    text, encoding = decode(path.read_bytes())
    front, body = split_front_matter(text.replace("\r\n", "\n"))
    title = front.get("title")
    yield Draft(
        source=source,
        key=source,
        text=body,
        title=title if isinstance(title, str) else first_heading(body),
        encoding=encoding,
    )


def split_front_matter(text: str) -> tuple[dict[str, Any], str]:
    """The YAML mapping at the head of a file and the rest; text without one is all rest."""
    found = _FRONT_MATTER.match(text)
    if found is None:
        return {}, text
    try:
        front = yaml.safe_load(found[1])
    except (yaml.YAMLError, ValueError):  # ValueError: an impossible date
        return {}, text
    return (front, text[found.end() :]) if isinstance(front, dict) else ({}, text)


def first_heading(text: str) -> str:
    """The first heading outside code fences, `# so` or underlined; empty where there is none."""
    fenced, above = False, ""
    for line in text.split("\n"):
        if _FENCE.match(line):
            fenced, above = not fenced, ""
            continue
        if fenced:
            continue
        if heading := _HEADING.match(line):
            return heading[1]
        if above and _UNDERLINE.match(line):
            return above
        above = line.strip()
    return ""
