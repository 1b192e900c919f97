"""The stage: files become `documents.parquet`, `questions.parquet` and `skipped.parquet`.

Nothing that a file or row can be stops the run: what gives no document or question is in
`skipped.parquet`, with its reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engrain import artifacts
from engrain.artifacts import Skipped
from engrain.corpus.benchmarks import financebench, quality
from engrain.corpus.draft import Reader
from engrain.corpus.evidence import align
from engrain.corpus.files import READERS, File, contents, drafts, walk
from engrain.corpus.questions import parse, question_rows
from engrain.corpus.settings import CorpusSettings, Format, QuestionSettings
from engrain.corpus.shelf import Shelf
from engrain.corpus.tables import NumberedRow
from engrain.errors import UserError
from engrain.progress import Bar, Progress
from engrain.records import Document, Question
from engrain.store import Artifact, read_rows, run_stage, write_rows

# A filing is half a megabyte of text: a batch of them stays in memory until it is written.
_BATCH = 256
_NAMED = 3


@dataclass(frozen=True, slots=True)
class _Benchmark:
    """How a format that brings its own questions is read."""

    readers: Mapping[str, Reader]
    questions: Callable[[Path], Iterator[NumberedRow]]


_BENCHMARKS: dict[Format, _Benchmark] = {
    "quality": _Benchmark({quality.SUFFIX: quality.documents}, quality.questions),
    "financebench": _Benchmark(
        {financebench.SUFFIX: financebench.documents}, financebench.questions
    ),
}

_QuestionFiles = Sequence[tuple[str, Callable[[], Iterator[NumberedRow]]]]


def corpus(
    settings: CorpusSettings, questions: QuestionSettings | None, out: Path, *, progress: Progress
) -> Artifact:
    """Read documents and evaluation questions into `out`.

    The fingerprint depends on the files' relative names and bytes, not on where they lie.
    `counts["documents_fingerprint"]` depends on the documents alone, for stages that see no
    questions. Raises UserError where there is nothing to read, where nothing can be read, or where
    a question file has no usable question.
    """
    if settings.format != "files" and questions is not None:
        raise UserError(
            f"corpus: format {settings.format!r} brings its own questions; "
            "remove 'questions' from the recipe"
        )
    files, unread = walk(settings.paths, exclude=(questions.path,) if questions else ())
    readers, texts, asked = _plan(settings, questions, files)
    inputs = {"documents": contents(files)}
    if questions is not None:
        next(question_rows(questions.path), None)  # says now what is wrong with it as a file
        inputs["questions"] = contents([File(questions.path, "questions" + questions.path.suffix)])
    return run_stage(
        out,
        stage="corpus",
        settings=settings.identity(),
        inputs=inputs,
        build=lambda directory: _build(
            directory, settings, texts, unread, readers, asked, progress
        ),
        say=progress.say,
    )


def _plan(
    settings: CorpusSettings, questions: QuestionSettings | None, files: Sequence[File]
) -> tuple[Mapping[str, Reader], Sequence[File], _QuestionFiles]:
    """How documents are read, from which of the files, and from which come the questions."""
    if settings.format == "files":
        path = questions.path if questions else None
        return READERS, files, [(path.name, lambda: question_rows(path))] if path else []
    benchmark = _BENCHMARKS[settings.format]
    tables = [file for file in files if file.path.suffix.lower() == ".jsonl"]
    asked = [(file.source, _rows_of(benchmark, file)) for file in tables]
    if ".jsonl" in benchmark.readers:
        return benchmark.readers, files, asked
    return benchmark.readers, [file for file in files if file not in tables], asked


def _rows_of(benchmark: _Benchmark, file: File) -> Callable[[], Iterator[NumberedRow]]:
    return lambda: benchmark.questions(file.path)


def _build(
    directory: Path,
    settings: CorpusSettings,
    files: Sequence[File],
    unread: Sequence[Skipped],
    readers: Mapping[str, Reader],
    asked: _QuestionFiles,
    progress: Progress,
) -> Mapping[str, Any]:
    skipped = list(unread)
    shelf = Shelf(settings.min_characters)
    with progress.bar("reading documents", len(files), "files") as bar:
        found = _documents(files, readers, settings, shelf, skipped, bar)
        count = write_rows(directory / artifacts.DOCUMENTS, Document, found, batch=_BATCH)
    if not count:
        write_rows(directory / artifacts.SKIPPED, Skipped, skipped)
        raise UserError(_nothing(len(files), skipped))
    lost = len(skipped)
    unused: Counter[str] = Counter()
    questions = list(_questions(asked, shelf, skipped, unused))
    questions, evidence = align(questions, read_rows(directory / artifacts.DOCUMENTS, Document))
    write_rows(directory / artifacts.QUESTIONS, Question, questions)
    write_rows(directory / artifacts.SKIPPED, Skipped, skipped)
    if asked and not questions and settings.format == "files":
        raise UserError(_no_question(asked[0][0], skipped[lost:]))
    counts = {
        "documents": count,
        "characters": shelf.characters,
        artifacts.DOCUMENTS_FINGERPRINT: shelf.fingerprint(),
        "questions": len(questions),
        "evidence": evidence,
        "skipped_documents": _reasons(skipped[:lost]),
        "skipped_questions": _reasons(skipped[lost:]),
        "encodings": dict(sorted(shelf.encodings.items())),
        "unused_question_fields": sorted(unused),
    }
    for line in _summary(counts, shelf.reencoded):
        progress.say(line)
    return counts


def _documents(
    files: Sequence[File],
    readers: Mapping[str, Reader],
    settings: CorpusSettings,
    shelf: Shelf,
    skipped: list[Skipped],
    bar: Bar,
) -> Iterator[Document]:
    for file in files:
        for draft in drafts(file, readers, settings):
            taken = draft if isinstance(draft, Skipped) else shelf.take(draft)
            if isinstance(taken, Skipped):
                skipped.append(taken)
            else:
                yield taken
        bar.advance()


def _questions(
    asked: _QuestionFiles, shelf: Shelf, skipped: list[Skipped], unused: Counter[str]
) -> Iterator[Question]:
    for source, rows in asked:
        for found in parse(source, rows(), shelf.names, unused):
            if isinstance(found, Skipped):
                skipped.append(found)
            else:
                yield found


def _reasons(skipped: Iterable[Skipped]) -> dict[str, int]:
    """Reasons with their counts, the commonest first."""
    return dict(
        sorted(Counter(one.reason for one in skipped).items(), key=lambda item: (-item[1], item[0]))
    )


def _listed(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())


def _nothing(files: int, skipped: Sequence[Skipped]) -> str:
    return f"corpus: no document could be read from {files} file{'s' * (files != 1)}{_why(skipped)}"


def _no_question(name: str, skipped: Sequence[Skipped]) -> str:
    if not skipped:
        return f"questions: {name!r} holds no question; give one a row or remove 'questions'"
    return f"questions: {name!r} has no usable question{_why(skipped)}"


def _why(skipped: Sequence[Skipped]) -> str:
    """The reasons, and one example in full."""
    if not skipped:
        return "; see the format that corpus.format names"
    example = skipped[0]
    return f" ({_listed(_reasons(skipped))}), for example {example.source!r}: {example.detail}"


def _summary(counts: Mapping[str, Any], reencoded: Sequence[str]) -> Iterator[str]:
    made = ("documents", "characters", "questions")
    yield "corpus: " + ", ".join(f"{counts[name]:,} {name}" for name in made)
    for kind, name in (("files or rows", "skipped_documents"), ("questions", "skipped_questions")):
        if reasons := counts[name]:
            total = f"{sum(reasons.values()):,} {kind} skipped"
            yield f"corpus: {total} ({_listed(reasons)}); {artifacts.SKIPPED} names each"
    if reencoded:
        names = ", ".join(reencoded[:_NAMED]) + (", ..." if len(reencoded) > _NAMED else "")
        others = {name: count for name, count in counts["encodings"].items() if name != "utf-8"}
        yield f"corpus: not UTF-8 and read otherwise ({_listed(others)}): {names}"
    if missing := counts["evidence"]["missing"]:
        yield (
            f"corpus: {missing:,} evidence texts stand in no document of their question, "
            "so retrieval cannot find them"
        )
    if fields := counts["unused_question_fields"]:
        yield f"corpus: question fields that are not used: {', '.join(fields)}"
