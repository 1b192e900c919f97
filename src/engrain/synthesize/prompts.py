"""Prompts: the document first, the instruction last, so that prefix caches serve the document.

Knows the templates in `prompts/`; a document or text in them is data, and cannot close its own
block.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path

import jinja2

from engrain.backends.base import Message
from engrain.synthesize.base import Window

_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "prompts"),
    undefined=jinja2.StrictUndefined,
    autoescape=False,
    trim_blocks=True,
    lstrip_blocks=True,
)

DOCUMENT_END = "\n</document>"
"""Where the document of a prompt ends: nothing in the document itself looks so."""

_TAG = re.compile(r"<(?=\s*/?\s*document\b)", re.IGNORECASE)
_TEXT_TAG = re.compile(r"<(?=\s*/?\s*(?:document|text)\b)", re.IGNORECASE)


def user_message(
    template: str, window: Window | None, *, texts: Sequence[str] = (), **fields: str | int
) -> tuple[Message, ...]:
    """The one message of a prompt: the window, then `template`, each field on one line.

    `texts` keep their lines.
    """
    lines = {
        name: one_line(value) if isinstance(value, str) else value for name, value in fields.items()
    }
    document = "" if window is None else _block(window)
    blocks = [f"<text>\n{_TEXT_TAG.sub('< ', text.strip())}\n</text>" for text in texts]
    text = _template(template).render(document=document, texts=blocks, **lines)
    return (Message("user", text),)


def one_line(text: str) -> str:
    """With every run of white space as one space."""
    return " ".join(text.split())


@cache
def _template(name: str) -> jinja2.Template:
    return _TEMPLATES.get_template(f"{name}.jinja")


# Requests about one window are planned together.
@lru_cache(maxsize=16)
def _block(window: Window) -> str:
    title = one_line(window.title).replace('"', "'")
    return _template("document").render(
        title=_TAG.sub("< ", title),
        number=window.number,
        count=window.count,
        text=_TAG.sub("< ", window.text.strip()),
    )
