"""A run that writes through a batch API and is killed: nothing sent twice, and the same files."""

from __future__ import annotations

import hashlib
import itertools
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from engrain import store
from engrain.backends.base import Request
from engrain.records import Document, Question

STAGE = """
import sys
from pathlib import Path
from engrain import store
from engrain.backends.batch import BatchBackend
from engrain.backends.endpoint import Endpoint
from engrain.backends.settings import BatchSettings, EndpointSettings
from engrain.progress import Silent
from engrain.synthesize.run import synthesize
from engrain.synthesize.settings import SynthesisSettings

url, corpus, out = sys.argv[1:]
backend = BatchBackend(
    Endpoint(EndpointSettings(base_url=url), model="m"), Path(out),
    BatchSettings(fewest=1, poll_seconds=0.05), quiet=0.02, settle=60.0,
)
settings = SynthesisSettings(
    budget={"tokens": 6_000}, qa={"share": 0},
    documents={"method": "rewrite", "focal": False, "share": 1, "max_tokens": 250},
)
synthesize(
    store.load(Path(corpus)), backend, settings, Path(out),
    seed=0, concurrency=1000, progress=Silent(),
)
"""


def write(request: Request) -> str:
    """The same text for the same request."""
    prompt = f"{request.messages[0].content}{request.sample}"
    generator = random.Random(hashlib.sha256(prompt.encode()).hexdigest())
    return " ".join(generator.choices([f"word{number}" for number in range(500)], k=200))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [
        Document(id=f"d{n}", title="T", source="t", text=f"{n} one two three " * 60, sha256="")
        for n in range(8)
    ]

    def build(directory: Path) -> dict[str, int]:
        store.write_rows(directory / "documents.parquet", Document, rows)
        store.write_rows(directory / "questions.parquet", Question, [])
        return {}

    folder = tmp_path_factory.mktemp("corpus")
    store.run_stage(
        folder, stage="corpus", settings={}, inputs={}, build=build, say=lambda line: None
    )
    return folder


def start(provider: Any, corpus: Path, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", STAGE, provider.url, str(corpus), str(out)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def finished(process: subprocess.Popen[str]) -> str:
    _, errors = process.communicate()
    return "" if process.returncode == 0 else errors


def files(out: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(out)): path.read_bytes()
        for folder in ("kept", "rejected", "requests")
        for path in sorted((out / folder).glob("*.parquet"))
    }


@pytest.fixture(scope="module")
def whole(provide_long, corpus, tmp_path_factory) -> tuple[dict[str, bytes], int]:
    """The files and the number of requests of a run that nothing interrupts."""
    provider, out = provide_long(write), tmp_path_factory.mktemp("whole")
    assert not finished(start(provider, corpus, out))
    return files(out), len(provider.backend.requests)


# The call whose answer does not come, and how many batches were accepted by then.
MOMENTS = {
    "after the file was uploaded": ("POST /files", 0),
    "after the batch was accepted": ("POST /batches", 1),
    "while it waits for the batch": ("GET /batches/ID", 1),
    "after the batch had ended": ("GET /files/ID/content", 1),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_any_moment_it_sends_no_request_twice_and_ends_with_the_same_files(
    provide, corpus, whole, tmp_path, moment
):
    held, accepted = MOMENTS[moment]
    provider, out = provide(write, batch_seconds=0.02), tmp_path / "killed"
    gate = provider.held_after[held] = threading.Event()
    process = start(provider, corpus, out)
    while not provider.calls[held]:
        assert process.poll() is None, finished(process)
        time.sleep(0.005)
    assert provider.calls["POST /batches"] == accepted
    process.kill()
    process.communicate()
    gate.set()
    if not accepted:
        # Its file is with the provider, costs nothing and is in no batch.
        provider.inputs.clear()
    assert not finished(start(provider, corpus, out))
    kept, requests = whole
    assert files(out) == kept
    assert len(provider.backend.requests) == requests
    identities = list(itertools.chain.from_iterable(provider.inputs))
    assert len(identities) == len(set(identities)) == requests


def test_a_batch_that_is_accepted_only_after_its_sender_was_killed_is_found(
    provide, corpus, whole, tmp_path
):
    provider, out = provide(write), tmp_path / "killed"
    gate = provider.held_before["POST /batches"] = threading.Event()
    process = start(provider, corpus, out)
    while not provider.arrived["POST /batches"]:
        assert process.poll() is None, finished(process)
        time.sleep(0.005)
    process.kill()
    process.communicate()
    again = start(provider, corpus, out)
    while not provider.calls["GET /batches"]:
        assert again.poll() is None, finished(again)
        time.sleep(0.005)
    gate.set()
    assert not finished(again)
    kept, requests = whole
    assert files(out) == kept
    assert len(provider.backend.requests) == requests
