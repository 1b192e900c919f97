"""What a finder tells: of which kind something is, and where in a text it stands."""

from __future__ import annotations

from typing import NamedTuple

from engrain.synthesize.settings import ScreenKind


class Place(NamedTuple):
    """A stretch of a text that looks like a secret or like personal data."""

    start: int
    end: int
    kind: ScreenKind
