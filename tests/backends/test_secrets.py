"""A planted key is nowhere: not in the run's files, on the terminal, in logs or in tracebacks."""

from __future__ import annotations

import asyncio
import logging
import threading
import traceback
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from engrain import store
from engrain.backends.batch import BatchBackend
from engrain.backends.endpoint import Endpoint
from engrain.backends.pool import Pool
from engrain.backends.settings import BatchSettings, EndpointSettings
from engrain.errors import EndpointError, UserError
from engrain.progress import Silent
from engrain.records import Document, Question
from engrain.synthesize.run import synthesize
from engrain.synthesize.settings import SynthesisSettings

KEY = "sk-planted-0123456789abcdef"
FAULTS = ["400", "401", "402", "404", "429", "500", "page", "half", "reset", "redirect", "wrong"]


class Server(ThreadingHTTPServer):
    """Fails every request in one way, and repeats its headers in the body wherever it can."""

    def __init__(self, fault: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.fault = fault
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        self.keys: list[str | None] = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        key = self.headers["authorization"]
        self.server.keys.append(key)
        fault = self.server.fault
        if fault == "reset":
            self.close_connection = True
            return
        status = int(fault) if fault.isdigit() else 307 if fault == "redirect" else 200
        words = f"{'x' * 150} you sent {key}, that is {key}"
        body = {
            "page": f"<html>{words}</html>",
            "half": f'{{"id": "{words}", "choices": [',
            "wrong": f'{{"id": "{words}", "choices": "{words}"}}',
        }.get(fault, f'{{"error": {{"message": "{words}", "type": "{key}"}}}}')
        self.send_response(status, "no")
        self.send_header("content-type", "text/html" if fault == "page" else "application/json")
        self.send_header("content-length", str(len(body)))
        self.send_header("x-you-sent", str(key))
        if fault == "redirect":
            self.send_header("location", f"{self.server.url}/elsewhere?{key}")
        if fault == "429":
            self.send_header("retry-after", "0.01")
        self.end_headers()
        self.wfile.write(body.encode())

    do_GET = do_POST

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(params=FAULTS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    made = Server(request.param)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def corpus(folder: Path) -> store.Artifact:
    rows = [
        Document(id=f"d{n}", title="T", source="t", text="one two three " * 50, sha256="")
        for n in range(60)
    ]

    def build(directory: Path) -> dict[str, int]:
        store.write_rows(directory / "documents.parquet", Document, rows)
        store.write_rows(directory / "questions.parquet", Question, [])
        return {}

    return store.run_stage(
        folder, stage="corpus", settings={}, inputs={}, build=build, say=lambda line: None
    )


def everything_in(folder: Path) -> bytes:
    """The bytes of all files, and the cells of the compressed ones."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    cells = [str(pq.read_table(path).to_pydict()) for path in files if path.suffix == ".parquet"]
    return b"".join(path.read_bytes() for path in files) + "".join(cells).encode()


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and all that a debugger or a logger with rich tracebacks would show behind it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@pytest.fixture(params=["pool", "batch"])
def backend(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Pool | BatchBackend:
    monkeypatch.setenv("PLANTED_KEY", KEY)
    place = EndpointSettings(base_url=server.url, api_key_env="PLANTED_KEY", concurrency=8)
    endpoint = Endpoint(place, model="m")
    if request.param == "pool":
        return Pool([endpoint], attempts=2, first_wait=0.001)
    few = BatchSettings(fewest=1, poll_seconds=0.01)
    return BatchBackend(
        endpoint, tmp_path / "synthetic", few, quiet=0.01, settle=0.0, patience=0.01
    )


def test_the_key_is_nowhere_however_an_endpoint_fails(server, backend, tmp_path, capfd, caplog):
    settings = SynthesisSettings(budget={"tokens": 50_000}, documents={"method": "rewrite"})
    with caplog.at_level(logging.DEBUG), pytest.raises(UserError) as caught:
        synthesize(
            corpus(tmp_path / "corpus"),
            backend,
            settings,
            tmp_path / "synthetic",
            seed=0,
            concurrency=8,
            progress=Silent(),
        )
    found = [caught.value]
    if isinstance(backend, Pool):
        with caplog.at_level(logging.DEBUG), pytest.raises(EndpointError) as checked:
            asyncio.run(backend.check())
        found.append(checked.value)
    assert server.keys and set(server.keys) == {f"Bearer {KEY}"}
    assert (tmp_path / "synthetic" / "ledger.sqlite").exists()
    terminal = capfd.readouterr()
    for error in found:
        told = "".join(traceback.format_exception(error))
        attributes = "".join(f"{link!r} {link} {vars(link)}" for link in chain(error))
        for text in (told, attributes):
            assert KEY not in text
    logged = caplog.text + "".join(f"{record.__dict__}" for record in caplog.records)
    for text in (terminal.out, terminal.err, logged):
        assert KEY not in text
    assert KEY.encode() not in everything_in(tmp_path)


def test_the_key_that_a_truncated_message_would_cut_is_taken_out_whole(tmp_path, monkeypatch):
    monkeypatch.setenv("PLANTED_KEY", KEY)
    place = EndpointSettings(base_url="http://127.0.0.1:1/v1", api_key_env="PLANTED_KEY")
    endpoint = Endpoint(place, model="m")
    for before in range(150, 205):
        assert KEY[:8] not in endpoint.said("x" * before + KEY)
