"""The corpus stage on folders of files, sound and hostile."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest

from engrain.artifacts import documents, questions, skipped
from engrain.corpus.run import corpus
from engrain.corpus.settings import CorpusSettings, QuestionSettings
from engrain.errors import UserError
from engrain.progress import Silent
from engrain.store import Artifact

STORY = "Ada Wilmot was born in Lorne in 1871 and kept bees."


class Heard(Silent):
    """Keeps the lines it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def read(out: Path, *paths: Path, ask: Path | None = None, **fields) -> Artifact:
    settings = CorpusSettings(paths=paths, **fields)
    return corpus(settings, QuestionSettings(path=ask) if ask else None, out, progress=Silent())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "docs"
    made.mkdir()
    return made


def reasons(artifact: Artifact) -> dict[str, str]:
    return {one.source: one.reason for one in skipped(artifact)}


def test_every_format_becomes_documents_with_titles_and_relative_sources(folder, tmp_path, pdf):
    (folder / "sub").mkdir()
    (folder / "a_story.txt").write_text(STORY)
    (folder / "b.md").write_text(f"---\ntitle: Bees\n---\n# Heading\n\n{STORY} B.")
    (folder / "c.md").write_text(f"```\n# no heading\n```\n\n# The heading\n\n{STORY} C.")
    (folder / "d.html").write_text(f"<title>Page</title><p>{STORY} D.</p><script>x()</script>")
    (folder / "sub/e.pdf").write_bytes(pdf([STORY, "Second page."], title="The filing"))
    (folder / "f.jsonl").write_text(json.dumps({"id": "x", "title": "T", "text": STORY + " F."}))
    (folder / "g.csv").write_text(f'id,title,text\n1,Csv title,"{STORY} G."\n')
    found = {one.source: one for one in documents(read(tmp_path / "out", folder))}
    assert {source: one.title for source, one in found.items()} == {
        "a_story.txt": "a story",
        "b.md": "Bees",
        "c.md": "The heading",
        "d.html": "Page",
        "f.jsonl#1": "T",
        "g.csv#2": "Csv title",
        "sub/e.pdf": "The filing",
    }
    assert found["b.md"].text == f"# Heading\n\n{STORY} B."
    assert found["d.html"].text == f"{STORY} D."
    assert found["sub/e.pdf"].text == f"{STORY}\n\nSecond page."
    assert len({one.id for one in found.values()}) == 7


def test_ids_and_fingerprint_depend_neither_on_the_place_of_the_folder_nor_on_other_files(
    folder, tmp_path
):
    (folder / "a.txt").write_text(STORY)
    (folder / "b.txt").write_text(STORY + " Two.")
    first = read(tmp_path / "one", folder)
    moved = tmp_path / "elsewhere" / "moved"
    shutil.copytree(folder, moved)
    second = read(tmp_path / "two", moved)
    assert first.fingerprint == second.fingerprint
    (moved / "0.txt").write_text(STORY + " New.")
    third = read(tmp_path / "three", moved)
    assert third.fingerprint != first.fingerprint
    ids = {one.source: one.id for one in documents(third)}
    assert {one.source: one.id for one in documents(first)}.items() <= ids.items()


def test_a_changed_byte_is_another_input_and_an_unchanged_folder_is_not_read_again(
    folder, tmp_path
):
    (folder / "a.txt").write_text(STORY)
    before = read(tmp_path / "out", folder)
    heard = Heard()
    corpus(CorpusSettings(paths=(folder,)), None, tmp_path / "out", progress=heard)
    assert heard.lines == [f"corpus: already done ({tmp_path / 'out'})"]
    (folder / "a.txt").write_text(STORY + "!")
    assert read(tmp_path / "out", folder).fingerprint != before.fingerprint


def test_the_documents_fingerprint_stays_when_only_questions_or_unread_files_change(
    folder, tmp_path
):
    (folder / "a.txt").write_text(STORY)
    ask = tmp_path / "questions.jsonl"
    ask.write_text('{"question": "Who kept bees?", "answer": "Ada Wilmot"}')
    before = read(tmp_path / "out", folder, ask=ask)
    ask.write_text('{"question": "Where was Ada born?", "answer": "Lorne"}')
    (folder / "notes.docx").write_bytes(b"PK")
    after = read(tmp_path / "out", folder, ask=ask)
    assert after.fingerprint != before.fingerprint
    assert after.counts["documents_fingerprint"] == before.counts["documents_fingerprint"]
    (folder / "a.txt").write_text(STORY + "!")
    changed = read(tmp_path / "out", folder, ask=ask)
    assert changed.counts["documents_fingerprint"] != before.counts["documents_fingerprint"]


