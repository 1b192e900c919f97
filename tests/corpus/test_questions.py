"""Question files: what is read, what is refused and why."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engrain.artifacts import documents, questions, skipped
from engrain.corpus.run import corpus
from engrain.corpus.settings import CorpusSettings, QuestionSettings
from engrain.errors import UserError
from engrain.progress import Silent
from engrain.store import Artifact

GOOD = {"question": "Who kept bees?", "answer": "Ada Wilmot"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "docs"
    (made / "people").mkdir(parents=True)
    (made / "people/ada.md").write_text("# Ada Wilmot\n\nAda Wilmot of Lorne  kept\nbees.")
    (made / "people/bo.md").write_text("# Bo Karst\n\nBo Karst of Lorne kept geese.")
    (made / "twin1.md").write_text("# Twins\n\nThe first of two texts of one title.")
    (made / "twin2.md").write_text("# Twins\n\nThe second of two texts of one title.")
    return made


def ask(folder: Path, tmp_path: Path, *rows: object, name: str = "questions.jsonl") -> Artifact:
    path = tmp_path / name
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    settings = CorpusSettings(paths=(folder,))
    return corpus(settings, QuestionSettings(path=path), tmp_path / "out", progress=Silent())


def reasons(artifact: Artifact) -> dict[str, str]:
    return {one.source: one.reason for one in skipped(artifact)}


@pytest.mark.parametrize(
    "name",
    ["people/ada.md", "ada.md", "ada", "Ada Wilmot", "ada  wilmot", "people-ada-md-838093f4"],
)
def test_a_document_is_found_by_source_file_name_stem_title_or_id(folder, tmp_path, name):
    artifact = ask(folder, tmp_path, GOOD | {"documents": [name]})
    ada = next(one for one in documents(artifact) if one.source == "people/ada.md")
    assert next(questions(artifact)).document_ids == (ada.id,)


def test_what_cannot_be_used_is_skipped_with_its_line_and_reason(folder, tmp_path):
    artifact = ask(
        folder,
        tmp_path,
        GOOD | {"id": "one"},
        GOOD | {"id": "one"},
        "{broken",
        ["a list"],
        {"question": "No answer?"},
        {"answer": "No question"},
        GOOD | {"id": "two", "documents": ["nobody.md"]},
        GOOD | {"id": "three", "documents": "Twins"},
        GOOD | {"id": "four", "options": ["Bo", "Cy"]},
        GOOD | {"id": "five", "options": ["Ada Wilmot", "Ada Wilmot"]},
        GOOD | {"id": "six", "options": ["Ada Wilmot"]},
        GOOD | {"id": "seven", "answer": {"text": "Ada"}},
        GOOD | {"id": "eight", "answer": True},
        GOOD | {"id": "nine", "options": ["Bo", "Cy"], "answer": "C"},
    )
    assert [one.id for one in questions(artifact)] == ["one"]
    assert reasons(artifact) == {
        "questions.jsonl#2": "duplicate_id",
        "questions.jsonl#3": "malformed",
        "questions.jsonl#4": "malformed",
        "questions.jsonl#5": "missing_field",
        "questions.jsonl#6": "missing_field",
        "questions.jsonl#7": "unknown_document",
        "questions.jsonl#8": "ambiguous_document",
        "questions.jsonl#9": "answer_not_an_option",
        "questions.jsonl#10": "malformed",
        "questions.jsonl#11": "malformed",
        "questions.jsonl#12": "malformed",
        "questions.jsonl#13": "malformed",
        "questions.jsonl#14": "answer_not_an_option",
    }
    assert sum(artifact.counts["skipped_questions"].values()) == 13
    assert artifact.counts["skipped_documents"] == {}


def test_all_fields_arrive_and_a_letter_names_its_option(folder, tmp_path):
    row = {
        "id": 7,
        "question": "Who  kept\u200b bees?",
        "answer": "b)",
        "options": ["Bo Karst", "Ada Wilmot", 1871],
        "aliases": "Ada",
        "documents": ["ada", "people/ada.md"],
        "evidence": ["Lorne kept bees."],
        "kind": "direct",
        "comment": "not a field",
    }
    artifact = ask(folder, tmp_path, row)
    (found,) = questions(artifact)
    assert (found.id, found.answer, found.options) == (
        "7",
        "Ada Wilmot",
        ("Bo Karst", "Ada Wilmot", "1871"),
    )
    assert (found.aliases, found.kind, len(found.document_ids)) == (("Ada",), "direct", 1)
    assert artifact.counts["evidence"] == {"verbatim": 1, "aligned": 0, "missing": 0}
    assert artifact.counts["unused_question_fields"] == ["comment"]


def test_a_list_of_answers_is_the_answer_and_its_aliases(folder, tmp_path):
    (found,) = questions(ask(folder, tmp_path, GOOD | {"answer": ["Ada Wilmot", "Ada", "Wilmot"]}))
    assert (found.answer, found.aliases) == ("Ada Wilmot", ("Ada", "Wilmot"))


def test_a_question_without_id_keeps_its_id_wherever_it_stands(folder, tmp_path):
    other = {"question": "Who kept geese?", "answer": "Bo"}
    first = {one.text: one.id for one in questions(ask(folder, tmp_path, GOOD, other))}
    second = {one.text: one.id for one in questions(ask(folder, tmp_path, other, GOOD))}
    assert first == second


def test_csv_and_parquet_hold_the_same_questions_as_jsonl(folder, tmp_path):
    row = GOOD | {"options": ["Ada Wilmot", "Bo, Karst"], "documents": ["ada"]}
    expected = list(questions(ask(folder, tmp_path, row)))
    cells = '"[""Ada Wilmot"", ""Bo, Karst""]"'
    lines = ("question,answer,options,documents", f"Who kept bees?,Ada Wilmot,{cells},ada")
    assert list(questions(ask(folder, tmp_path, *lines, name="q.csv"))) == expected
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "q.parquet")
    settings = QuestionSettings(path=tmp_path / "q.parquet")
    artifact = corpus(
        CorpusSettings(paths=(folder,)), settings, tmp_path / "out", progress=Silent()
    )
    assert list(questions(artifact)) == expected


def test_a_corpus_without_questions_has_an_empty_table(folder, tmp_path):
    artifact = corpus(CorpusSettings(paths=(folder,)), None, tmp_path / "o", progress=Silent())
    assert list(questions(artifact)) == []


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("missing.jsonl", None, "there is no file"),
        ("q.txt", "Who kept bees?", "is not a question file"),
        ("q.parquet", "not parquet", "cannot be read"),
        ("q.jsonl", "", "holds no question"),
        ("q.jsonl", '{"prompt": "Who?"}', "has no usable question (1 missing_field)"),
        ("q.jsonl", "\x00\x01\x02", "has no usable question (1 binary)"),
    ],
)
def test_a_wrong_question_file_is_one_sentence(folder, tmp_path, name, content, sentence):
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    settings = CorpusSettings(paths=(folder,))
    with pytest.raises(UserError) as raised:
        corpus(settings, QuestionSettings(path=path), tmp_path / "out", progress=Silent())
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)
