"""The page itself: one HTML file with everything in it, from which no script of a document can run.

Three walls: every value is escaped by the template; data reaches the script as JSON without `<`
and becomes text nodes there, never markup; the content security policy admits only this page's own
script and style, by their hashes. Knows templates and bytes; the content is given to it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from engrain.report import formats
from engrain.store import fingerprint

_TEMPLATES = "templates"
_FILTERS = {
    "percent": formats.percent,
    "points": formats.points,
    "size_in_points": formats.size_in_points,
    "p_value": formats.p_value,
    "count": formats.count,
    "quantity": formats.quantity,
    "money": formats.money,
    "duration": formats.duration,
}


def render_page(context: Mapping[str, Any], embedded: Mapping[str, object]) -> str:
    """The page; `embedded` are the values its script reads, by the id of their element."""
    css, script = _asset("page.css"), _asset("page.js")
    environment = _environment(autoescape=True)
    return environment.get_template("page.html").render(
        **context,
        css=Markup(css),
        script=Markup(script),
        policy=content_security_policy(css=css, script=script),
        embedded={name: embedded_json(value) for name, value in embedded.items()},
    )


def render_markdown(context: Mapping[str, Any]) -> str:
    """The same numbers as plain text."""
    return _environment(autoescape=False).get_template("report.md").render(**context)


def content_security_policy(*, css: str, script: str) -> str:
    """Nothing but this style and this script: no network, no handlers, no markup from strings."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {_hash(script)}",
            f"style-src {_hash(css)}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )


def embedded_json(value: object) -> Markup:
    """JSON that ends no script element and starts no comment, whatever its strings hold."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def markdown_cell(text: str) -> str:
    """A text on one line of a Markdown table, shown as it is."""
    line = " ".join(text.split())
    return "".join(
        f"\\{character}" if character in "\\`*_[]<>|#&$~" else character for character in line
    )


@cache
def templates_fingerprint() -> str:
    """Changes with the page's templates, style and script: a report is made again when they do."""
    folder = files("engrain.report") / _TEMPLATES
    names = sorted([entry.name for entry in folder.iterdir() if entry.is_file()])
    sections = sorted([entry.name for entry in (folder / "sections").iterdir()])
    paths = [folder / name for name in names] + [folder / "sections" / name for name in sections]
    return fingerprint([path.read_text(encoding="utf-8") for path in paths])


def _environment(*, autoescape: bool) -> Environment:
    environment = Environment(
        loader=PackageLoader("engrain.report", _TEMPLATES),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(_FILTERS, cell=markdown_cell)
    return environment


def _asset(name: str) -> str:
    return (files("engrain.report") / _TEMPLATES / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
