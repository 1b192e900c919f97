"""The ledger: every reply of a generator, stored under the identity of its request.

Knows SQLite and replies; knows nothing of prompts or methods. What it holds is never asked again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from engrain.backends.base import Reply, Usage
from engrain.errors import UserError

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
_NEW = (_REPLIES, _FAILURES)
_FROM_1 = (
    "ALTER TABLE replies RENAME TO replies_1",
    _REPLIES,
    "INSERT INTO replies SELECT * FROM replies_1",
    "DROP TABLE replies_1",
)
# A page of 4 KB holds one reply and wastes what is left of it.
_PAGE = 16_384


class Ledger:
    """Replies on disk. One process at a time: a second one is refused with a UserError.

    Write-ahead log with synchronous=NORMAL: a committed reply survives `kill -9`, because the
    operating system has it; a power cut may lose the commits of the last seconds, which are asked
    again, and never corrupts the file. FULL would cost one disk flush for every batch of replies
    and protect nothing else.
    """

    def __init__(self, path: Path) -> None:
        """Open or create the ledger and take its lock.

        Raises UserError where another process holds it, or the file is not a ledger of this
        version.
        """
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        # The lock below keeps other processes out, and Engrain uses one thread at a time.
        self._connection = sqlite3.connect(
            path, timeout=0, isolation_level=None, check_same_thread=False
        )
        try:
            self._prepare()
        except (sqlite3.Error, UserError) as error:
            self._connection.close()
            if isinstance(error, UserError):
                raise
            raise refusal(path, error) from error

    def _prepare(self) -> None:
        run = self._connection.execute
        run(f"PRAGMA page_size = {_PAGE}")
        # In exclusive mode the lock taken by the first write stays until the connection closes or
        # the process dies.
        run("PRAGMA locking_mode = EXCLUSIVE")
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = NORMAL")
        run("BEGIN IMMEDIATE")
        (version,) = run("PRAGMA user_version").fetchone()
        if version not in (0, 1, SCHEMA_VERSION):
            raise UserError(
                f"{self.path} has ledger version {version!r}, not {SCHEMA_VERSION!r}; "
                "choose another folder, or delete that file to pay for its replies again"
            )
        for statement in {0: _NEW, 1: _FROM_1}.get(version, ()):
            run(statement)
        run(f"PRAGMA user_version = {SCHEMA_VERSION}")
        run("COMMIT")

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Release the lock; the ledger is not used afterwards."""
        self._connection.close()

    def get(self, identity: str) -> Reply | None:
        """The reply stored under `identity`, or None."""
        row = self._connection.execute("SELECT * FROM replies WHERE id = ?", (identity,)).fetchone()
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
        with self._transaction() as connection:
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
        with self._transaction() as connection:
            connection.execute("CREATE TEMP TABLE wanted (id TEXT PRIMARY KEY) WITHOUT ROWID")
            connection.executemany(
                "INSERT OR IGNORE INTO wanted VALUES (?)", ((name,) for name in identities)
            )
            for table in ("replies", "failures"):
                connection.execute(
                    f"DELETE FROM {table} WHERE id NOT IN (SELECT id FROM temp.wanted)"
                )
            connection.execute("DROP TABLE temp.wanted")
        try:
            self._connection.execute("VACUUM")
            # The log still holds pages with the deleted text.
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            raise refusal(self.path, error) from error
        return before - len(self)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise refusal(self.path, error) from error

    def __len__(self) -> int:
        """How many replies it holds."""
        (count,) = self._connection.execute("SELECT count(*) FROM replies").fetchone()
        return int(count)

    def failures(self) -> list[tuple[str, str, int]]:
        """Requests that failed and were not answered since: identity, last reason, how often."""
        return self._connection.execute(
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


def refusal(path: Path, error: sqlite3.Error, *, what: str = "a ledger") -> UserError:
    """What the user is told; an error that nobody but us can mend is raised again."""
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return UserError(
            f"{path} is in use by another process; wait until it ends or choose another folder"
        )
    if primary in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return UserError(f"{path} is not {what} ({error}); move that file away to start a new one")
    if primary in (
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
    ):
        return UserError(f"cannot write {path}: {error}; free some space or choose another folder")
    raise error
