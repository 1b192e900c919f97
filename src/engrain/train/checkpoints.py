"""Checkpoints from which an interrupted training goes on: whole and of this training, or not used.

Trainer writes a checkpoint's files one after the other, so one that was killed in the middle looks
much like a whole one. A checkpoint counts once it is sealed: its files are on the disk, and its
seal, written last, names the training; only then are older ones removed.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from engrain import store

_PREFIX = "checkpoint-"
_SEAL = "sealed.json"


def seal(checkpoint: Path, identity: str) -> None:
    """Declare a checkpoint whole, and remove the others."""
    for file in checkpoint.rglob("*"):
        if file.is_file():
            with open(file, "rb") as stream:
                os.fsync(stream.fileno())
    store.write_json(checkpoint / _SEAL, {"training": identity})
    clear(checkpoint.parent, keep=checkpoint)


def latest(folder: Path, identity: str) -> Path | None:
    """The newest sealed checkpoint of this training; the others in the folder are removed."""
    whole = [path for path in _all(folder) if _sealed(path) == identity]
    newest = max(whole, key=_step, default=None)
    clear(folder, keep=newest)
    return newest


def furthest(folders: Iterable[Path], identity: str, *, until: int) -> Path | None:
    """Of the sealed checkpoints of this training in all folders the last one up to a step."""
    found = [path for folder in folders for path in _all(folder) if _sealed(path) == identity]
    return max((path for path in found if _step(path) <= until), key=_step, default=None)


def clear(folder: Path, *, keep: Path | None = None) -> None:
    """Remove all checkpoints but one."""
    for path in _all(folder):
        if path != keep:
            shutil.rmtree(path)


def _all(folder: Path) -> list[Path]:
    return list(folder.glob(f"{_PREFIX}*"))


def _sealed(checkpoint: Path) -> str | None:
    try:
        found: dict[str, str] = json.loads((checkpoint / _SEAL).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return found["training"]


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix(_PREFIX))
