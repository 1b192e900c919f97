"""`engrain ask`: talk to a trained student, closed-book or with passages from the run's corpus."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engrain.errors import RequestError, UserError

if TYPE_CHECKING:
    from engrain.backends.base import Backend, Request
    from engrain.recipe import Recipe
    from engrain.retrieve.chunks import Passage

EXAMPLE = 'Example: engrain ask runs/demo "Where was the lighthouse built?" --retrieve'

_Retriever = Callable[[str], "tuple[Passage, ...]"]


def ask(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder of a run, or one of its checkpoints.")
    ],
    question: Annotated[
        str | None,
        typer.Argument(
            metavar="QUESTION", help="The question; without one, questions are read from stdin."
        ),
    ] = None,
    retrieve: Annotated[
        bool,
        typer.Option("--retrieve", help="Put passages of the run's corpus before the question."),
    ] = False,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="LABEL", help="Which checkpoint, by its folder's name; the largest by default."
        ),
    ] = None,
    untrained: Annotated[
        bool, typer.Option("--untrained", help="Ask the student as it was before training.")
    ] = False,
) -> None:
    """Ask a trained student, closed-book or with retrieval."""
    # Late: recipes compose every stage's settings, and the reader loads torch.
    from engrain.backends.transformers import TransformersBackend
    from engrain.pipeline import RECIPE_FILE
    from engrain.recipe import load

    if question is not None and not question.strip():
        raise UserError(f"the question is {question!r}; write one, or leave it out to type some")
    run = folder if (folder / RECIPE_FILE).exists() else folder.parent.parent
    if not (run / RECIPE_FILE).exists():
        raise UserError(
            f"no run in {str(folder)!r} ({RECIPE_FILE} is missing); name the --out folder of a run"
        )
    recipe = load(run / RECIPE_FILE)
    if untrained:
        model = recipe.student.path
    else:
        model = str(folder if run != folder else _checkpoint(run, budget))
    passages = _retriever(run, recipe) if retrieve else None
    asyncio.run(_converse(TransformersBackend(model=model), recipe, question, passages))


def _checkpoint(run: Path, label: str | None) -> Path:
    from engrain.store import load

    finished = [path for path in (run / "checkpoint").glob("*") if load(path) is not None]
    if label is not None:
        finished = [path for path in finished if path.name == label]
    if not finished:
        which = f"checkpoint {label!r}" if label else "finished checkpoint"
        raise UserError(f"no {which} in {str(run)!r}; run: engrain train RECIPE --out {run}")
    return max(finished, key=lambda path: float(path.name))


def _retriever(run: Path, recipe: Recipe) -> _Retriever:
    from engrain.artifacts import documents
    from engrain.retrieve.chunks import passages
    from engrain.retrieve.lexical import LexicalIndex, contexts
    from engrain.store import load

    corpus = load(run / "corpus")
    if corpus is None:
        raise UserError(f"no corpus in {str(run)!r}; run: engrain corpus RECIPE --out {run}")
    settings = recipe.retrieval
    index = LexicalIndex(passages(documents(corpus), settings), title_header=settings.title_header)
    return lambda question: contexts(index, [question], settings)[0]


async def _converse(
    reader: Backend, recipe: Recipe, question: str | None, retrieve: _Retriever | None
) -> None:
    for asked in [question] if question is not None else _typed():
        passages = retrieve(asked) if retrieve is not None else ()
        for passage in passages:
            print(f"[{passage.title}] {' '.join(passage.text.split())[:100]}", file=sys.stderr)
        try:
            reply = await reader.complete(_request(recipe, asked, passages))
        except RequestError as error:
            raise UserError(f"ask: {error}") from error
        print(reply.text, flush=True)


def _request(recipe: Recipe, question: str, passages: tuple[Passage, ...]) -> Request:
    from engrain.backends.base import Request, Sampling
    from engrain.evaluate.prompts import prompt

    settings = recipe.evaluation
    sampling = Sampling(temperature=settings.temperature, max_tokens=settings.max_tokens)
    return Request(messages=prompt(question, passages=passages), sampling=sampling)


def _typed() -> Iterator[str]:
    """Questions from stdin, one a line, until an empty line or the end."""
    while True:
        if sys.stdin.isatty():
            print("? ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline().strip()
        if not line:
            return
        yield line
