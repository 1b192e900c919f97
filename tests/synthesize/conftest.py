"""A small corpus, and a generator that writes something different for every request."""

from __future__ import annotations

import hashlib
import json
import random
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from engrain import artifacts
from engrain.backends.base import Reply, Request, Usage
from engrain.backends.scripted import ScriptedBackend
from engrain.corpus.run import corpus as read_corpus
from engrain.corpus.settings import CorpusSettings
from engrain.progress import Silent
from engrain.records import Document, Question
from engrain.store import Artifact, run_stage, write_rows
from engrain.synthesize import SynthesisSettings
from engrain.synthesize.base import Asked
from engrain.synthesize.run import synthesize
from engrain.synthesize.trace import requests, trace
from engrain.synthesize.windows import windows
from engrain.testbed.world import build

PREPARATIONS = {"strategies", "entities"}
WORDS = [f"word{number}" for number in range(500)]


def words(generator: random.Random, count: int) -> str:
    return " ".join(generator.choices(WORDS, k=count))


def write(request: Request) -> Reply:
    """What an obedient generator would write: the same for the same request, else different."""
    prompt = request.messages[0].content
    generator = random.Random(hashlib.sha256(f"{prompt}{request.sample}".encode()).hexdigest())
    (task,) = re.findall(r"^</document>\n\nTask: (.*)$", prompt, re.MULTILINE)
    if task == "question-answer pairs":
        rows = [
            {
                "question": f"Where is {words(generator, 4)}?",
                "explanation": f"{words(generator, 9)} there",
                "answer": "there",
            }
            for _ in range(8)
        ]
        text = f"Here are the pairs:\n\n{json.dumps(rows)}"
    elif task == "study strategies":
        text = "\n".join(f"## {words(generator, 5)}" for _ in range(6))
    else:
        text = words(generator, 60)
    usage = Usage(prompt_tokens=len(prompt) // 4, completion_tokens=len(text) // 4)
    return Reply(text=text, finish_reason="stop", usage=usage)


@pytest.fixture
def writer() -> ScriptedBackend:
    return ScriptedBackend(write)


@pytest.fixture
def make_corpus(tmp_path: Path) -> Callable[..., Artifact]:
    """Makes a corpus of so many documents, the first ones always the same, with evaluation
    questions."""

    def make(
        documents: int = 6, questions: Sequence[str] = (), text: str | None = None
    ) -> Artifact:
        generator = random.Random(0)
        rows = [
            Document(
                id=f"d{number}",
                title=f"Story {number}",
                source=f"{number}.txt",
                text=text or words(generator, 60 + 20 * number),
                sha256="",
            )
            for number in range(documents)
        ]
        asked = [
            Question(id=f"q{number}", text=question, answer="there")
            for number, question in enumerate(questions)
        ]

        def build(folder: Path) -> dict[str, int]:
            write_rows(folder / "documents.parquet", Document, rows)
            write_rows(folder / "questions.parquet", Question, asked)
            return {}

        return run_stage(
            tmp_path / "corpus",
            stage="corpus",
            settings={"documents": documents, "questions": list(questions), "text": text},
            inputs={},
            build=build,
            say=lambda line: None,
        )

    return make


@pytest.fixture
def library(tmp_path: Path) -> Artifact:
    """Twelve documents of the testbed's world, with an evaluation question."""
    world = build(seed=1, split="target", documents=12)
    rows = [
        Document(id=f"d{n}", title=made.title, source="s", text=made.text, sha256="")
        for n, made in enumerate(world.documents)
    ]
    asked = [Question(id="q", text="What did nobody ever ask about the moon?", answer="cheese")]

    def write(folder: Path) -> dict[str, int]:
        write_rows(folder / "documents.parquet", Document, rows)
        write_rows(folder / "questions.parquet", Question, asked)
        return {}

    return run_stage(
        tmp_path / "corpus", stage="corpus", settings={}, inputs={}, build=write,
        say=lambda line: None,
    )  # fmt: skip


class Judging:
    """What tests of the judges do again and again."""

    @staticmethod
    def settings(judge: object, *, tokens: int = 20_000, **others: object) -> SynthesisSettings:
        """Settings with these judges; `budget` adds to its tokens."""
        budget = {"tokens": tokens, **others.pop("budget", {})}  # type: ignore[dict-item]
        return SynthesisSettings.model_validate({"budget": budget, "judge": judge, **others})

    @staticmethod
    def make(
        corpus: Artifact, backend: object, out: Path, wanted: SynthesisSettings, **given: object
    ) -> Artifact:
        """Write and judge."""
        arguments = {"seed": 0, "concurrency": 4, "progress": Silent(), **given}
        return synthesize(corpus, backend, wanted, out, **arguments)  # type: ignore[arg-type]

    @staticmethod
    def found(made: Artifact) -> dict[str, dict[str, Any]]:
        """What `judged.json` holds."""
        found: dict[str, dict[str, Any]] = json.loads((made.path / "judged.json").read_text())
        return found

    @staticmethod
    def asked(made: Artifact, name: str) -> list[Asked]:
        """The requests of a judge."""
        return [row for row in requests(made) if row.method == name]


@pytest.fixture
def judging() -> type[Judging]:
    """Settings, synthesis and results of the judges: `judging.make(...)`."""
    return Judging


def _check(made: Artifact, corpus: Artifact) -> None:
    asked = {row.request_id: row for row in requests(made)}
    failed = {key for key, row in asked.items() if row.failure}
    assert (len(asked), len(failed)) == (made.counts["requests"], made.counts["failures"])
    usage = json.loads((made.path / "usage.json").read_text())
    for field in ("prompt_tokens", "completion_tokens", "cached_prompt_tokens"):
        assert usage[field] == sum(getattr(row, field) for row in asked.values())
    kept, rejected = list(artifacts.texts(made)), list(artifacts.rejected(made))
    assert usage["kept_tokens"] == sum(text.tokens for text in kept)
    assert Counter(row.reason for row in rejected) == made.counts["rejected"]
    assert {row.request_id for row in rejected if row.reason == "failed"} == failed
    ended = {text.request_id for text in kept} | {row.request_id for row in rejected}
    assert ended <= asked.keys()
    assert {row.method for key, row in asked.items() if key not in ended} <= PREPARATIONS
    questions = defaultdict(set)
    for text in kept:
        questions[text.document_id].add(text.question)
    documents = {document.id: document for document in artifacts.documents(corpus)}
    cut = windows(documents.values(), made.settings["window"])
    begins = {(window.document_id, window.number): window.text[:30] for window in cut}
    assert {row.document_id for row in asked.values()} == documents.keys()
    for text in kept:
        origin = asked[text.request_id]
        assert (text.document_id, text.method) == (origin.document_id, origin.method)
        assert (text.strategy, text.focus) == (origin.strategy, origin.focus)
        assert documents[text.document_id].title[:20] in origin.prompt
        assert begins[text.document_id, origin.window] in origin.prompt
        assert text.focus in questions[text.document_id] | {""}
        if text.kind == "document":
            assert text.focus in origin.prompt
    for last in {text.method: text for text in kept}.values():
        traced = trace(made, last.id)
        assert (traced.text, traced.asked) == (last, asked[last.request_id])
        assert (traced.model, traced.seed) == (usage["model"], made.settings["seed"])
        assert traced.sampling["temperature"] == (1.0 if last.kind == "qa" else 0.7)


@pytest.fixture(scope="session")
def check() -> Callable[[Artifact, Artifact], None]:
    """Checks, of a synthesis and its corpus, that every request is accounted for, and that every
    text leads back to what it was made from."""
    return _check


@pytest.fixture(scope="session")
def real_corpus(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Eight stories of QuALITY, ten articles of SQuAD, two filings of FinanceBench."""
    folder = tmp_path_factory.mktemp("real")
    stories: dict[str, str] = {}
    articles: dict[str, dict[str, bool]] = defaultdict(dict)
    for line in (data / "quality" / "quality_mc4.jsonl").read_text().splitlines():
        row = json.loads(line)
        stories[row["doc_id"]] = row["article"][:12_000]
    for line in (data / "squad" / "squad_val.jsonl").read_text().splitlines():
        row = json.loads(line)
        articles[row["title"]][row["context"]] = True
    texts = list(stories.values())[:8] + ["\n\n".join(a) for a in list(articles.values())[:10]]
    (folder / "documents").mkdir()
    for number, text in enumerate(texts):
        (folder / "documents" / f"text {number}.txt").write_text(text[:12_000])
    for name in ("JOHNSON_JOHNSON_2023_8K_dated-2023-08-30", "ULTABEAUTY_2023Q4_EARNINGS"):
        shutil.copy(data / "financebench" / "pdfs" / f"{name}.pdf", folder / "documents")
    settings = CorpusSettings(paths=(folder / "documents",))
    return read_corpus(settings, None, folder / "corpus", progress=Silent())
