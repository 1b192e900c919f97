"""Artifacts: what was written is read back, half-written is as good as not written."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import typing
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engrain import records, store
from engrain.errors import UserError

RECORDS = [
    value
    for value in vars(records).values()
    if isinstance(value, type) and dataclasses.is_dataclass(value)
]


def field_strategy(hint: object) -> st.SearchStrategy:
    if typing.get_origin(hint) is typing.Literal:
        return st.sampled_from(typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        return st.lists(field_strategy(typing.get_args(hint)[0]), max_size=3).map(tuple)
    if type(None) in typing.get_args(hint):
        return st.one_of(*(field_strategy(inner) for inner in typing.get_args(hint)))
    known: dict[object, st.SearchStrategy] = {
        str: st.text(st.characters(codec="utf-8"), max_size=20),
        int: st.integers(-(2**63), 2**63 - 1),
        float: st.floats(allow_nan=False),
        bool: st.booleans(),
        type(None): st.none(),
    }
    return known[hint]


def rows_of(kind: type) -> st.SearchStrategy[list]:
    hints = typing.get_type_hints(kind)
    row = st.builds(kind, **{name: field_strategy(hint) for name, hint in hints.items()})
    return st.lists(row, max_size=5)


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
def test_every_record_is_read_back_as_it_was_written(kind: type, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")

    @settings(max_examples=30)
    @given(rows_of(kind))
    def round_trip(rows: list) -> None:
        path = folder / "rows.parquet"
        assert store.write_rows(path, kind, rows, batch=2) == len(rows)
        assert list(store.read_rows(path, kind)) == rows

    round_trip()


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
def test_a_file_without_rows_keeps_its_columns(kind: type, tmp_path: Path):
    store.write_rows(tmp_path / "empty.parquet", kind, [])
    assert list(store.read_rows(tmp_path / "empty.parquet", kind)) == []
    names = [field.name for field in dataclasses.fields(kind)]
    assert pq.read_schema(tmp_path / "empty.parquet").names == names


def document(number: int, text: str = "text") -> records.Document:
    return records.Document(id=str(number), title="t", source="s", text=text, sha256="h")


def test_rows_keep_their_order_over_many_batches(tmp_path: Path):
    rows = (document(i) for i in range(25_001))
    assert store.write_rows(tmp_path / "d.parquet", records.Document, rows) == 25_001
    ids = [row.id for row in store.read_rows(tmp_path / "d.parquet", records.Document)]
    assert ids == [str(i) for i in range(25_001)]


def test_a_field_without_a_parquet_form_is_refused_by_name():
    @dataclasses.dataclass
    class Odd:
        when: complex

    # Types are looked up by name in the module, where a local class's are not.
    Odd.__annotations__["when"] = complex
    with pytest.raises(TypeError, match="'when'"):
        store.pa_fields(Odd)


def test_rows_that_fail_midway_leave_the_old_file(tmp_path: Path):
    path = tmp_path / "d.parquet"
    store.write_rows(path, records.Document, [document(1)])

    def failing():
        yield document(2)
        raise ConnectionResetError("the source of the rows, not the disk")

    with pytest.raises(ConnectionResetError):
        store.write_rows(path, records.Document, failing())
    assert [row.id for row in store.read_rows(path, records.Document)] == ["1"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["d.parquet"]


# --- fingerprints ---

IDENTITY = {"stage": "mix", "settings": {"b": [1, 2.5, None], "a": {"z": True, "é": "ü\ud800"}}}


def test_a_fingerprint_is_the_same_in_every_process():
    code = f"from engrain.store import fingerprint; print(fingerprint({IDENTITY!r}))"
    seen = {store.fingerprint(IDENTITY)}
    for seed in ("0", "1", "77"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            env=environment,
            check=True,
        )
        seen.add(done.stdout.strip())
    # The literal pins it across versions of Engrain: if it moves, every user's work is redone.
    assert seen == {"41d450014c229ce8"}


def test_a_fingerprint_knows_nothing_of_key_order_or_of_tuples_and_lists():
    one = {"a": [1, 2], "b": {"x": 1, "y": 2}}
    other = {"b": {"y": 2, "x": 1}, "a": (1, 2)}
    assert store.fingerprint(one) == store.fingerprint(other)


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(plain)
def test_a_fingerprint_survives_being_written_as_json(value: object):
    assert store.fingerprint(json.loads(json.dumps(value))) == store.fingerprint(value)


def test_a_dataclass_has_the_fingerprint_of_its_fields():
    row = document(1)
    assert store.fingerprint(row) == store.fingerprint(dataclasses.asdict(row))


@pytest.mark.parametrize(
    "value",
    [{1, 2}, frozenset(), len, lambda: 0, object(), Path("x"), b"bytes", 1j, math.nan, math.inf],
    ids=repr,
)
def test_what_has_no_stable_form_is_refused(value: object):
    for nested in (value, [value], {"key": {"deep": (value,)}}):
        with pytest.raises(TypeError, match="no stable form"):
            store.fingerprint(nested)


def test_a_mapping_with_keys_that_are_no_strings_is_refused():
    with pytest.raises(TypeError, match="key 1"):
        store.fingerprint({1: "a"})


# --- stages ---


def run(directory: Path, *, build=None, said: list[str] | None = None, **identity: object):
    return store.run_stage(
        directory,
        stage="mix",
        settings=identity,
        inputs={"corpus": "abc"},
        build=build or (lambda path: {"tokens": 3}),
        say=(said if said is not None else []).append,
    )


def test_a_finished_stage_says_how_it_was_made(tmp_path: Path):
    artifact = run(tmp_path / "mix", share=0.5)
    assert artifact == store.load(tmp_path / "mix")
    assert (artifact.stage, artifact.settings) == ("mix", {"share": 0.5})
    assert (artifact.inputs, artifact.counts) == ({"corpus": "abc"}, {"tokens": 3})
    record = json.loads((tmp_path / "mix" / store.RECORD).read_text())
    assert {"versions", "commit", "started", "seconds"} <= set(record)
    assert record["versions"]["pyarrow"]


def test_a_stage_that_is_done_is_not_done_again(tmp_path: Path):
    first = run(tmp_path, share=0.5)
    said: list[str] = []
    assert run(tmp_path, share=0.5, build=lambda path: pytest.fail("built"), said=said) == first
    assert said == [f"mix: already done ({tmp_path})"]


def test_a_stage_with_other_settings_is_redone_and_says_which_field_moved(tmp_path: Path):
    first = run(tmp_path, share=0.5, seed=1)
    said: list[str] = []
    second = run(tmp_path, share=0.25, seed=1, said=said)
    assert second.fingerprint != first.fingerprint
    assert "settings.share: 0.5 -> 0.25" in said[0]
    assert "seed" not in said[0]


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        ({"a": 1, "b": 2}, {"a": 1, "b": 2}, []),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, ["a.b: 1 -> 2"]),
        ({"a": None}, {}, ["a: null -> (absent)"]),
        ({}, {"a": None}, ["a: (absent) -> null"]),
        ({"a": [1]}, {"a": (1,)}, []),
        ({"a": {"b": 1}}, {"a": 3}, ['a: {"b": 1} -> 3']),
        ({"b": 1, "a": 1}, {"b": 2, "a": 2}, ["a: 1 -> 2", "b: 1 -> 2"]),
    ],
)
def test_moved_names_each_field_that_differs(before: dict, after: dict, lines: list[str]):
    assert store.moved(before, after) == lines


@given(plain, plain)
def test_what_has_another_fingerprint_has_moved(before: object, after: object):
    different = store.fingerprint(before) != store.fingerprint(after)
    assert bool(store.moved({"x": before}, {"x": after})) == different


def test_a_stage_that_fails_leaves_no_record_and_its_files_for_the_next_try(tmp_path: Path):
    def failing(path: Path) -> dict[str, int]:
        store.write_text(path / "ledger.txt", "paid for")
        raise UserError("stop")

    with pytest.raises(UserError):
        run(tmp_path, build=failing)
    assert store.load(tmp_path) is None
    again = run(tmp_path, build=lambda path: {"found": (path / "ledger.txt").read_text()})
    assert again.counts == {"found": "paid for"}


def test_a_stage_that_is_redone_and_fails_does_not_pass_for_the_old_one(tmp_path: Path):
    def failing(path: Path) -> dict[str, int]:
        raise UserError("stop")

    run(tmp_path, share=0.5)
    with pytest.raises(UserError):
        run(tmp_path, share=0.25, build=failing)
    assert store.load(tmp_path) is None


CRASH = """
    import os, signal, sys
    from pathlib import Path
    from engrain import records, store

    def rows():
        yield records.Document(id="1", title="", source="", text="", sha256="")
        if sys.argv[2] == "during":
            os.kill(os.getpid(), signal.SIGKILL)

    def build(path):
        store.write_rows(path / "documents.parquet", records.Document, rows(), batch=1)
        if sys.argv[2] == "before the record":
            os.kill(os.getpid(), signal.SIGKILL)
        return {"documents": 1}

    directory = Path(sys.argv[1])
    store.run_stage(directory, stage="corpus", settings={}, inputs={}, build=build, say=print)
