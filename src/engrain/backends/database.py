"""A SQLite file that one process holds: opened with its lock, upgraded, changed in transactions.

Knows SQLite and how its errors are told to a user; knows nothing of what the tables hold.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engrain.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of file."""

    what: str
    """`a ledger`: what a file of another kind is told not to be."""
    version: int
    upgrades: Mapping[int, Sequence[str]]
    """The statements that make this version of an older one; 0 is an empty file."""
    unknown: str
    """What to do about a file of a version that is not among them."""
    synchronous: Literal["NORMAL", "FULL"]
    """NORMAL survives `kill -9`, because the operating system has what was committed; FULL survives
    a power cut too, for a disk flush a transaction."""
    page_size: int = 4096


class Database:
    """An open file. A second process is refused with a UserError; threads take turns."""

    def __init__(self, path: Path, kind: Kind) -> None:
        """Open or create the file and take its lock.

        Raises UserError where another process holds it, or it is no such file of a known version.
        """
        self.path, self._kind = path, kind
        path.parent.mkdir(parents=True, exist_ok=True)
        # The lock below keeps other processes out, and Engrain uses one thread at a time.
        self._connection = sqlite3.connect(
            path, timeout=0, isolation_level=None, check_same_thread=False
        )
        self.execute = self._connection.execute
        try:
            self._prepare()
        except (sqlite3.Error, UserError) as error:
            self._connection.close()
            if isinstance(error, UserError):
                raise
            raise self._refusal(error) from error

    def _prepare(self) -> None:
        kind, run = self._kind, self.execute
        run(f"PRAGMA page_size = {kind.page_size}")
        # In exclusive mode the lock taken by the first write stays until the connection closes or
        # the process dies.
        run("PRAGMA locking_mode = EXCLUSIVE")
        run("PRAGMA journal_mode = WAL")
        run(f"PRAGMA synchronous = {kind.synchronous}")
        run("BEGIN IMMEDIATE")
        (version,) = run("PRAGMA user_version").fetchone()
        if version != kind.version and version not in kind.upgrades:
            raise UserError(
                f"{self.path} has version {version!r}, not {kind.version!r}; {kind.unknown}"
            )
        for statement in kind.upgrades.get(version, ()):
            run(statement)
        run(f"PRAGMA user_version = {kind.version}")
        run("COMMIT")

    def close(self) -> None:
        """Release the lock; it is not used afterwards."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All changes of a block or none of them. Raises UserError where the disk is full."""
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise self._refusal(error) from error

    def compact(self) -> None:
        """Rewrite the file without what was deleted, which is then nowhere in it."""
        try:
            self.execute("VACUUM")
            # The log still holds pages with the deleted text.
            self.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            raise self._refusal(error) from error

    def _refusal(self, error: sqlite3.Error) -> UserError:
        """What the user is told; an error that nobody but us can mend is raised again."""
        code = getattr(error, "sqlite_errorcode", None)
        primary = None if code is None else code & 0xFF
        if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return UserError(
                f"{self.path} is in use by another process; "
                "wait until it ends or choose another folder"
            )
        if primary in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            return UserError(
                f"{self.path} is not {self._kind.what} ({error}); "
                "move that file away to start a new one"
            )
        if primary in (
            sqlite3.SQLITE_FULL,
            sqlite3.SQLITE_IOERR,
            sqlite3.SQLITE_CANTOPEN,
            sqlite3.SQLITE_READONLY,
        ):
            return UserError(
                f"cannot write {self.path}: {error}; free some space or choose another folder"
            )
        raise error
