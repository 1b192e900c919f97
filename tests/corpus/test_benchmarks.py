"""The benchmarks' own formats, small ones written here and the real files where they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engrain.artifacts import documents, questions, skipped
from engrain.corpus.run import corpus
from engrain.corpus.settings import CorpusSettings, QuestionSettings
from engrain.errors import UserError
from engrain.progress import Silent
from engrain.store import Artifact

STORY = "Korvin sat in a cell of the planet Tr'en and learned its language."


def read(out: Path, path: Path, kind: str) -> Artifact:
    settings = CorpusSettings.model_validate({"paths": [path], "format": kind})
    return corpus(settings, None, out, progress=Silent())


def story(name: str, text: str, **fields: object) -> dict[str, object]:
    question = {"id": f"{name}_q0", "question": f"Who, {name}?", "options": ["Bo", "Cy"], "gold": 1}
    return {
        "doc_id": name,
        "title": name.title(),
        "article": text,
        "questions": [question],
        **fields,
    }


def test_quality_keeps_its_ids_and_counts_gold_from_zero(tmp_path):
    bad = story("c", STORY + " C.")
    bad["questions"] = [{"id": "c_q0", "question": "?", "options": ["A"], "gold": 1}, "no question"]
    rows = [story("a", STORY), story("b", STORY + " B."), bad, {"doc_id": "d"}]
    path = tmp_path / "quality.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    artifact = read(tmp_path / "out", path, "quality")
    assert [(one.id, one.title) for one in documents(artifact)] == [
        ("a", "A"),
        ("b", "B"),
        ("c", "C"),
    ]
    found = [(one.id, one.answer, one.document_ids) for one in questions(artifact)]
    assert found == [("a_q0", "Cy", ("a",)), ("b_q0", "Cy", ("b",))]
    assert [one.reason for one in skipped(artifact)] == [
        "malformed",
        "answer_not_an_option",
        "malformed",
    ]


@pytest.mark.parametrize("reverse", [False, True])
def test_a_story_that_is_marked_as_another_is_kept_once_with_all_questions(tmp_path, reverse):
    rows = [story("a", STORY), story("b", STORY.upper(), same_as="a")]
    path = tmp_path / "quality.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in (rows[::-1] if reverse else rows)))
    artifact = read(tmp_path / "out", path, "quality")
    (kept,) = documents(artifact)
    assert [one.document_ids for one in questions(artifact)] == [(kept.id,)] * 2


def test_financebench_joins_filings_and_questions_by_name(tmp_path, pdf):
    (tmp_path / "fb/pdfs").mkdir(parents=True)
    text = "Revenue of the year was 17,606 millions of dollars in all"
    (tmp_path / "fb/pdfs/ACME_2022_10K.pdf").write_bytes(
        pdf(["Front", text], title="000-1", password="")
    )
    row = {
        "financebench_id": "f1",
        "doc_name": "ACME_2022_10K",
        "question": "What was revenue?",
        "answer": "$17,606",
        "question_type": "metrics",
        "evidence": [{"evidence_text": text, "doc_name": "ACME_2022_10K", "evidence_page_num": 1}],
    }
    (tmp_path / "fb/open.jsonl").write_text(json.dumps(row))
    (tmp_path / "fb/information.jsonl").write_text('{"doc_name": "ACME_2022_10K"}')
    artifact = read(tmp_path / "out", tmp_path / "fb", "financebench")
    (document,) = documents(artifact)
    (question,) = questions(artifact)
    assert document.title == "ACME 2022 10K"
    assert (question.id, question.kind, question.document_ids) == ("f1", "metrics", (document.id,))
    assert artifact.counts["evidence"] == {"verbatim": 1, "aligned": 0, "missing": 0}
    assert artifact.counts["skipped_documents"] == {}


def test_a_benchmark_with_other_questions_is_one_sentence(tmp_path):
    settings = CorpusSettings(paths=(tmp_path,), format="quality")
    with pytest.raises(UserError, match="brings its own questions"):
        corpus(settings, QuestionSettings(path=tmp_path / "q.jsonl"), tmp_path, progress=Silent())


@pytest.mark.parametrize(("name", "stories", "asked"), [("mc4", 9, 124), ("mc2", 32, 54)])
def test_real_quality_is_complete_and_its_gold_options_are_right(
    data, tmp_path, name, stories, asked
):
    path = data / f"quality/quality_{name}.jsonl"
    artifact = read(tmp_path / "out", path, "quality")
    assert artifact.counts["documents"] == stories
    gold = {
        question["id"]: question["options"][question["gold"]].split()
        for line in path.read_text().splitlines()
        for question in json.loads(line)["questions"]
    }
    found = {one.id: one.answer.split() for one in questions(artifact)}
    assert len(found) == asked
    assert found == gold
    assert not list(skipped(artifact))


def test_real_quality_keeps_stories_that_are_in_both_files_once(data, tmp_path):
    artifact = read(tmp_path / "out", data / "quality", "quality")
    assert artifact.counts["documents"] == 9 + 32 - 7
    assert artifact.counts["questions"] == 124 + 54


@pytest.mark.slow
def test_real_financebench_opens_every_filing_and_finds_all_evidence(data, tmp_path):
    artifact = read(tmp_path / "out", data / "financebench", "financebench")
    assert artifact.counts["documents"] == 16
    assert artifact.counts["questions"] == 50
    assert artifact.counts["skipped_documents"] == {}
    evidence = artifact.counts["evidence"]
    assert (sum(evidence.values()), evidence["missing"]) == (57, 0)
    assert all(len(one.text) > 15_000 for one in documents(artifact))


def test_a_real_encrypted_filing_opens_without_asking(data, tmp_path):
    path = data / "financebench/pdfs/BESTBUY_2024Q2_10Q.pdf"
    (document,) = documents(read(tmp_path / "out", path, "files"))
    assert document.title == "BESTBUY 2024Q2 10Q"  # the PDF's own title is a filing number
    assert "non-GAAP" in document.text
