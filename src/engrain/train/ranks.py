"""Which of several training processes this one is, by torchrun's variables; loads no torch.

A process whose environment has none of them is alone: rank 0 of 1.
"""

from __future__ import annotations

import os

_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def count() -> int:
    """How many processes train together."""
    return int(os.environ["WORLD_SIZE"]) if _set() else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return int(os.environ["RANK"]) if _set() else 0


def first() -> bool:
    """Whether this one writes the files; so does one that is alone."""
    return rank() == 0


def on_this_machine() -> int:
    """How many of them run on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if _set() else 1


def _set() -> bool:
    return all(name in os.environ for name in _VARIABLES)
