"""A disk that is full while the student trains, in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engrain.errors import UserError


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn an error of writing `path` into one that the user can mend."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot write {str(path)!r} ({error.strerror}); free some space and run again: "
            "training goes on from its last checkpoint"
        ) from error
