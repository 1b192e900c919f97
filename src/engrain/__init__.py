"""Engrain teaches a language model your documents, and tells you whether it beat retrieval.

The names below are the public surface; each is loaded when it is first used, so that `import
engrain` costs nothing. A stage is called from its own package: `engrain.mix.run.mix(...)`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engrain.backends.base import Backend as Backend
    from engrain.backends.base import Message as Message
    from engrain.backends.base import Reply as Reply
    from engrain.backends.base import Request as Request
    from engrain.backends.base import Sampling as Sampling
    from engrain.backends.base import Usage as Usage
    from engrain.errors import EndpointError as EndpointError
    from engrain.errors import EngrainError as EngrainError
    from engrain.errors import ItemError as ItemError
    from engrain.errors import MissingExtra as MissingExtra
    from engrain.errors import UserError as UserError
    from engrain.progress import Progress as Progress
    from engrain.progress import Silent as Silent
    from engrain.recipe import Recipe as Recipe
    from engrain.records import Attempt as Attempt
    from engrain.records import Document as Document
    from engrain.records import Point as Point
    from engrain.records import Question as Question
    from engrain.records import Rejected as Rejected
    from engrain.records import SyntheticText as SyntheticText
    from engrain.store import Artifact as Artifact
    from engrain.store import load as load

__all__ = [
    "Artifact",
    "Attempt",
    "Backend",
    "Document",
    "EndpointError",
    "EngrainError",
    "ItemError",
    "Message",
    "MissingExtra",
    "Point",
    "Progress",
    "Question",
    "Recipe",
    "Rejected",
    "Reply",
    "Request",
    "Sampling",
    "Silent",
    "SyntheticText",
    "Usage",
    "UserError",
    "load",
]

_NAMES_OF_MODULE = {
    "engrain.backends.base": ("Backend", "Message", "Reply", "Request", "Sampling", "Usage"),
    "engrain.errors": ("EndpointError", "EngrainError", "ItemError", "MissingExtra", "UserError"),
    "engrain.progress": ("Progress", "Silent"),
    "engrain.recipe": ("Recipe",),
    "engrain.records": (
        "Attempt",
        "Document",
        "Point",
        "Question",
        "Rejected",
        "SyntheticText",
    ),
    "engrain.store": ("Artifact", "load"),
}
_MODULE_OF_NAME = {name: module for module, names in _NAMES_OF_MODULE.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        # Imported here: it costs 15 ms, and few ask for it.
        from importlib.metadata import version

        return version("engrain")
    if name not in _MODULE_OF_NAME:
        raise AttributeError(f"module 'engrain' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULE_OF_NAME[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
