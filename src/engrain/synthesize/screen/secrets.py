"""Private keys, access keys and passwords: the patterns of detect-secrets, and a few beside them.

Only patterns: nothing that is found is tried out on its service, as detect-secrets does by default.
Its detectors of random-looking strings and of IP addresses are left out: the first found alphabets
and checksums (docs/notebook.md, 2026-11-21), and an address alone is no secret.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from engrain.errors import MissingExtra
from engrain.synthesize.screen.base import Place
from engrain.synthesize.settings import ScreenKind

if TYPE_CHECKING:
    from detect_secrets.plugins.base import BasePlugin

# A longer line is looked at in parts that overlap by half, so that no pattern is slow on it: what
# is at most half as long stands whole in one of them.
_LINE = 4000

_LEFT_OUT = ("Base64HighEntropyString", "HexHighEntropyString", "IPPublicDetector")
_KINDS: dict[str, ScreenKind] = {
    "PrivateKeyDetector": "private_key",
    "BasicAuthDetector": "password",
    "KeywordDetector": "password",
}
# Without one of these words the keyword detector, the slowest, finds nothing.
_KEYWORD = re.compile("key|pass|pwd|secret|contrase", re.IGNORECASE)

# Of a password that is assigned without quotes: eight characters, letters and digits among them.
_ASSIGNED = r"(?=[^\s;&,\"']*\d)(?=[^\s;&,\"']*[^\W\d_])[^\s;&,\"'(){}\[\]<>]{8,200}(?![^\s;&,\"'])"
# What detect-secrets 1.5 does not know.
_PATTERNS: tuple[tuple[ScreenKind, re.Pattern[str]], ...] = (
    ("private_key", re.compile(r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----")),
    ("api_key", re.compile(r"\bAIza[\w-]{35}(?![\w-])")),  # Google
    ("api_key", re.compile(r"\bgithub_pat_\w{82}\b")),
    ("api_key", re.compile(r"\bhf_[A-Za-z]{34}\b")),  # Hugging Face
    ("api_key", re.compile(r"\bsk-(?:ant|proj|svcacct|admin)-[\w-]{32,200}(?![\w-])")),
    ("api_key", re.compile(r"\bxapp-\d-[A-Z0-9]{8,16}-\d{8,16}-[a-f0-9]{32,80}\b")),  # Slack
    # Connection strings of ODBC, JDBC and ADO: `...;Password=...;...`
    ("password", re.compile(r"(?i);\s*(?:password|pwd)\s*=\s*[^\s;\"']{1,200}")),
    ("password", re.compile(r"(?i)\b(?:password|pwd)\s*=\s*[^\s;\"']{1,200};\s*\w+(?: \w+)?\s*=")),
    ("password", re.compile(rf"(?i)(?:password|passwd|passwort|pwd)\s*[:=]\s*{_ASSIGNED}")),
)


class SecretFinder:
    """Finds secrets of some kinds."""

    def __init__(self, kinds: Collection[ScreenKind]) -> None:
        """Raises MissingExtra where detect-secrets is not installed."""
        self._plugins = [
            (kind, plugin)
            for plugin in _plugins()
            if (kind := _KINDS.get(type(plugin).__name__, "api_key")) in kinds
        ]
        self._patterns = [(kind, pattern) for kind, pattern in _PATTERNS if kind in kinds]

    def places(self, text: str) -> Iterator[Place]:
        """What stands in a text, in no order; the same place may come several times."""
        for start, line in _lines(text):
            for kind, plugin in self._plugins:
                if type(plugin).__name__ == "KeywordDetector" and not _KEYWORD.search(line):
                    continue
                for begin, end in _spans(plugin, line):
                    yield Place(start + begin, start + end, kind)
            for kind, pattern in self._patterns:
                for found in pattern.finditer(line):
                    yield Place(start + found.start(), start + found.end(), kind)


def _plugins() -> list[BasePlugin]:
    try:
        from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
    except ImportError as error:
        raise MissingExtra("synthesis.screen", "screen") from error
    classes: Mapping[str, type[BasePlugin]] = get_mapping_from_secret_type_to_class()
    return [
        found()
        for found in sorted(classes.values(), key=lambda found: found.__name__)
        if found.__name__ not in _LEFT_OUT
    ]


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines, or parts of them, with the place of each in the text."""
    start = 0
    for line in text.split("\n"):
        for begin in range(0, max(1, len(line) - _LINE // 2), _LINE // 2):
            yield start + begin, line[begin : begin + _LINE]
        start += len(line) + 1


def _spans(plugin: BasePlugin, line: str) -> Iterator[tuple[int, int]]:
    """Where what a plugin finds stands; it tells what it found, or a part of it, and not where."""
    values = set(plugin.analyze_string(line))
    if not values:
        return
    patterns = getattr(plugin, "denylist", None)
    if not isinstance(patterns, (list, tuple)):
        patterns = [re.compile(re.escape(value)) for value in sorted(values)]
    for pattern in patterns:
        for found in pattern.finditer(line):
            if any(value in found[0] for value in values):
                yield found.span()
