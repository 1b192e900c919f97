"""Replay streamed from a dataset of the hub: a hub on loopback, the real `datasets` library."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlparse

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engrain.mix.replay import Replay
from engrain.mix.settings import ReplaySettings

pytest.importorskip("datasets")

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "somebody/general"
TEXTS = [f"General text, number {number}. " * 20 for number in range(3000)]


def table(texts: list[str], field: str = "text") -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({field: texts}), sink, row_group_size=200, compression="none")
    return sink.getvalue()


CARD = """---
configs:
- config_name: sample
  data_files: sample/*.parquet
- config_name: other
  data_files: other/*.parquet
---
"""
FILES = {
    "README.md": CARD.encode(),
    "sample/a.parquet": table(TEXTS[:1500]),
    "sample/b.parquet": table(TEXTS[1500:]),
    "other/a.parquet": table(TEXTS[:3], "content"),
}


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's API as listing and streaming one dataset takes."""

    protocol_version = "HTTP/1.1"

    def __init__(self, log: list[str], *args: object) -> None:
        self.log = log
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        path = urlparse(self.path).path
        self.log.append(f"{self.command} {self.path}")
        api, resolve = f"/api/datasets/{NAME}", f"/datasets/{NAME}/resolve/{COMMIT}/"
        if path in (api, f"{api}/revision/main", f"{api}/revision/{COMMIT}"):
            siblings = [{"rfilename": name} for name in FILES]
            self.answer({"id": NAME, "sha": COMMIT, "siblings": siblings, "tags": []})
        elif path.startswith(f"{api}/tree/{COMMIT}"):
            under = path.removeprefix(f"{api}/tree/{COMMIT}").strip("/")
            self.answer(entries(under, "recursive=true" in self.path.lower()))
        elif path.startswith(resolve) and path.removeprefix(resolve) in FILES:
            self.send_file(FILES[path.removeprefix(resolve)])
        elif path == "/so-far":
            self.answer({})
        else:
            self.answer({"error": "not found"}, 404)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self.log.append(f"POST {self.path}")
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        wanted = json.loads(body)["paths"] if body.startswith("{") else []
        self.answer([entry for entry in entries("", True) if entry["path"] in wanted])

    def answer(self, value: object, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if status == 404:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_file(self, content: bytes) -> None:
        wanted = self.headers.get("Range")
        start, stop = 0, len(content)
        if wanted:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, stop = int(first), min(len(content), int(last or len(content)) + 1)
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(stop - start))
        self.send_header("ETag", '"e"')
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("X-Repo-Commit", COMMIT)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[start:stop])

    def log_message(self, *args: object) -> None:
        pass


def entries(under: str, recursive: bool) -> list[dict]:
    found: list[dict] = []
    for name, content in FILES.items():
        if under and not name.startswith(f"{under}/"):
            continue
        rest = name.removeprefix(f"{under}/") if under else name
        if "/" in rest:
            folder = name[: len(name) - len(rest)] + rest.split("/")[0]
            entry = {"type": "directory", "path": folder, "oid": "d" * 40, "size": 0}
            if entry not in found:
                found.append(entry)
            if not recursive:
                continue
        found.append({"type": "file", "path": name, "oid": "f" * 40, "size": len(content)})
    return found


@pytest.fixture
def hub() -> Iterator[tuple[str, list[str]]]:
    """Its URL, and the requests so far."""
    log: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, log))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", log
    server.shutdown()
    server.server_close()
    thread.join()


def ask(url: str, home: Path, code: str) -> dict:
    """What `code` puts into `told`, in a process for which `url` is the hub."""
    program = f"""
import json
import urllib.request
from itertools import islice
from engrain.errors import UserError
from engrain.mix.replay import Replay, check
from engrain.mix.settings import ReplaySettings
told = {{}}
{code}
print("told", json.dumps(told))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={
            **os.environ,
            "HF_ENDPOINT": url,
            "HF_HOME": str(home),
            "HF_HUB_OFFLINE": "0",
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.split("told ")[-1])


def test_a_dataset_of_the_hub_is_streamed_at_one_commit_and_no_further_than_needed(hub, tmp_path):
    url, log = hub
    told = ask(
        url,
        tmp_path,
        f"""
import engrain.mix.replay
pinned = ReplaySettings(source={NAME!r}, subset="sample", revision={COMMIT!r})
told["pinned"] = Replay(pinned).identity()
engrain.mix.replay._BUFFER = 10
first = list(islice(Replay(pinned).texts(0), 50))
told["first"] = len(set(first))
settings = ReplaySettings(source={NAME!r}, subset="sample")
check(settings)
replay = Replay(settings)
told["identity"] = replay.identity()
list(islice(replay.texts(0), 50))
engrain.mix.replay._BUFFER = 10_000
urllib.request.urlopen({url!r} + "/so-far")
told["texts"] = list(replay.texts(0))
told["again"] = list(replay.texts(0)) == told["texts"]
""",
    )
    so_far = log.index("GET /so-far")
    assert not any("b.parquet" in line for line in log[:so_far] if "/resolve/" in line)
    assert any("b.parquet" in line for line in log[so_far:] if "/resolve/" in line)
    assert told["first"] == 50
    assert told["pinned"] == told["identity"]
    assert told["identity"]["source"] == f"{NAME}@{COMMIT}"
    assert sorted(told["texts"]) == sorted(TEXTS)
    assert told["texts"] != TEXTS and told["again"]


def test_a_commit_is_known_without_the_hub():
    replay = Replay(ReplaySettings(source="nobody/nothing", revision=COMMIT))
    assert replay.identity()["source"] == f"nobody/nothing@{COMMIT}"


def test_what_cannot_be_read_is_a_sentence_that_says_what_to_set(hub, tmp_path):
    url, _ = hub
    told = ask(
        url,
        tmp_path,
        f"""
for settings in (
    {{"source": {NAME!r}}},
    {{"source": {NAME!r}, "subset": "none"}},
    {{"source": {NAME!r}, "subset": "other"}},
    {{"source": "somebody/unknown"}},
):
    try:
        check(ReplaySettings(**settings))
    except UserError as error:
        told[str(settings.get("subset", settings["source"]))] = str(error)
""",
    )
    assert "cannot be read" in told[NAME] and "set replay.subset" in told[NAME]
    assert "sample" in told[NAME] and "\n" not in told[NAME]
    assert "'none' not found" in told["none"]
    assert "no text in field 'text'; set replay.text_field to one of ['content']" in told["other"]
    assert "neither a file nor a dataset reachable" in told["somebody/unknown"]
