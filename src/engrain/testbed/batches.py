"""The files and batches of the testbed's server: OpenAI's batch API, kept in memory.

Knows files, batches and the form of their lines; knows nothing of who answers a request. A batch's
requests are answered one after the other, and its output lists them in another order than its
input did, as a provider's may.
"""

from __future__ import annotations

import asyncio
import email.parser
import email.policy
import json
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

CHATS = "/v1/chat/completions"
MOST_REQUESTS = 50_000
_WINDOW = 24 * 3600
_PAGE = 20

Answer = Callable[[dict[str, Any]], Awaitable[tuple[int, dict[str, Any]]]]


class NoSuchThing(Exception):
    """A file or a batch was asked for that is not there."""


@dataclass(slots=True)
class _Batch:
    id: str
    input: str
    metadata: dict[str, str] | None
    created: int
    status: str = "validating"
    output: str | None = None
    errors: str | None = None
    refusal: list[dict[str, Any]] = field(default_factory=list)
    total: int = 0
    completed: int = 0
    failed: int = 0

    def described(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": CHATS,
            "completion_window": "24h",
            "input_file_id": self.input,
            "metadata": self.metadata,
            "created_at": self.created,
            "expires_at": self.created + _WINDOW,
            "status": self.status,
            "output_file_id": self.output,
            "error_file_id": self.errors,
            "errors": {"object": "list", "data": self.refusal} if self.refusal else None,
            "request_counts": {
                "total": self.total,
                "completed": self.completed,
                "failed": self.failed,
            },
        }


