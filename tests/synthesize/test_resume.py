"""Killed in the middle and run again: nothing paid twice, and the same files to the byte."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

STAGE = """
import os
import sys
from pathlib import Path
from engrain import store
from engrain.backends.openai import openai_backend
from engrain.progress import Silent
from engrain.synthesize.run import synthesize
from engrain.synthesize.settings import SynthesisSettings

url, corpus, out, tokens = sys.argv[1:]

def write():
    settings = SynthesisSettings(budget={"tokens": int(tokens)}, documents={"method": "rewrite"})
    synthesize(
        store.load(Path(corpus)), openai_backend(model="m", base_url=url), settings, Path(out),
        seed=0, concurrency=8, progress=Silent(),
    )
"""
ONCE = f"{STAGE}\nwrite()\n"
# Imports once and writes in a child process for every line that it reads: it prints the child's id,
# and how the child ended.
AGAIN_AND_AGAIN = f"""{STAGE}
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        write()
        os._exit(0)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""
IN_FLIGHT = 8


class Server(ThreadingHTTPServer):
    """Writes the same reply to the same request, and counts how often each was answered."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answered: Counter[str] = Counter()
        self.active = 0
        self.open = threading.Event()
        """While it is not set, requests wait."""
        self.open.set()
        self.lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        with self.server.lock:
            self.server.active += 1
        try:
            self.server.open.wait()
            self.answer()
        finally:
            with self.server.lock:
                self.server.active -= 1

    def answer(self) -> None:
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
        try:
            self.end_headers()
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


def start(
    server: Server, corpus: Path, out: Path, *, code: str = ONCE, tokens: int = 12_000
) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, server.url, str(corpus), str(out), str(tokens)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def answers(server: Server, count: int) -> Callable[[], bool]:
    """Whether there are so many by now."""
    return lambda: server.answered.total() >= count


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while not condition():
        assert process.poll() is None
        time.sleep(0.002)


def finished(process: subprocess.Popen[str]) -> bool:
    process.communicate()
    return process.returncode == 0


def files(out: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(out)): path.read_bytes()
        for folder in ("kept", "rejected", "requests")
        for path in sorted((out / folder).glob("*.parquet"))
    }


def durable(out: Path) -> int:
    """Replies in the ledger, which must be whole."""
    if not (out / "ledger.sqlite").exists():
        return 0
    with closing(sqlite3.connect(out / "ledger.sqlite")) as ledger:
        assert ledger.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        if not ledger.execute("PRAGMA user_version").fetchone()[0]:
            return 0
        counts = "SELECT count(*), count(DISTINCT id) FROM replies"
        count, different = ledger.execute(counts).fetchone()
    assert count == different
    return int(count)


def test_killed_twice_and_run_again_nothing_is_asked_twice_and_the_files_are_the_same(
    server, make_corpus, tmp_path
):
    corpus = make_corpus(4).path
    assert finished(start(server, corpus, tmp_path / "whole"))
    whole = len(server.answered)
    server.answered.clear()
    for share in (4, 2):
        process = start(server, corpus, tmp_path / "killed")
        wait_for(answers(server, whole // share), process)
        process.kill()
        process.communicate()
        assert not (tmp_path / "killed" / "record.json").exists()
    assert finished(start(server, corpus, tmp_path / "killed"))
    assert files(tmp_path / "killed") == files(tmp_path / "whole")
    # Two kills with 8 requests in flight: only those may have been answered without being stored.
    assert len(server.answered) == whole
    assert server.answered.total() <= whole + 2 * IN_FLIGHT


@pytest.mark.slow
def test_killed_twenty_times_at_random_moments_nothing_durable_is_asked_again(
    server, make_corpus, tmp_path
):
    corpus, tokens, generator = make_corpus(4).path, 60_000, random.Random(20)
    assert finished(start(server, corpus, tmp_path / "whole", tokens=tokens))
    whole, out, stored = len(server.answered), tmp_path / "killed", 0
    server.answered.clear()
    with start(server, corpus, out, code=AGAIN_AND_AGAIN, tokens=tokens) as process:
        lines, ends = process.stdin, process.stdout
        assert lines is not None and ends is not None

        def begin() -> int:
            lines.write("\n")
            lines.flush()
            return int(ends.readline())

        for _ in range(20):
            before, more = server.answered.total(), generator.randint(0, whole // 25)
            child = begin()
            wait_for(answers(server, before + more), process)
            time.sleep(generator.uniform(0, 0.1))
            os.kill(child, signal.SIGKILL)
            assert int(ends.readline()) == signal.SIGKILL
            wait_for(lambda: server.active == 0, process)
            assert not (out / "record.json").exists()
            now = durable(out)
            lost = server.answered.total() - before - (now - stored)
            assert 0 <= lost <= IN_FLIGHT
            stored = now
        before = server.answered.total()
        begin()
        assert int(ends.readline()) == 0
        lines.close()
    assert server.answered.total() - before == whole - stored
    assert durable(out) == whole
    assert files(out) == files(tmp_path / "whole")


def test_a_second_process_on_the_same_folder_is_refused_and_disturbs_nothing(
    server, make_corpus, tmp_path
):
    corpus = make_corpus(4).path
    assert finished(start(server, corpus, tmp_path / "alone"))
    whole = len(server.answered)
    server.answered.clear()
    server.open.clear()
    first = start(server, corpus, tmp_path / "out")
    wait_for(lambda: server.active > 0, first)
    second = start(server, corpus, tmp_path / "out")
    _, errors = second.communicate()
    server.open.set()
    assert second.returncode == 1
    last = errors.splitlines()[-1]
    assert f"UserError: process {first.pid} is working in" in last
    assert finished(first)
    assert server.answered.total() == whole
    assert files(tmp_path / "out") == files(tmp_path / "alone")
