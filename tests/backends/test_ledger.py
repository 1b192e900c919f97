from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from engrain.backends.base import Reply, Usage
from engrain.backends.ledger import Ledger
from engrain.errors import UserError

REPLY = Reply(
    text='two\nlines, "quotes", \x00 and ünïcode',
    finish_reason="length",
    usage=Usage(prompt_tokens=5, cached_prompt_tokens=3, completion_tokens=2),
)

WRITE_UNTIL_KILLED = """
import sys
from pathlib import Path
from engrain.backends.base import Reply, Usage
from engrain.backends.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]))
number = 0
while True:
    ledger.put([(str(number), Reply(text="t" * 500, finish_reason="stop", usage=Usage()))])
    print(number, flush=True)
    number += 1
"""


def write_until_killed(path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITE_UNTIL_KILLED, str(path)], stdout=subprocess.PIPE, text=True
    )


def test_what_was_put_is_there_when_it_is_opened_again(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger.put([("a", REPLY)])
        assert ledger.get("a") == REPLY
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert ledger.get("a") == REPLY
        assert ledger.get("b") is None
        assert len(ledger) == 1


def test_every_reply_that_was_reported_stored_survives_kill_9(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with write_until_killed(path) as process:
        assert process.stdout is not None
        stored = [int(process.stdout.readline()) for _ in range(50)]
        process.send_signal(signal.SIGKILL)
        stored += [int(line) for line in process.stdout]
    with Ledger(path) as ledger:
        assert all(ledger.get(str(number)) is not None for number in stored)
        assert len(ledger) - len(stored) in (0, 1)


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with write_until_killed(path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(UserError, match="in use by another process"):
            Ledger(path)
        process.kill()
    Ledger(path).close()


def test_a_failure_is_noted_until_the_request_is_answered(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger.put([], [("a", "timeout"), ("b", "status 500")])
        ledger.put([], [("a", "status 503")])
        assert ledger.failures() == [("a", "status 503", 2), ("b", "status 500", 1)]
        ledger.put([("a", REPLY)])
        assert ledger.failures() == [("b", "status 500", 1)]


def test_a_ledger_of_another_version_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA user_version = 99")
    other.close()
    before = path.read_bytes()
    with pytest.raises(UserError, match="version 99"):
        Ledger(path)
    with sqlite3.connect(path) as other:
        assert other.execute("PRAGMA user_version").fetchone() == (99,)
    other.close()
    assert len(before) <= path.stat().st_size


def test_a_file_that_is_no_ledger_is_refused(tmp_path):
    path = tmp_path / "ledger.sqlite"
    path.write_text(
        "these are notes, not a database, and they are long enough to be looked at" * 20
    )
    with pytest.raises(UserError, match="is not a ledger"):
        Ledger(path)


def test_a_ledger_of_version_1_keeps_its_replies(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with sqlite3.connect(path) as old:
        old.executescript(
            """
            CREATE TABLE replies (
                id TEXT PRIMARY KEY, text TEXT NOT NULL, finish_reason TEXT NOT NULL,
                prompt_tokens INTEGER NOT NULL, cached_prompt_tokens INTEGER NOT NULL,
                completion_tokens INTEGER NOT NULL
            ) WITHOUT ROWID;
            CREATE TABLE failures (
                id TEXT PRIMARY KEY, reason TEXT NOT NULL, times INTEGER NOT NULL
            ) WITHOUT ROWID;
            INSERT INTO failures VALUES ('c', 'status 500', 3);
            PRAGMA user_version = 1;
            """
        )
        usage = (REPLY.usage.prompt_tokens, REPLY.usage.cached_prompt_tokens)
        row = ("a", REPLY.text, REPLY.finish_reason, *usage, REPLY.usage.completion_tokens)
        old.execute("INSERT INTO replies VALUES (?, ?, ?, ?, ?, ?)", row)
    old.close()
    for _ in range(2):
        with Ledger(path) as ledger:
            assert ledger.get("a") == REPLY
            assert ledger.failures() == [("c", "status 500", 3)]
            ledger.put([("b", REPLY)])
            assert len(ledger) == 2
    with sqlite3.connect(path) as new:
        (schema,) = new.execute("SELECT sql FROM sqlite_master WHERE name = 'replies'").fetchone()
    new.close()
    assert "WITHOUT ROWID" not in schema


def test_what_is_not_kept_is_gone_from_the_file(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with Ledger(path) as ledger:
        for name in "abc":
            text = f"a secret of {name}, told at length " * 2000
            ledger.put([(name, Reply(text=text, finish_reason="stop", usage=Usage()))])
        ledger.put([], [("d", "a secret of d")])
        before = sum(found.stat().st_size for found in tmp_path.iterdir())
        assert ledger.keep_only(iter(["b", "x", "b"])) == 2
        assert path.stat().st_size < before / 2
        held = b"".join(found.read_bytes() for found in tmp_path.iterdir())
        assert b"secret of b" in held
        assert not any(f"secret of {name}".encode() in held for name in "acd")
        assert (len(ledger), ledger.failures()) == (1, [])
        ledger.put([("a", REPLY)])
    with Ledger(path) as ledger:
        assert ledger.get("a") == REPLY