"""


@pytest.mark.parametrize("moment", ["during", "before the record"])
def test_a_stage_killed_at_any_moment_leaves_no_record_and_completes_when_run_again(
    moment: str, tmp_path: Path
):
    script = [sys.executable, "-c", textwrap.dedent(CRASH), str(tmp_path)]
    killed = subprocess.run([*script, moment], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert store.load(tmp_path) is None
    # A file is there whole or not at all under its name.
    assert (tmp_path / "documents.parquet").exists() == (moment == "before the record")

    subprocess.run([*script, "never"], check=True, capture_output=True)
    artifact = store.load(tmp_path)
    assert artifact is not None and artifact.counts == {"documents": 1}
    assert {entry.name for entry in tmp_path.iterdir()} == {"documents.parquet", "record.json"}


# --- what the user can mend ---


@pytest.mark.parametrize("content", ["{", "[]", "{}", "null", '{"stage": "mix"}', "\xff\xfe"])
def test_a_spoilt_record_is_a_one_sentence_error(content: str, tmp_path: Path):
    (tmp_path / store.RECORD).write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=r"record\.json is not a record .* delete that file"):
        store.load(tmp_path)


def test_a_file_where_the_folder_should_be_is_a_one_sentence_error(tmp_path: Path):
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(UserError, match="choose another folder"):
        run(tmp_path / "out")
    with pytest.raises(UserError, match="choose another folder"):
        store.write_text(tmp_path / "out" / "x.txt", "")
    assert (tmp_path / "out").read_text() == "in the way"


FULL = """
    import resource, signal, sys
    from pathlib import Path
    from engrain import records, store
    from engrain.errors import UserError

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    noise = (Path("/dev/urandom").open("rb").read(2_000).hex() for _ in range(1_000))
    rows = (records.Document(id="1", title="", source="", text=t, sha256="") for t in noise)

    def build(path):
        store.write_text(path / "small.txt", "fits")
        if sys.argv[2] == "rows":
            store.write_rows(path / "documents.parquet", records.Document, rows, batch=10)
        else:
            store.write_text(path / "documents.txt", "".join(noise))
        return {}

    directory = Path(sys.argv[1])
    try:
        store.run_stage(directory, stage="corpus", settings={}, inputs={}, build=build, say=print)
    except UserError as error:
        print(error)
        sys.exit(2)
