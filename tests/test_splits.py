"""What is held out, streamed: two sides of a split, as artifacts."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path

from engrain import splits
from engrain.artifacts import DOCUMENTS, KEPT, QUESTIONS, texts
from engrain.records import Document, Question, SyntheticText
from engrain.store import Artifact, fingerprint, read_rows, run_stage, write_rows


def written(folder: Path, pairs: int) -> tuple[Artifact, Artifact]:
    """A corpus of ten documents without questions, and synthetic texts about it by two methods."""
    rows = [
        SyntheticText(
            id=fingerprint([method, number]),
            document_id=f"d{number % 10}",
            kind="qa" if method == "qa" else "document",
            method=method,
            text=f"Baker {number} was born in Oslo. " * 3,
            question=f"Where was baker {number} born?" if method == "qa" else "",
            answer="Oslo" if method == "qa" else "",
            focus="" if method == "qa" else f"Where was baker {number} born?",
            request_id="r",
            tokens=10,
        )
        for method in ("rewrite", "qa")
        for number in range(pairs)
    ]

    def corpus(out: Path) -> dict[str, int]:
        documents = [
            Document(id=f"d{n}", title=f"Story {n}", source=f"{n}.txt", text="Oslo.", sha256="")
            for n in range(10)
        ]
        write_rows(out / DOCUMENTS, Document, documents)
        write_rows(out / QUESTIONS, Question, [])
        return {"questions": 0}

    def synthetic(out: Path) -> dict[str, int]:
        for method in ("rewrite", "qa"):
            own = [row for row in rows if row.method == method]
            write_rows(out / KEPT / f"{method}.parquet", SyntheticText, own)
        return {}

    def make(stage: str, build: Callable[[Path], dict[str, int]]) -> Artifact:
        return run_stage(
            folder / stage, stage=stage, settings={}, inputs={}, build=build, say=lambda line: None
        )

    return make("corpus", corpus), make("synthesize", synthetic)


HELD_OUT = {"share": 0.2, "at_most": 30, "seed": 1}


def test_what_is_held_out_and_what_is_left_is_what_it_always_was(tmp_path):
    corpus, synthetic = written(tmp_path, 400)
    out = tmp_path / "held_out"
    stale = out / KEPT / "spa.parquet"
    write_rows(stale, SyntheticText, list(texts(synthetic))[:1])
    counts = splits.split(corpus, synthetic, out, HELD_OUT)
    assert not stale.exists()
    held = list(read_rows(out / QUESTIONS, Question))
    assert (counts["questions"], counts["texts"], counts["left_out"]) == (30, 740, 60)
    assert counts["texts_fingerprint"] == "54604a1cb26b5700"
    assert fingerprint([fingerprint(question) for question in held]) == "1d6027b771430a6e"


def test_no_more_than_some_texts_are_held_at_a_time_when_questions_are_held_out(
    tmp_path, monkeypatch
):
    corpus, synthetic = written(tmp_path, 3000)
    alive = []

    def there() -> int:
        return sum(type(each) is SyntheticText for each in gc.get_objects())

    def watched(artifact: Artifact) -> Iterator[SyntheticText]:
        for number, text in enumerate(texts(artifact)):
            yield text
            if number % 1000 == 999:
                alive.append(there())

    before = there()
    monkeypatch.setattr(splits, "texts", watched)
    splits.split(corpus, synthetic, tmp_path / "held_out", HELD_OUT)
    assert len(alive) >= 12
    assert max(alive) <= before + 10
