"""A folder that is there whole or not at all, and that replaces nothing but an earlier export.

Knows files and names; knows nothing of models. Everything is written in a hidden folder beside the
target, and renamed: whoever looks at the target sees the earlier export, or nothing, or the new
one. What an interruption leaves is that hidden folder, which the next export removes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from engrain.errors import UserError
from engrain.store import locked

CARD = "README.md"
_MARK = re.compile(r"<!-- engrain export (\{.*\}) -->\n\Z")


def marked(card: str, files: list[str]) -> str:
    """The card, and in its last line what the export wrote: by this a later one knows it."""
    written = {"files": sorted({*files, CARD}), "card": _digest(card)}
    return f"{card}<!-- engrain export {json.dumps(written)} -->\n"


def check_target(target: Path) -> None:
    """Raise UserError where an export must not go: over anything but an earlier one."""
    if not target.exists():
        return
    if not target.is_dir():
        raise UserError(f"{str(target)!r} is a file; name a folder for the export")
    present = sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file())
    if not present:
        return
    earlier = _mark(target)
    if earlier is None:
        raise UserError(
            f"the folder {str(target)!r} is not empty and no export of Engrain; name another one"
        )
    others = [name for name in present if name not in earlier["files"]]
    if others:
        raise UserError(
            f"the folder {str(target)!r} holds {others[0]!r}, which no export wrote; move it away, "
            "or name another folder"
        )
    if not _untouched(target, earlier):
        raise UserError(
            f"the card {str(target / CARD)!r} was changed since it was exported; move it away, or "
            "name another folder"
        )


@contextmanager
def published(target: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `target` when the block ends well.

    Raises UserError where `target` is neither absent, empty nor an earlier export, where another
    process exports to it, and where it cannot be written.
    """
    check_target(target)
    staging = target.with_name(f".{target.name}.export")
    new, old = staging / "new", staging / "old"
    with _held(staging):
        try:
            new.mkdir()
            yield new
            _sync(new)
            check_target(target)
            _put(new, target, old)
        except OSError as error:
            raise UserError(
                f"cannot write {str(target)!r} ({error.strerror or error}); "
                "free some space or choose another folder"
            ) from error


@contextmanager
def _held(staging: Path) -> Iterator[None]:
    """A hidden folder for this process alone, empty at first and gone at last."""
    try:
        with locked(staging):
            _empty(staging)
            try:
                yield
            finally:
                _empty(staging)
    finally:
        with suppress(OSError):  # Another export holds it.
            staging.rmdir()


def _empty(staging: Path) -> None:
    for part in ("new", "old"):
        shutil.rmtree(staging / part, ignore_errors=True)


def _put(new: Path, target: Path, old: Path) -> None:
    if target.exists():
        target.rename(old)
    try:
        new.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    _sync_names(target.parent)


def _mark(target: Path) -> Mapping[str, Any] | None:
    try:
        found = _MARK.search((target / CARD).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return None
    return None if found is None else json.loads(found[1])


def _untouched(target: Path, mark: Mapping[str, Any]) -> bool:
    text = (target / CARD).read_text(encoding="utf-8")
    return bool(_digest(_MARK.sub("", text)) == mark["card"])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _sync(folder: Path) -> None:
    """Have the system write every file to the disk before the folder gets its name."""
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as stream:
                os.fsync(stream.fileno())
    _sync_names(folder)


def _sync_names(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
