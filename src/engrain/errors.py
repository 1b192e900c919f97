"""Engrain's errors: three kinds of failure, kept apart.

    EngrainError
    |-- UserError            the user can mend it: one sentence, no traceback, exit code 2
    |   |-- MissingExtra     an optional dependency is not installed; names the install command
    |   `-- EndpointError    an endpoint refuses all requests (down, 401, unknown model)
    `-- ItemError            one document, request or reply failed: recorded and counted
        |-- ReadError        a file could not be read as a document
        `-- RequestError     a request failed after its retries

Anything else that is raised is a bug and keeps its traceback.
"""

from __future__ import annotations


class EngrainError(Exception):
    """The root of the tree: never raised itself."""


class UserError(EngrainError):
    """The user can mend this; the message is one sentence: what, the value, what to do."""


class MissingExtra(UserError):
    """An optional dependency is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        """Name the `feature` that needs the extra, and the extra that brings it."""
        super().__init__(f"{feature} needs an extra; run: pip install 'engrain[{extra}]'")


class EndpointError(UserError):
    """The generator endpoint refuses every request: asking again would not help."""


class ItemError(EngrainError):
    """One item failed; it is recorded with its reason and counted, and the others go on."""


class ReadError(ItemError):
    """A file could not be read as a document."""


class RequestError(ItemError):
    """A request to a generator failed after its retries."""
