"""Which request is in which batch of a provider: durable before the batch counts.

Knows SQLite; knows nothing of HTTP, prompts or replies. A batch goes through four states, each
written down before the step that follows it: intended, uploaded (its file has an id), asked for
(the provider may have it from now on), accepted (it has an id).
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from engrain.backends.database import Database, Kind

SCHEMA_VERSION = 1

_SCHEMA = (
    """
    CREATE TABLE batches (
        token TEXT PRIMARY KEY,
        url TEXT NOT NULL,
        file TEXT,
        asked REAL,
        batch TEXT
    )
    """,
    "CREATE TABLE requests (id TEXT PRIMARY KEY, token TEXT NOT NULL) WITHOUT ROWID",
)
_BATCHES = Kind(
    what="a list of batches",
    version=SCHEMA_VERSION,
    upgrades={0: _SCHEMA},
    unknown="finish its batches with the Engrain that wrote it, or delete that file to pay for "
    "them again",
    # There are a few changes for each batch, and one that was forgotten would be paid for twice.
    synchronous="FULL",
)
# Of a statement's values: SQLite takes at least 32,766.
_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What is known of one batch."""

    token: str
    """Random, and part of the batch's metadata: finds it where its id was never heard."""
    url: str
    """The endpoint that has it."""
    file: str | None
    """The id of its input."""
    asked: float | None
    """When the provider was last asked to take it (Unix time)."""
    batch: str | None
    """The id it was accepted under."""


class Submitted:
    """The batches of one folder, and the identities they hold. One process at a time."""

    def __init__(self, path: Path) -> None:
        """Open or create the file and take its lock.

        Raises UserError where another process holds it, or it is not such a file of this version.
        """
        self.path = path
        self._database = Database(path, _BATCHES)

    def close(self) -> None:
        """Release the lock; it is not used afterwards."""
        self._database.close()

    def intend(self, url: str, identities: Iterable[str]) -> Submission:
        """A new batch of these requests, which are in no other from now on."""
        token = uuid.uuid4().hex
        with self._database.transaction() as connection:
            connection.execute("INSERT INTO batches (token, url) VALUES (?, ?)", (token, url))
            connection.executemany(
                "INSERT OR REPLACE INTO requests VALUES (?, ?)",
                ((identity, token) for identity in identities),
            )
        return Submission(token=token, url=url, file=None, asked=None, batch=None)

    def uploaded(self, token: str, file: str) -> None:
        """Its input has an id."""
        self._set(token, "file", file)

    def asked(self, token: str, at: float) -> None:
        """The provider is about to be asked to take it."""
        self._set(token, "asked", at)

    def accepted(self, token: str, batch: str) -> None:
        """It has an id."""
        self._set(token, "batch", batch)

    def discard(self, token: str) -> None:
        """There is no such batch, or nothing came of it: its requests are in none."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM requests WHERE token = ?", (token,))
            connection.execute("DELETE FROM batches WHERE token = ?", (token,))

    def forget(self, identities: Iterable[str]) -> None:
        """Their batches brought no reply to these requests: they are in none."""
        with self._database.transaction() as connection:
            connection.executemany(
                "DELETE FROM requests WHERE id = ?", ((identity,) for identity in identities)
            )

    def unfinished(self) -> list[Submission]:
        """Those that were intended and never known to be accepted."""
        rows = self._database.execute(
            "SELECT token, url, file, asked, batch FROM batches WHERE batch IS NULL ORDER BY rowid"
        )
        return [_submission(row) for row in rows]

    def holding(self, identities: Collection[str]) -> dict[str, Submission]:
        """By identity: the accepted batch it is in, for those that are in one."""
        found: dict[str, Submission] = {}
        known: dict[str, Submission] = {}
        names = list(identities)
        for start in range(0, len(names), _AT_ONCE):
            some = names[start : start + _AT_ONCE]
            rows = self._database.execute(
                "SELECT id, token, url, file, asked, batch FROM requests JOIN batches USING (token)"
                f" WHERE batch IS NOT NULL AND id IN ({','.join('?' * len(some))})",
                some,
            )
            for identity, *row in rows:
                found[identity] = known.setdefault(row[0], _submission(row))
        return found

    def _set(self, token: str, column: str, value: str | float) -> None:
        with self._database.transaction() as connection:
            connection.execute(f"UPDATE batches SET {column} = ? WHERE token = ?", (value, token))


def _submission(row: Iterable[object]) -> Submission:
    names = ("token", "url", "file", "asked", "batch")
    return Submission(**dict(zip(names, row, strict=True)))  # type: ignore[arg-type]
