"""A synthesis of a million requests: its peak memory, requests a second, bytes on disk.

The whole stage runs, from planning to the published files, with a generator in the same process
that answers at once, about 5,000 documents of one window each. Then it runs again from its ledger
alone. Each run is a process of its own, and its memory is all of it, interpreter and libraries
included. Near-duplicates are not looked for: their index adds some 170 bytes a remembered text
(`make bench NAME=verify`). Usage: make bench NAME=ledger [ARGS='REQUESTS']
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from recording import Figure, report

from engrain import artifacts, store
from engrain.backends.base import Reply, Request, Usage
from engrain.progress import Silent
from engrain.records import Document, Question
from engrain.synthesize import SynthesisSettings
from engrain.synthesize.collect import LEDGER
from engrain.synthesize.run import synthesize

REQUESTS, DOCUMENTS, CONCURRENCY = 1_000_000, 5_000, 64
# Tokens of every reply: with them a budget in tokens is a number of requests.
TOKENS = 100
PAIRS = 8
_SENTENCE = "The harbour master wrote down every ship that came in with the evening tide. "
MEGABYTE = 1_000_000


class Instant:
    """Writes 3,000 characters at once, different for every request."""

    model = "instant"

    def __init__(self) -> None:
        """Nothing asked yet."""
        self.asked = 0

    async def complete(self, request: Request) -> Reply:
        """Eight pairs, a list of strategies, or a text, as the prompt wants."""
        self.asked += 1
        prompt, mark = request.messages[-1].content, f"entry {self.asked}"
        usage = Usage(prompt_tokens=len(prompt) // 4, completion_tokens=TOKENS)
        if request.lineage.method == "qa":
            rows = [
                {
                    "question": f"What does {mark}, line {number}, say about the tide?",
                    "explanation": f"{mark}, line {number}: {_SENTENCE * 3}",
                    "answer": "it came in",
                }
                for number in range(PAIRS)
            ]
            text = json.dumps(rows)
        elif request.lineage.method == "strategies":
            text = "\n".join(f"## Read {mark} for the {number}th time" for number in range(16))
        else:
            text = f"{mark}: {_SENTENCE * 38}"
        return Reply(text=text, finish_reason="stop", usage=usage)

    async def aclose(self) -> None:
        """Nothing to free."""


def main() -> int:
    """Measure both runs."""
    if sys.argv[1:2] == ["--child"]:
        return child(Path(sys.argv[2]), int(sys.argv[3]))
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else REQUESTS
    with tempfile.TemporaryDirectory(prefix="engrain-ledger-") as scratch:
        folder = Path(scratch)
        idle = measured(folder, 0)
        written = measured(folder, requests)
        (folder / "out" / store.RECORD).unlink()
        replayed = measured(folder, requests)
        assert written["asked"] > 0 and replayed["asked"] == 0, (written, replayed)
        assert written["texts"] == replayed["texts"]
        size = (folder / "out" / LEDGER).stat().st_size
        rows = sum(path.stat().st_size for path in (folder / "out").rglob("*.parquet"))
    return report("ledger", figures(idle, written, replayed, size, rows))


def figures(
    idle: dict[str, float],
    written: dict[str, float],
    replayed: dict[str, float],
    size: int,
    rows: int,
) -> list[Figure]:
    """The table."""
    count = round(written["requests"])

    def plain(name: str, value: float, unit: str, *, bar: float | None = None) -> Figure:
        return Figure(name=name, value=value, unit=unit, n=count, bar=bar, at_most=True)

    return [
        plain("peak memory, written, interpreter included", written["peak"], "MB", bar=500),
        plain("peak memory, replayed, interpreter included", replayed["peak"], "MB", bar=500),
        plain("of which interpreter, libraries, one request", idle["peak"], "MB"),
        plain("written", count / written["seconds"], "requests/s"),
        plain("replayed", count / replayed["seconds"], "requests/s"),
        plain("ledger, of 3,000-character replies", size / count, "bytes/reply"),
        plain("kept, rejected and asked rows", rows / count, "bytes/reply"),
    ]


def measured(folder: Path, requests: int) -> dict[str, float]:
    """One run in a process of its own; 0 requests: the smallest there is, in its own folder."""
    command = [sys.executable, __file__, "--child", str(folder), str(requests)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def child(folder: Path, requests: int) -> int:
    """Run the stage, and print what it took."""
    documents = DOCUMENTS if requests else 1
    corpus = made(folder / f"corpus-{documents}", documents)
    generator = Instant()
    settings = SynthesisSettings(
        budget={"tokens": max(1, requests) * TOKENS}, verify={"near_duplicate": None}
    )
    started = time.monotonic()
    artifact = synthesize(
        corpus,
        generator,
        settings,
        folder / ("out" if requests else "idle"),
        seed=0,
        concurrency=CONCURRENCY,
        progress=Silent(),
    )
    seconds = time.monotonic() - started
    # Kilobytes on Linux, bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MEGABYTE
    found = {
        "peak": peak,
        "seconds": seconds,
        "requests": artifact.counts["requests"],
        "asked": generator.asked,
        "texts": sum(artifact.counts["texts"].values()),
    }
    print(json.dumps(found))
    return 0


def made(folder: Path, documents: int) -> store.Artifact:
    """A corpus of documents of one window each."""

    def build(directory: Path) -> dict[str, int]:
        rows = (
            Document(
                id=f"document-{number}",
                title=f"Log {number}",
                source=f"{number}.txt",
                text=f"Log number {number}. {_SENTENCE * 74}",
                sha256="",
            )
            for number in range(documents)
        )
        store.write_rows(directory / artifacts.DOCUMENTS, Document, rows)
        store.write_rows(directory / artifacts.QUESTIONS, Question, [])
        return {}

    return store.run_stage(
        folder,
        stage="corpus",
        settings={"documents": documents},
        inputs={},
        build=build,
        say=lambda line: None,
    )


if __name__ == "__main__":
    sys.exit(main())