"""


@pytest.mark.parametrize("writer", ["rows", "text"])
def test_a_disk_without_room_is_a_one_sentence_error_and_nothing_is_half_written(
    writer: str, tmp_path: Path
):
    # A limit on the size of files stands in for the full disk: the same failing `write`.
    script = [sys.executable, "-c", textwrap.dedent(FULL), str(tmp_path), writer]
    done = subprocess.run(script, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stdout.startswith(f"cannot write {tmp_path}/documents.")
    assert "free some space" in done.stdout
    assert [entry.name for entry in tmp_path.iterdir()] == ["small.txt"]


@pytest.fixture
def tiny_disk(tmp_path: Path):
    """A real file system of 256 KB; skips where this process may not mount one."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "engrain-test", str(tmp_path)],
        capture_output=True,
    )
    if mounted.returncode != 0:
        pytest.skip("this process may not mount a file system")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
def test_a_full_disk_is_a_one_sentence_error_and_nothing_is_half_written(tiny_disk: Path):
    texts = (os.urandom(5_000).hex() for _ in range(1_000))
    rows = (document(number, text) for number, text in enumerate(texts))
    store.write_text(tiny_disk / "kept.txt", "kept")
    with pytest.raises(UserError, match=r"No space left on device; free some space"):
        store.write_rows(tiny_disk / "d.parquet", records.Document, rows, batch=10)
    assert [entry.name for entry in tiny_disk.iterdir()] == ["kept.txt"]


def test_a_reader_sees_the_old_json_or_the_new_one(tmp_path: Path):
    path = tmp_path / "deep" / "folder" / "x.json"
    store.write_json(path, {"a": "ü"})
    with pytest.raises(ValueError, match="JSON compliant"):
        store.write_json(path, {"a": math.nan})
    with path.open(encoding="utf-8") as slow_reader:
        store.write_json(path, {"a": "other"})
        assert json.load(slow_reader) == {"a": "ü"}
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": "other"}
    assert [entry.name for entry in path.parent.iterdir()] == ["x.json"]


def test_an_installed_package_never_reports_the_commit_of_the_users_own_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "theirs"], check=True)
    installed = tmp_path / ".venv" / "lib" / "site-packages" / "engrain" / "store.py"
    installed.parent.mkdir(parents=True)
    monkeypatch.setattr(store, "__file__", str(installed))
    assert store._commit() is None
