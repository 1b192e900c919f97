"""Killed in the middle and run again: nothing paid twice, and the same files to the byte."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

STAGE = """
import sys
from pathlib import Path
from engrain import store
from engrain.backends.openai import OpenAIBackend
from engrain.progress import Silent
from engrain.synthesize.run import synthesize
from engrain.synthesize.settings import SynthesisSettings

url, corpus, out = sys.argv[1:]
settings = SynthesisSettings(
    budget={"tokens": 12_000}, documents={"method": "rewrite"}
)
synthesize(
    store.load(Path(corpus)), OpenAIBackend(model="m", base_url=url), settings, Path(out),
    seed=0, concurrency=8, progress=Silent(),
)
"""


class Server(ThreadingHTTPServer):
    """Writes the same reply to the same request, and counts how often each was answered."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answered: Counter[str] = Counter()
        self.lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        key = hashlib.sha256(body).hexdigest()
        generator = random.Random(key)
        text = " ".join(generator.choices([f"word{n}" for n in range(300)], k=40))
        if "Task: question-answer pairs" in json.loads(body)["messages"][0]["content"]:
            row = {
                "question": f"Where is {text[:30]}?",
                "explanation": f"{text} there",
                "answer": "there",
            }
            text = json.dumps([row, row | {"question": f"Who is {text[-30:]}?"}])
        usage = {"prompt_tokens": 100, "completion_tokens": len(text) // 4, "total_tokens": 0}
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "finish_reason": "stop",
        }
        reply = json.dumps(
            {
                "id": "x",
                "object": "chat.completion",
                "created": 0,
                "model": "m",
                "choices": [choice],
                "usage": usage,
            }
        ).encode()
        time.sleep(0.01)
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(reply)))
        self.end_headers()
        try:
            self.wfile.write(reply)
        except (BrokenPipeError, ConnectionResetError):
            return
        with self.server.lock:
            self.server.answered[key] += 1

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def start(server: Server, corpus: Path, out: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", STAGE, server.url, str(corpus), str(out)])


def kept(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((out / "kept").glob("*.parquet"))}


def test_killed_twice_and_run_again_nothing_is_asked_twice_and_the_files_are_the_same(
    server, make_corpus, tmp_path
):
    corpus = make_corpus(4).path
    assert start(server, corpus, tmp_path / "whole").wait() == 0
    whole = len(server.answered)
    server.answered.clear()
    for so_far in (whole // 4, whole // 2):
        process = start(server, corpus, tmp_path / "killed")
        while sum(server.answered.values()) < so_far:
            assert process.poll() is None
            time.sleep(0.002)
        process.kill()
        process.wait()
        assert not (tmp_path / "killed" / "record.json").exists()
    assert start(server, corpus, tmp_path / "killed").wait() == 0
    assert kept(tmp_path / "killed") == kept(tmp_path / "whole")
    # Two kills with 8 requests in flight: only those may have been answered without being stored.
    assert len(server.answered) == whole
    assert sum(server.answered.values()) <= whole + 2 * 8
