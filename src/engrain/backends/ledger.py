"""The ledger: every reply of a generator, stored under the identity of its request.

Knows SQLite and replies; knows nothing of prompts or methods. What it holds is never asked again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

from engrain.backends.base import Reply, Usage
from engrain.backends.database import Database, Kind

SCHEMA_VERSION = 2

# Replies are long, so their rows stay in the order in which they came and an index finds them:
# version 1 kept them sorted by identity, where every reply goes to a random page.
_REPLIES = """
CREATE TABLE replies (
    id TEXT NOT NULL UNIQUE,
    text TEXT NOT NULL,
    finish_reason TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    cached_prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL
)
"""
_FAILURES = """
CREATE TABLE failures (
    id TEXT PRIMARY KEY,
    reason TEXT NOT NULL,
    times INTEGER NOT NULL
) WITHOUT ROWID
"""
_FROM_1 = (
    "ALTER TABLE replies RENAME TO replies_1",
    _REPLIES,
    "INSERT INTO replies SELECT * FROM replies_1",
    "DROP TABLE replies_1",
)
_LEDGER = Kind(
    what="a ledger",
    version=SCHEMA_VERSION,
    upgrades={0: (_REPLIES, _FAILURES), 1: _FROM_1},
    unknown="choose another folder, or delete that file to pay for its replies again",
    # A power cut may lose the replies of the last seconds, which are asked again; FULL would cost
    # one disk flush for every batch of replies and protect nothing else.
    synchronous="NORMAL",
    # A page of 4 KB holds one reply and wastes what is left of it.
    page_size=16_384,
)


class Ledger:
    """Replies on disk. One process at a time: a second one is refused with a UserError.

    A reply that was put survives `kill -9`.
    """

    def __init__(self, path: Path) -> None:
        """Open or create the ledger and take its lock.

        Raises UserError where another process holds it, or the file is not a ledger of this
        version.
        """
        self.path = path
        self._database = Database(path, _LEDGER)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Release the lock; the ledger is not used afterwards."""
        self._database.close()

    def get(self, identity: str) -> Reply | None:
        """The reply stored under `identity`, or None."""
        row = self._database.execute("SELECT * FROM replies WHERE id = ?", (identity,)).fetchone()
        if row is None:
            return None
        _, text, finish_reason, prompt, cached, completion = row
        usage = Usage(
            prompt_tokens=prompt, cached_prompt_tokens=cached, completion_tokens=completion
        )
        return Reply(text=text, finish_reason=finish_reason, usage=usage)

    def put(
        self, replies: Sequence[tuple[str, Reply]], failures: Sequence[tuple[str, str]] = ()
    ) -> None:
        """Store replies, and failures with reasons, in one transaction: then they are durable.

        A failure is only a note: its request is asked again by the next run. A reply erases the
        note.
        """
        with self._database.transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?, ?, ?)", map(_row, replies)
            )
            connection.executemany(
                "DELETE FROM failures WHERE id = ?", ((identity,) for identity, _ in replies)
            )
            connection.executemany(
                "INSERT INTO failures VALUES (?, ?, 1) "
                "ON CONFLICT (id) DO UPDATE SET reason = excluded.reason, times = times + 1",
                failures,
            )

    def keep_only(self, identities: Iterable[str]) -> int:
        """Delete every other reply and failure for good; returns how many replies that were.

        The file is rewritten without them, so their text is nowhere in it.
        """
        before = len(self)
        with self._database.transaction() as connection:
            connection.execute("CREATE TEMP TABLE wanted (id TEXT PRIMARY KEY) WITHOUT ROWID")
            connection.executemany(
                "INSERT OR IGNORE INTO wanted VALUES (?)", ((name,) for name in identities)
            )
            for table in ("replies", "failures"):
                connection.execute(
                    f"DELETE FROM {table} WHERE id NOT IN (SELECT id FROM temp.wanted)"
                )
            connection.execute("DROP TABLE temp.wanted")
        self._database.compact()
        return before - len(self)

    def __len__(self) -> int:
        """How many replies it holds."""
        (count,) = self._database.execute("SELECT count(*) FROM replies").fetchone()
        return int(count)

    def failures(self) -> list[tuple[str, str, int]]:
        """Requests that failed and were not answered since: identity, last reason, how often."""
        return self._database.execute(
            "SELECT id, reason, times FROM failures ORDER BY id"
        ).fetchall()


def _row(entry: tuple[str, Reply]) -> tuple[str, str, str, int, int, int]:
    identity, reply = entry
    usage = reply.usage
    return (
        identity,
        reply.text,
        reply.finish_reason,
        usage.prompt_tokens,
        usage.cached_prompt_tokens,
        usage.completion_tokens,
    )
