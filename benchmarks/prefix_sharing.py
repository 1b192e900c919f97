"""How much of a stage's prompts a server's prefix cache can serve: a radix count, in their order.

Counts, for every document method, the tokens that a block-wise prefix cache (as vLLM's, 16 tokens a
block, least recently used blocks dropped first) would find, in the order in which the stage asks;
beside it the same prompts shuffled, and with the document after the instruction. Caches of several
sizes, because a real one holds what the GPU's memory leaves. Then the same over HTTP: what the
testbed's server reports as `cached_tokens`. Usage: make bench NAME=prefix_sharing
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random

from recording import Figure, report

from engrain import artifacts
from engrain.backends.base import Message, Request, Sampling
from engrain.backends.openai import openai_backend
from engrain.backends.pool import Pool
from engrain.progress import Silent
from engrain.records import Document, Question
from engrain.store import Artifact, run_stage, write_rows
from engrain.synthesize import SynthesisSettings
from engrain.synthesize.prompts import DOCUMENT_END
from engrain.synthesize.run import synthesize
from engrain.synthesize.trace import requests
from engrain.testbed.server import Faults, serving
from engrain.testbed.world import build
from engrain.testbed.writer import Writer

BLOCK = 64
"""Characters: 16 tokens of four."""
DOCUMENTS = 10
WINDOW_DOCUMENTS = 12
"""Of the world's documents make one of a size that real ones have: some 1,500 tokens."""
BUDGET = 400_000
IN_FLIGHT = 64
SMALL, LARGE = 8_000, 1_000_000
"""Tokens that the cache holds: a fifth of the corpus, and all of it."""


def main() -> int:
    """Measure every method and the two other orders."""
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as scratch:
        corpus = _corpus(Path(scratch) / "corpus")
        for method in ("rewrite", "entigraph", "active_reading", "spa"):
            prompts = _prompts(corpus, method, Path(scratch) / method)
            n = len(prompts)
            for name, ordered in _orders(prompts):
                for size in (SMALL, LARGE):
                    figures.append(
                        Figure(
                            name=f"{method}, {name}, cache of {size:,} tokens",
                            value=shared(ordered, size // 16),
                            unit="share of prompt tokens",
                            n=n,
                        )
                    )
        figures.append(_reported(corpus, Path(scratch)))
    return report("prefix_sharing", figures)


def shared(prompts: Iterable[str], blocks: int) -> float:
    """Share of the prompts' characters that a cache of so many blocks holds when they come."""
    cache: OrderedDict[bytes, None] = OrderedDict()
    found = total = 0
    for prompt in prompts:
        total += len(prompt)
        key, hit = b"", True
        for start in range(0, len(prompt) - BLOCK + 1, BLOCK):
            # A block is known by all that stands before it, too.
            key = hashlib.blake2b(key + prompt[start : start + BLOCK].encode()).digest()
            hit = hit and key in cache
            found += BLOCK * hit
            cache[key] = None
            cache.move_to_end(key)
        while len(cache) > blocks:
            cache.popitem(last=False)
    return found / total


def _orders(prompts: Sequence[str]) -> list[tuple[str, list[str]]]:
    shuffled = Random(0).sample(list(prompts), len(prompts))
    last = [_document_last(prompt) for prompt in prompts]
    return [("as asked", list(prompts)), ("shuffled", shuffled), ("document last", last)]


def _document_last(prompt: str) -> str:
    document, end, task = prompt.partition(DOCUMENT_END)
    return f"{task}\n\n{document}{end}"


def _corpus(folder: Path) -> Artifact:
    world = build(seed=5, split="target", documents=DOCUMENTS * WINDOW_DOCUMENTS)
    rows = []
    for number in range(DOCUMENTS):
        part = world.documents[number * WINDOW_DOCUMENTS : (number + 1) * WINDOW_DOCUMENTS]
        text = "\n\n".join(document.text for document in part)
        rows.append(Document(id=f"d{number}", title=part[0].title, source="", text=text, sha256=""))

    def write(out: Path) -> dict[str, int]:
        write_rows(out / artifacts.DOCUMENTS, Document, rows)
        write_rows(out / artifacts.QUESTIONS, Question, [])
        return {}

    return run_stage(
        folder, stage="corpus", settings={}, inputs={}, build=write, say=lambda line: None
    )


def _prompts(corpus: Artifact, method: str, out: Path) -> list[str]:
    """The prompts of a whole stage, in the order in which they were asked."""
    settings = SynthesisSettings.model_validate(
        {"documents": {"method": method}, "budget": {"tokens": BUDGET}}
    )
    made = synthesize(
        corpus, Writer(), settings, out, seed=0, concurrency=IN_FLIGHT, progress=Silent()
    )
    return [asked.prompt for asked in requests(made)]


def _reported(corpus: Artifact, scratch: Path) -> Figure:
    """What a server says over HTTP: the testbed's, which simulates such a cache."""
    prompts = _prompts(corpus, "active_reading", scratch / "active_reading")
    with serving(Writer(), Faults()) as url:
        backend = openai_backend(model=Writer().model, base_url=url)
        usages = asyncio.run(_usages(backend, prompts))
    cached = sum(cached for cached, _ in usages)
    return Figure(
        name="active_reading, cached_tokens of the testbed's server",
        value=cached / sum(prompt for _, prompt in usages),
        unit="share of prompt tokens",
        n=len(usages),
    )


async def _usages(backend: Pool, prompts: Sequence[str]) -> list[tuple[int, int]]:
    found = []
    for prompt in prompts:
        request = Request(messages=(Message("user", prompt),), sampling=Sampling(max_tokens=1))
        usage = (await backend.complete(request)).usage
        found.append((usage.cached_prompt_tokens, usage.prompt_tokens))
    await backend.aclose()
    return found


if __name__ == "__main__":
    raise SystemExit(main())