def test_hostile_files_are_recorded_with_a_reason_and_the_rest_is_read(folder, tmp_path, pdf):
    (folder / "good.txt").write_text(STORY)
    (folder / "binary.txt").write_bytes(bytes(range(256)) * 20)
    (folder / "zeros.txt").write_bytes(b"")
    (folder / "blank.txt").write_text(" \n\t\n")
    (folder / "short.txt").write_text("Too short.")
    (folder / "picture.png").write_bytes(b"\x89PNG")
    (folder / "bare").write_text("no suffix")
    (folder / "utf16.txt").write_bytes(b"\xff\xfeab\x00\xd8")
    (folder / "script.html").write_text("<script>alert('only a script, no text at all')</script>")
    (folder / "deep.html").write_text("<div>" * 20_000 + "deep" + "</div>" * 20_000)
    (folder / "empty.pdf").write_bytes(b"")
    whole = pdf([STORY])
    (folder / "truncated.pdf").write_bytes(whole[:200])
    (folder / "scanned.pdf").write_bytes(pdf(["", ""]))
    (folder / "locked.pdf").write_bytes(pdf([STORY], password="secret"))
    with zipfile.ZipFile(folder / "zip.pdf", "w") as archive:
        archive.writestr("a.txt", STORY)
    (folder / "broken.parquet").write_bytes(b"PAR1 and no more")
    (folder / "none.jsonl").write_text("\n\n")
    artifact = read(tmp_path / "out", folder)
    assert [one.source for one in documents(artifact)] == ["good.txt"]
    assert reasons(artifact) == {
        "bare": "unsupported",
        "binary.txt": "binary",
        "blank.txt": "empty",
        "broken.parquet": "unreadable",
        "deep.html": "malformed",
        "empty.pdf": "empty",
        "locked.pdf": "encrypted",
        "none.jsonl": "empty",
        "picture.png": "unsupported",
        "scanned.pdf": "no_text",
        "script.html": "empty",
        "short.txt": "too_short",
        "truncated.pdf": "unreadable",
        "utf16.txt": "bad_encoding",
        "zeros.txt": "empty",
        "zip.pdf": "unreadable",
    }
    assert artifact.counts["skipped_documents"] == Counter(reasons(artifact).values())


def test_a_pdf_encrypted_with_an_empty_password_opens_without_asking(folder, tmp_path, pdf):
    (folder / "a.pdf").write_bytes(pdf([STORY], title="Sealed filing", password=""))
    (document,) = documents(read(tmp_path / "out", folder))
    assert (document.title, document.text) == ("Sealed filing", STORY)


def test_a_file_that_cannot_be_opened_or_read_is_recorded(folder, tmp_path):
    (folder / "good.txt").write_text(STORY)
    (folder / "dangling.txt").symlink_to(tmp_path / "nowhere.txt")
    os.mkfifo(folder / "pipe.txt")
    expected = {"dangling.txt": "unreadable", "pipe.txt": "unreadable"}
    if os.geteuid() != 0:  # root reads everything
        (folder / "secret.txt").write_text(STORY)
        (folder / "secret.txt").chmod(0)
        expected["secret.txt"] = "unreadable"
    if Path("/proc/self/mem").exists():  # opens, but every read fails
        (folder / "fails.txt").symlink_to("/proc/self/mem")
        expected["fails.txt"] = "empty" if os.stat("/proc/self/mem").st_size == 0 else "unreadable"
    artifact = read(tmp_path / "out", folder)
    assert reasons(artifact) == expected


def test_links_that_loop_end_and_every_file_is_read_once(folder, tmp_path):
    (folder / "a").mkdir()
    (folder / "a/story.txt").write_text(STORY)
    (folder / "a/loop").symlink_to(folder)
    (folder / "b").symlink_to(folder / "a")
    (folder / "same.txt").symlink_to(folder / "a/story.txt")
    artifact = read(tmp_path / "out", folder)
    assert [one.source for one in documents(artifact)] == ["a/story.txt"]
    assert reasons(artifact) == {"a/loop": "duplicate", "b": "duplicate", "same.txt": "duplicate"}


def test_deep_folders_are_walked_in_sorted_order_and_hidden_ones_left_out(folder, tmp_path):
    deep = folder
    for _ in range(200):
        deep = deep / "deeper"
        deep.mkdir()
    (deep / "end.txt").write_text(STORY)
    (folder / "z.txt").write_text(STORY + " Z.")
    (folder / "Z.txt").write_text(STORY + " Capital Z.")
    (folder / ".git").mkdir()
    (folder / ".git/config.txt").write_text(STORY)
    (folder / ".hidden.txt").write_text(STORY)
    artifact = read(tmp_path / "out", folder)
    assert [one.source for one in documents(artifact)] == [
        "Z.txt",
        "deeper/" * 200 + "end.txt",
        "z.txt",
    ]
    assert not reasons(artifact)


