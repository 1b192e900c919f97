"""What the screen finds in real documents, and what looking costs.

Documents are those of the folder ENGRAIN_DATA: stories, encyclopaedia, books, and financial
reports as the corpus stage reads them. The findings themselves are printed, to be looked at; the
result has their counts. Usage: ENGRAIN_DATA=folder make bench NAME=screen
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

from recording import Figure, report

from engrain.artifacts import documents
from engrain.corpus.run import corpus
from engrain.corpus.settings import CorpusSettings
from engrain.progress import Silent
from engrain.synthesize.screen.run import Searcher
from engrain.synthesize.settings import ScreenKind, ScreenSettings

REGIONS = ("US", "GB", "DE")


def main() -> int:
    """Count and time, collection by collection."""
    data = os.environ.get("ENGRAIN_DATA")
    if data is None:
        print("set ENGRAIN_DATA to the folder of real documents", file=sys.stderr)
        return 2
    figures = []
    for name, texts in collections(Path(data)).items():
        figures += counted(name, texts())
    return report("screen", figures)


def collections(data: Path) -> dict[str, Callable[[], list[str]]]:
    """The texts of each collection."""
    return {
        "QuALITY": lambda: lines(data / "quality" / "quality_mc4.jsonl", "article"),
        "SQuAD": lambda: lines(data / "squad" / "squad_val.jsonl", "context"),
        "SQuALITY": lambda: lines(data / "squality" / "squality_dev.jsonl", "document"),
        "books": lambda: read(data / "replay" / "books"),
        "FinanceBench": lambda: read(data / "financebench" / "pdfs"),
    }


def lines(path: Path, field: str) -> list[str]:
    """One field of a file of JSON lines, each text once."""
    rows = path.read_text(encoding="utf-8").splitlines()
    return list(dict.fromkeys(json.loads(row)[field] for row in rows))


def read(folder: Path) -> list[str]:
    """A folder as the corpus stage reads it."""
    with tempfile.TemporaryDirectory() as scratch:
        settings = CorpusSettings(paths=(str(folder),))
        made = corpus(settings, None, Path(scratch) / "corpus", progress=Silent())
        return [document.text for document in documents(made)]


def counted(name: str, texts: Sequence[str]) -> list[Figure]:
    """Findings of each kind, of telephone numbers by region too, and the time of all kinds."""
    characters = sum(map(len, texts))
    started = time.process_time()
    found = search(texts, ScreenSettings())
    seconds = time.process_time() - started
    kinds = Counter(kind for kind, _ in found)
    print(f"{name}: {sorted(set(found))}")
    figures = [
        Figure(name=f"{kind}, {name}", value=kinds[kind], unit="findings", n=len(texts))
        for kind in get_args(ScreenKind)
    ]
    for region in REGIONS:
        dialled = search(texts, ScreenSettings(find=("phone",), phone_regions=(region,)))
        print(f"{name}, phone in {region}: {sorted(set(dialled))}")
        figures.append(
            Figure(
                name=f"phone in {region}, {name}",
                value=len(dialled),
                unit="findings",
                n=len(texts),
            )
        )
    speed = seconds / characters * 10_000_000
    figures.append(
        Figure(
            name=f"CPU time of 10M characters, {name}", value=speed, unit="seconds", n=len(texts)
        )
    )
    return figures


def search(texts: Sequence[str], settings: ScreenSettings) -> list[tuple[str, str]]:
    """Kind and text of all that is found."""
    searcher = Searcher(settings)
    return [
        (place.kind, text[place.start : place.end])
        for text in texts
        for place in searcher.places(text)
    ]


if __name__ == "__main__":
    raise SystemExit(main())
