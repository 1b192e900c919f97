"""The list of batches: what it knows after the process has died, and which files it refuses."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from engrain.backends.submitted import SCHEMA_VERSION, Submitted
from engrain.errors import UserError

URL = "http://127.0.0.1:8000/v1"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "batches.sqlite"


def reopened(notes: Submitted) -> Submitted:
    notes.close()
    return Submitted(notes.path)


def test_every_step_of_a_batch_is_known_after_reopening(path):
    notes = Submitted(path)
    token = notes.intend(URL, ["a", "b"]).token
    notes = reopened(notes)
    (known,) = notes.unfinished()
    assert (known.token, known.url, known.file, known.asked) == (token, URL, None, None)
    notes.uploaded(token, "file-1")
    notes.asked(token, 12.5)
    notes = reopened(notes)
    (known,) = notes.unfinished()
    assert (known.file, known.asked, known.batch) == ("file-1", 12.5, None)
    assert notes.holding(["a", "b", "c"]) == {}
    notes.accepted(token, "batch_1")
    notes = reopened(notes)
    assert notes.unfinished() == []
    held = notes.holding(["a", "b", "c"])
    assert {name: submission.batch for name, submission in held.items()} == {
        "a": "batch_1",
        "b": "batch_1",
    }
    notes.close()


def test_a_request_is_in_its_latest_batch_until_it_is_forgotten(path):
    notes = Submitted(path)
    first, second = notes.intend(URL, ["a", "b"]), notes.intend(URL, ["b", "c"])
    notes.accepted(first.token, "batch_1")
    notes.accepted(second.token, "batch_2")
    batches = {name: known.batch for name, known in notes.holding("abc").items()}
    assert batches == {"a": "batch_1", "b": "batch_2", "c": "batch_2"}
    notes.forget(["b"])
    assert set(notes.holding("abc")) == {"a", "c"}
    notes.discard(first.token)
    assert set(notes.holding("abc")) == {"c"}
    notes.close()


def test_more_requests_can_be_looked_up_than_a_statement_has_values(path):
    notes = Submitted(path)
    names = [f"r{number}" for number in range(70_000)]
    notes.accepted(notes.intend(URL, names).token, "batch_1")
    assert len(notes.holding([*names, "other"])) == len(names)
    notes.close()


def test_a_change_is_flushed_to_the_disk_before_it_counts(path):
    notes = Submitted(path)
    (level,) = notes._database.execute("PRAGMA synchronous").fetchone()
    assert level == 2
    notes.close()


def test_a_file_of_another_version_or_kind_is_refused_and_left_as_it_is(path):
    with closing(sqlite3.connect(path)) as other:
        other.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(UserError, match="has version 2, not 1; finish its batches"):
        Submitted(path)
    path.write_text("not a database, but long enough to be looked at as one " * 50)
    before = path.read_bytes()
    with pytest.raises(UserError, match="is not a list of batches"):
        Submitted(path)
    assert path.read_bytes() == before