class Batches:
    """What was uploaded and what became of it. A `ValueError` says why a request is refused."""

    def __init__(self, answer: Answer, *, seconds: float, expires: float, queue: int) -> None:
        """Start empty.

        Args:
            answer: Makes the status and the body for a chat request.
            seconds: Between two requests of a batch, and before its first.
            expires: Share of a batch's requests after which it expires.
            queue: Requests of all running batches together; 0: any number.
        """
        self._answer = answer
        self._seconds = seconds
        self._expires = expires
        self._queue = queue
        self._files: dict[str, bytes] = {}
        self._batches: dict[str, _Batch] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def upload(self, http: HttpRequest) -> Response:
        """POST /v1/files."""
        fields = _form(http.headers.get("content-type", ""), await http.body())
        if fields.get("purpose") != b"batch" or "file" not in fields:
            raise ValueError("This server stores files with purpose `batch` only.")
        name = self._store(fields["file"])
        return JSONResponse(
            {
                "id": name,
                "object": "file",
                "bytes": len(fields["file"]),
                "created_at": int(time.time()),
                "filename": "batch.jsonl",
                "purpose": "batch",
                "status": "processed",
            }
        )

    async def content(self, http: HttpRequest) -> Response:
        """GET /v1/files/NAME/content."""
        name = http.path_params["name"]
        if name not in self._files:
            raise NoSuchThing(f"No such File object: {name}")
        return Response(self._files[name], media_type="application/octet-stream")

    async def delete(self, http: HttpRequest) -> Response:
        """DELETE /v1/files/NAME."""
        name = http.path_params["name"]
        if self._files.pop(name, None) is None:
            raise NoSuchThing(f"No such File object: {name}")
        return JSONResponse({"id": name, "object": "file", "deleted": True})

    async def create(self, http: HttpRequest) -> Response:
        """POST /v1/batches."""
        body = json.loads(await http.body())
        if body.get("input_file_id") not in self._files:
            raise ValueError(f"No such File object: {body.get('input_file_id')}")
        if body.get("endpoint") != CHATS or body.get("completion_window") != "24h":
            raise ValueError(f"This server has batches of {CHATS} within 24h only.")
        batch = _Batch(
            id=f"batch_{uuid.uuid4().hex}",
            input=body["input_file_id"],
            metadata=body.get("metadata"),
            created=int(time.time()),
        )
        self._batches[batch.id] = batch
        # What it looked like when it was accepted: no provider knows more by then.
        accepted = JSONResponse(batch.described())
        task = asyncio.create_task(self._process(batch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return accepted

    async def retrieve(self, http: HttpRequest) -> Response:
        """GET /v1/batches/NAME."""
        name = http.path_params["name"]
        if name not in self._batches:
            raise NoSuchThing(f"No such Batch object: {name}")
        return JSONResponse(self._batches[name].described())

    async def cancel(self, http: HttpRequest) -> Response:
        """POST /v1/batches/NAME/cancel."""
        name = http.path_params["name"]
        if name not in self._batches:
            raise NoSuchThing(f"No such Batch object: {name}")
        if self._batches[name].status == "in_progress":
            self._batches[name].status = "cancelling"
        return JSONResponse(self._batches[name].described())

    async def listed(self, http: HttpRequest) -> Response:
        """GET /v1/batches: the latest first, in pages."""
        names = list(reversed(self._batches))
        after = http.query_params.get("after")
        start = names.index(after) + 1 if after in names else 0
        end = start + min(_PAGE, int(http.query_params.get("limit", _PAGE)))
        shown = [self._batches[name].described() for name in names[start:end]]
        return JSONResponse(
            {
                "object": "list",
                "data": shown,
                "first_id": shown[0]["id"] if shown else None,
                "last_id": shown[-1]["id"] if shown else None,
                "has_more": end < len(names),
            }
        )

    def _store(self, content: bytes) -> str:
        name = f"file-{uuid.uuid4().hex}"
        self._files[name] = content
        return name

    async def _process(self, batch: _Batch) -> None:
        try:
            lines = _lines(self._files.get(batch.input, b""))
        except ValueError as error:
            batch.refusal = [{"code": "invalid_json_line", "message": str(error), "line": 1}]
            batch.status = "failed"
            return
        running = sum(b.total for b in self._batches.values() if b.status == "in_progress")
        if self._queue and running + len(lines) > self._queue:
            message = f"Enqueued limit reached. Limit: {self._queue} enqueued requests."
            batch.refusal = [{"code": "token_limit_exceeded", "message": message, "line": None}]
            batch.status = "failed"
            return
        batch.total, batch.status = len(lines), "in_progress"
        good: list[dict[str, Any]] = []
        bad: list[dict[str, Any]] = []
        within = int(len(lines) * self._expires)
        for line in lines[:within]:
            await asyncio.sleep(self._seconds)
            if batch.status == "cancelling":
                break
            status, body = await self._answer(line["body"])
            response = {"status_code": status, "request_id": uuid.uuid4().hex, "body": body}
            (good if status == 200 else bad).append(_result(line, response, None))
            batch.completed, batch.failed = len(good), len(bad)
        left = lines[len(good) + len(bad) :]
        ended = "cancelled" if batch.status == "cancelling" else "expired" if left else "completed"
        reason = {
            "code": f"batch_{ended}",
            "message": f"The batch was {ended} before this request.",
        }
        bad += [_result(line, None, reason) for line in left]
        batch.output = self._written(good)
        batch.errors = self._written(bad)
        batch.status = ended

    def _written(self, results: list[dict[str, Any]]) -> str | None:
        if not results:
            return None
        lines = [json.dumps(result, ensure_ascii=False) for result in reversed(results)]
        return self._store("\n".join(lines).encode("utf-8", "replace"))


def _result(
    line: dict[str, Any], response: dict[str, Any] | None, error: dict[str, str] | None
) -> dict[str, Any]:
    return {
        "id": f"batch_req_{uuid.uuid4().hex}",
        "custom_id": line["custom_id"],
        "response": response,
        "error": error,
    }


def _lines(content: bytes) -> list[dict[str, Any]]:
    """The requests of an input; ValueError where one is not as it should be."""
    lines = [json.loads(line) for line in content.split(b"\n") if line]
    if not 0 < len(lines) <= MOST_REQUESTS:
        raise ValueError(f"A batch has 1 to {MOST_REQUESTS} requests, not {len(lines)}.")
    for line in lines:
        if line.get("method") != "POST" or line.get("url") != CHATS or "body" not in line:
            raise ValueError(f"Each line needs method POST, url {CHATS} and a body.")
    if len({line.get("custom_id") for line in lines}) < len(lines):
        raise ValueError("Each line needs a custom_id of its own.")
    return lines


def _form(content_type: str, body: bytes) -> dict[str, bytes]:
    """The fields of a multipart form. Its format is that of mails, which Python can read."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    found = {}
    for part in message.iter_parts() if message.is_multipart() else ():
        name = part.get_param("name", header="content-disposition")
        payload = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(payload, bytes):
            found[name] = payload
    return found
