"""Every method in a whole run over real documents, with `transformers serve` as generator; slow.

The server is a process of its own and its model a real, tiny one (`served_model.py`), so what it
reports is compared with what is recorded: replies, tokens, failures. It refuses one document.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from engrain import artifacts
from engrain.backends import endpoint
from engrain.backends.ledger import Ledger
from engrain.backends.openai import openai_backend
from engrain.progress import Silent
from engrain.records import Rejected, SyntheticText
from engrain.store import Artifact
from engrain.synthesize import SynthesisSettings
from engrain.synthesize.base import Asked
from engrain.synthesize.collect import LEDGER
from engrain.synthesize.run import synthesize
from engrain.synthesize.trace import requests

ATTEMPTS = 2
LENGTH = 24
ALONE = {"share": 1, "focal": False, "max_tokens": LENGTH}
RUNS: dict[str, dict[str, Any]] = {
    "qa": {"qa": {"share": 1, "max_tokens": LENGTH}, "documents": {"share": 0}},
    "rewrite": {"documents": {"method": "rewrite", **ALONE}},
    "entigraph": {"documents": {"method": "entigraph", **ALONE}},
    "active_reading": {"documents": {"method": "active_reading", **ALONE}},
    "active_reading_task": {
        "documents": {"method": "active_reading", "strategies": "task_specific", **ALONE}
    },
    "spa": {"documents": {"method": "spa", **ALONE}},
    "stretched": {"documents": {"method": "stretched", **ALONE}},
    "focal": {
        "qa": {"share": 0.5, "max_tokens": LENGTH},
        "documents": {"method": "rewrite", "share": 0.5, "max_tokens": LENGTH},
    },
}


@dataclass(frozen=True)
class Served:
    """A running server of the tiny model."""

    model: Path
    url: str
    log: Path

    def answered(self) -> Counter[str]:
        """How many chat completions it has answered with which status, in its own words."""
        return Counter(re.findall(r"/v1/chat/completions HTTP/1.1\" (\d+)", self.log.read_text()))


def model_maker() -> ModuleType:
    path = Path(__file__).with_name("served_model.py")
    spec = importlib.util.spec_from_file_location("served_model", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, serving_model) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    model_maker().build(folder / "model")
    with serving_model(folder / "model", folder / "log") as url:
        yield Served(folder / "model", url, folder / "log")


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Every body that the server answers with, as it came."""
    bodies: list[dict[str, Any]] = []
    read = endpoint.read_reply

    def note(body: Any) -> Any:
        bodies.append(body)
        return read(body)

    monkeypatch.setattr(endpoint, "read_reply", note)
    return bodies


def run(name: str, corpus: Artifact, served: Served, out: Path) -> Artifact:
    wanted = {"qa": {"share": 0}, "window": 3000, **RUNS[name]}
    wanted["budget"] = {"tokens": 600, "requests": 300}
    backend = openai_backend(
        model=str(served.model), base_url=served.url, attempts=ATTEMPTS, first_wait=0.01
    )
    settings = SynthesisSettings.model_validate(wanted)
    return synthesize(corpus, backend, settings, out, seed=0, concurrency=4, progress=Silent())


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_try(name, check, real_corpus, served, reported, tmp_path):
    import time
    before = served.answered()
    t = time.time()
    made = run(name, real_corpus, served, tmp_path / "out")
    t = time.time() - t
    check(made, real_corpus)
    print("\n", name, round(t, 1), json.dumps(made.counts, default=str)[:1200])
    print(served.answered() - before, len(reported), len({x.document_id for x in artifacts.texts(made)}))
