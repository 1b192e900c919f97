"""A small corpus, and a generator that writes something different for every request."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from engrain.backends.base import Reply, Request, Usage
from engrain.backends.scripted import ScriptedBackend
from engrain.progress import Silent
from engrain.records import Document, Question
from engrain.store import Artifact, run_stage, write_rows
from engrain.synthesize import SynthesisSettings
from engrain.synthesize.base import Asked
from engrain.synthesize.run import synthesize
from engrain.synthesize.trace import requests
from engrain.testbed.world import build

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