def test_the_same_text_is_kept_once_and_questions_find_it_by_either_name(folder, tmp_path):
    (folder / "a.txt").write_text(STORY)
    (folder / "copy.txt").write_bytes(b"\xef\xbb\xbf" + STORY.encode() + b"\r\n")
    ask = tmp_path / "q.jsonl"
    ask.write_text('{"question": "Who?", "answer": "Ada", "documents": ["copy.txt", "a"]}')
    artifact = read(tmp_path / "out", folder, ask=ask)
    (document,) = documents(artifact)
    assert reasons(artifact) == {"copy.txt": "duplicate"}
    assert next(questions(artifact)).document_ids == (document.id,)


def test_equal_names_in_two_folders_stay_two_documents(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text(f"{STORY} {name}")
    found = list(documents(read(tmp_path / "out", tmp_path / "one", tmp_path / "two")))
    assert [one.source for one in found] == ["a.txt", "two/a.txt"]
    assert len({one.id for one in found}) == 2


def test_rows_without_text_are_recorded_and_own_ids_survive_reordering(folder, tmp_path):
    table = folder / "rows.jsonl"
    rows = [
        {"id": "x", "text": STORY},
        {"id": "y", "body": STORY},
        {"id": "z", "text": 7},
        {"id": "x", "text": STORY + " Another with the same id."},
        ["no", "object"],
    ]
    lines = [json.dumps(row) for row in rows] + [
        "{broken",
        '{"text": "lone \\ud800 surrogate, kept"}',
    ]
    table.write_text("\n".join(lines))
    artifact = read(tmp_path / "one", folder)
    found = list(documents(artifact))
    assert [one.source for one in found] == ["rows.jsonl#1", "rows.jsonl#4", "rows.jsonl#7"]
    assert found[1].id == found[0].id + "-2"
    assert found[2].text == "lone  surrogate, kept"
    assert reasons(artifact) == {
        "rows.jsonl#2": "missing_field",
        "rows.jsonl#3": "malformed",
        "rows.jsonl#5": "malformed",
        "rows.jsonl#6": "malformed",
    }
    table.write_text("\n".join([lines[6], lines[0]]))
    again = list(documents(read(tmp_path / "two", folder)))
    assert again[1].id == found[0].id


def test_text_that_is_not_utf8_is_read_as_cp1252_and_said(folder, tmp_path):
    (folder / "old.txt").write_bytes("Café “Zur Post” in Lorne, open since 1871".encode("cp1252"))
    (folder / "torn.txt").write_bytes("Öl, Äpfel, Übermut und ein Riß: \xe4".encode() + b"\xe4!")
    heard = Heard()
    artifact = corpus(CorpusSettings(paths=(folder,)), None, tmp_path / "out", progress=heard)
    assert [one.text for one in documents(artifact)] == [
        "Café “Zur Post” in Lorne, open since 1871",
        "Öl, Äpfel, Übermut und ein Riß: ä\ufffd!",
    ]
    assert artifact.counts["encodings"] == {"cp1252": 1, "utf-8, damaged": 1}
    assert heard.lines[-1] == (
        "corpus: not UTF-8 and read otherwise (1 cp1252, 1 utf-8, damaged): old.txt, torn.txt"
    )


def test_a_question_file_inside_the_folder_is_never_a_document(folder, tmp_path):
    (folder / "a.txt").write_text(STORY)
    ask = folder / "questions.jsonl"
    ask.write_text(json.dumps({"question": "Who?", "answer": "Ada", "text": STORY + " Leak!"}))
    artifact = read(tmp_path / "out", folder, ask=ask)
    assert [one.source for one in documents(artifact)] == ["a.txt"]
    assert reasons(artifact) == {"questions.jsonl": "duplicate"}


def test_an_interrupted_read_leaves_no_record_and_running_again_completes(folder, tmp_path):
    (folder / "a.txt").write_text(STORY)
    (folder / "b.txt").write_text(STORY + " Two.")

    class Stops(Silent):
        @contextmanager
        def bar(self, label, total, unit):
            class Once:
                def advance(self, amount=1, *, note=""):
                    raise KeyboardInterrupt

            yield Once()

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        corpus(CorpusSettings(paths=(folder,)), None, out, progress=Stops())
    assert not list(out.iterdir())
    assert read(out, folder).fingerprint == read(tmp_path / "other", folder).fingerprint


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda folder: folder.rmdir(), "there is no file or folder"),
        (lambda folder: None, "holds no files"),
        (
            lambda folder: (folder / "a.docx").write_bytes(b"PK"),
            "no document could be read from 1 file (1 unsupported), for example 'a.docx': .docx is",
        ),
        (
            lambda folder: (folder / "a.jsonl").write_text('{"body": "x"}\n{"body": "y"}'),
            "no field 'text' (it has: body); set corpus.text_field",
        ),
    ],
)
def test_nothing_to_read_is_one_sentence(folder, tmp_path, make, sentence):
    make(folder)
    with pytest.raises(UserError) as raised:
        read(tmp_path / "out", folder)
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)
