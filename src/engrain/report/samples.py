"""The browser of training texts: each with its document, its lineage and its prompt.

Reads the rows it shows and no others, so a million texts cost no more memory than a thousand.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from engrain.artifacts import KEPT, documents
from engrain.records import Document, SyntheticText
from engrain.report.browse import DRAW_SEED, Browser, Clip, Room, clip
from engrain.store import Artifact

# One row for each request of the synthesis, its prompt among them.
REQUESTS = "requests"

SHOWN = 400
_TEXT_BYTES = 1_000_000
_PROMPT_BYTES = 800_000
_DOCUMENT_BYTES = 700_000


def browse_samples(corpus: Artifact, synthetic: Artifact) -> Browser | None:
    """A random draw of the kept texts, of each method as many; None where none was kept."""
    files = {path.stem: path for path in sorted((synthetic.path / KEPT).glob("[!.]*.parquet"))}
    sizes = {method: pq.read_metadata(path).num_rows for method, path in files.items()}
    methods = [method for method in files if sizes[method]]
    if not methods:
        return None
    generator = random.Random(DRAW_SEED)
    each = SHOWN // len(methods)
    texts = _fitting([_draw(files[method], sizes[method], each, generator) for method in methods])
    wanted = {text.document_id for text in texts}
    sources = {document.id: document for document in documents(corpus) if document.id in wanted}
    shown = _documents(wanted, sources)
    return Browser(
        data={
            "items": [_item(text) for text in texts],
            "documents": shown,
            "prompts": _prompts(synthetic.path / REQUESTS, {text.request_id for text in texts}),
        },
        shown=len(texts),
        total=sum(sizes.values()),
        choices={
            "method": [(method, method) for method in sorted({text.method for text in texts})],
            "document": [(name, str(source["title"])) for name, source in shown.items()],
        },
        totals=sizes,
    )


def _draw(path: Path, rows: int, wanted: int, generator: random.Random) -> list[SyntheticText]:
    """`wanted` rows of a file in random order."""
    drawn = sorted(generator.sample(range(rows), min(wanted, rows)))
    names = [field.name for field in fields(SyntheticText)]
    found: list[SyntheticText] = []
    start = position = 0
    with pq.ParquetFile(path) as file:
        for chunk in file.iter_batches(columns=names):
            here = []
            while position < len(drawn) and drawn[position] < start + chunk.num_rows:
                here.append(drawn[position] - start)
                position += 1
            start += chunk.num_rows
            taken = chunk.take(pa.array(here, pa.int64())).to_pylist()
            found += [SyntheticText(**row) for row in taken]
    generator.shuffle(found)
    return found


def _fitting(chosen: Sequence[Sequence[SyntheticText]]) -> list[SyntheticText]:
    """As many texts as there is room for, the methods in turn."""
    found: list[SyntheticText] = []
    room = Room(_TEXT_BYTES)
    for turn in range(max(len(texts) for texts in chosen)):
        for texts in chosen:
            if turn < len(texts):
                if not room.take(_item(texts[turn])):
                    return found
                found.append(texts[turn])
    return found


def _item(text: SyntheticText) -> dict[str, Any]:
    return {
        "id": text.id,
        "document": text.document_id,
        "method": text.method,
        "question": clip(text.question, 1200, 0),
        "text": clip(text.text, 2500, 500),
        "strategy": text.strategy[:400],
        "focus": text.focus[:600],
        "request": text.request_id,
        "tokens": text.tokens,
    }


def _documents(
    wanted: set[str], sources: Mapping[str, Document]
) -> dict[str, dict[str, str | Clip | None]]:
    """The documents of the texts, in corpus order; their own texts as far as there is room."""
    room = Room(_DOCUMENT_BYTES)
    found: dict[str, dict[str, str | Clip | None]] = {}
    for name, source in sources.items():
        text = clip(source.text, 4000, 0)
        found[name] = {
            "title": source.title[:300],
            "source": source.source[:300],
            "text": text if room.take(text) else None,
        }
    for name in sorted(wanted - set(sources)):
        found[name] = {"title": name, "source": "", "text": None}
    return found


def _prompts(directory: Path, wanted: set[str]) -> dict[str, Clip]:
    """The prompts as far as there is room; the instruction stands last, so ends are kept too."""
    found: dict[str, Clip] = {}
    room = Room(_PROMPT_BYTES)
    for path in sorted(directory.glob("[!.]*.parquet")):
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                ids = file.read_row_group(group, ["request_id"])["request_id"].to_pylist()
                here = [row for row, name in enumerate(ids) if name in wanted and name not in found]
                if not here:
                    continue
                # Prompts are most of the file: they are decoded only where one is wanted.
                column = file.read_row_group(group, ["prompt"])["prompt"]
                for row, text in zip(here, column.take(here).to_pylist(), strict=True):
                    shown = clip(text, 1200, 1500)
                    if not room.take(shown):
                        return found
                    found[ids[row]] = shown
    return found
