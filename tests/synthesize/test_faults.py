"""A generator that fails in every way: each request ends as kept, rejected or failed, and once."""

from __future__ import annotations

import hashlib
import json
import random
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow.parquet as pq
import pytest

from engrain.backends.ledger import Ledger
from engrain.backends.openai import openai_backend
from engrain.progress import Silent
from engrain.synthesize.collect import LEDGER
from engrain.synthesize.run import synthesize
from engrain.synthesize.settings import SynthesisSettings

# What befalls a request when it is asked; by a seeded draw.
FAULTS = ["429", "429 later", "500", "503", "reset", "half", "page", "slow"]


class Server(ThreadingHTTPServer):
    """Fails half of all requests in a way that passes, and some prompts for good."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        self.rng = random.Random(4)
        self.lock = threading.Lock()
        self.seen: Counter[str] = Counter()

    def fault(self) -> str:
        with self.lock:
            fault = self.rng.choice([*FAULTS, *["none"] * len(FAULTS)])
            self.seen[fault] += 1
            return fault


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["content-length"]))
        fate = random.Random(hashlib.sha256(asked).hexdigest())
        doom, text = fate.random(), " ".join(fate.choices([f"word{n}" for n in range(300)], k=40))
        finish = "content_filter" if 0.05 < doom < 0.15 else "stop"
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": finish}
        usage = {"prompt_tokens": 9, "completion_tokens": 60, "total_tokens": 69}
        good = json.dumps({"choices": [choice], "usage": usage}).encode()
        if doom < 0.05:
            self.answer(400, b'{"error": {"message": "too long"}}')
            return
        match self.server.fault():
            case "429":
                self.answer(429, b"{}")
            case "429 later":
                self.answer(429, b"{}", {"retry-after": "0.02"})
            case "500":
                self.answer(500, b"{}")
            case "503":
                self.answer(503, b"<html>", {"retry-after": "0.02"})
            case "reset":
                self.close_connection = True
            case "half":
                self.answer(200, good[: len(good) // 2])
            case "page":
                self.answer(200, b"<html>Bad gateway</html>", {"content-type": "text/html"})
            case "slow":
                self.head(200, len(good))
                self.wfile.write(good[:20])
                self.wfile.flush()
                threading.Event().wait(0.1)
                self.wfile.write(good[20:])
            case _:
                self.answer(200, good)

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.head(status, len(body), headers)
        self.wfile.write(body)

    def head(self, status: int, length: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"content-type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(length))
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def rows(folder) -> list[dict]:
    return [
        row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()
    ]


def test_every_request_ends_as_kept_or_rejected_or_failed_with_a_reason(
    server, make_corpus, tmp_path
):
    backend = openai_backend(
        model="m", base_url=server.url, concurrency=16, attempts=10, first_wait=0.01
    )
    settings = SynthesisSettings(
        budget={"tokens": 9000},
        qa={"share": 0},
        documents={"method": "rewrite", "share": 1, "focal": False},
    )
    made = synthesize(
        make_corpus(),
        backend,
        settings,
        tmp_path / "out",
        seed=0,
        concurrency=16,
        progress=Silent(),
    )
    asked = {row["request_id"]: row for row in rows(made.path / "requests")}
    kept = [row["request_id"] for row in rows(made.path / "kept")]
    rejected = rows(made.path / "rejected")
    failed = {row["request_id"] for row in rejected if row["reason"] == "failed"}
    refused = {row["request_id"] for row in rejected} - failed
    assert set(FAULTS) <= set(server.seen)
    # A rewrite's reply is one text, so that each request ends in exactly one place.
    assert len(kept) + len(refused) + len(failed) == len(asked) == len(set(kept) | refused | failed)
    assert kept and refused and failed
    assert all(row["reason"] and row["detail"] for row in rejected)
    assert {name for name, row in asked.items() if row["failure"]} == failed
    reasons = [asked[name]["failure"] for name in failed]
    assert all("answered 400" in reason and "too long" in reason for reason in reasons)
    with Ledger(made.path / LEDGER) as ledger:
        assert len(ledger) == len(asked) - len(failed)
        assert {identity for identity, _, _ in ledger.failures()} == failed
