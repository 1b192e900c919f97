"""The batch API of an OpenAI-compatible endpoint: its calls, and what the lines of its files mean.

Knows HTTP and patience; knows nothing of which batch holds what (`submitted.py`) or of when one is
made (`batch.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import re
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import openai

from engrain.backends.base import Reply, Request
from engrain.backends.endpoint import BAD, LOST, PASSING, BadBody, Endpoint, TryAgain, read_reply
from engrain.errors import EndpointError, RequestError

CHATS: Literal["/v1/chat/completions"] = "/v1/chat/completions"
TOKEN = "engrain"
"""The key of a batch's metadata under which it names itself."""
PATIENCE = 3600.0
"""Seconds for which an endpoint that had answered may be gone: batches take hours anyway."""
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 60.0
_NO_SUCH_PAGE = (404, 405, 501)
_FULL = "token_limit_exceeded"
# Ids of proxies are base64 of all that they must remember.
_NAME = re.compile(r"[\w.:;,/=+~-]{1,1000}", re.ASCII)

Result = TypeVar("Result")
Outcome = Reply | RequestError | EndpointError | TryAgain
"""What became of one request of a batch; TryAgain: another batch may bring a reply."""


class Gone(Exception):
    """The endpoint does not know a batch or a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What the endpoint says of a batch."""

    status: str
    output: str | None
    """The file with the replies."""
    errors: str | None
    """The file with the requests that failed."""
    completed: int
    """Replies that it claims to have."""
    full: bool
    """It was refused because the queue has no room for it."""
    refusal: str
    """Why it was refused as a whole, in the endpoint's words."""


class BatchAPI:
    """The batches of one endpoint.

    Every call waits through refusals, server errors and lost connections, for `patience` seconds;
    then, and where every batch would fail, it raises EndpointError.
    """

    def __init__(self, endpoint: Endpoint, *, patience: float = PATIENCE) -> None:
        """Connect to nothing yet."""
        self._endpoint = endpoint
        self._patience = patience

    async def upload(self, lines: list[bytes]) -> str:
        """Store the input of a batch; returns its id. It costs nothing and starts nothing."""
        client, content = self._endpoint.connected(), b"".join(lines)

        async def send() -> str:
            named = ("engrain.jsonl", content, "application/jsonl")
            stored = await client.files.create(file=named, purpose="batch")
            # The client hands on a body that is not JSON as text.
            return self._name(getattr(stored, "id", None))

        return await self._persist(send, "POST /files")

    async def create(self, file: str, token: str) -> str | None:
        """Ask once for a batch of a file; returns its id.

        None where the answer does not say whether there is one now. Raises TryAgain where it was
        refused for the moment.
        """
        client = self._endpoint.connected()
        asked = {
            "input_file_id": file,
            "endpoint": CHATS,
            "completion_window": "24h",
            "metadata": {TOKEN: token},
        }
        failure: Exception
        try:
            batch = _mapping(await client.post("/batches", body=asked, cast_to=object))
            return self._name(batch.get("id"))
        except (openai.APIStatusError, *LOST, *BAD) as error:
            failure = error
        status = failure.status_code if isinstance(failure, openai.APIStatusError) else None
        if status is None or status >= 500 or status in PASSING:
            return None
        raise await self._refusal(failure, "POST /batches")

    async def withdraw(self, file: str) -> None:
        """Delete the input of a batch, so that nothing comes of asking for that batch any more.

        A server that cannot delete keeps it.
        """
        client = self._endpoint.connected()
        with contextlib.suppress(Gone):
            await self._persist(
                lambda: client.delete(f"/files/{file}", cast_to=object),
                f"DELETE /files/{file}",
                gone=_NO_SUCH_PAGE,
            )

    async def find(self, file: str, token: str) -> str | None:
        """The id of the batch that was asked for with this file and token, if there is one."""
        client = self._endpoint.connected()

        async def page(after: str | None) -> dict[str, Any]:
            where = {"limit": 100} | ({} if after is None else {"after": after})
            return _mapping(await client.get("/batches", options={"params": where}, cast_to=object))

        async def look() -> str | None:
            seen: set[object] = set()
            last: str | None = None
            while True:
                listed = await page(last)
                batches = [_mapping(batch) for batch in _list(listed.get("data"))]
                for batch in batches:
                    marks = batch.get("metadata") or {}
                    if _mapping(marks).get(TOKEN) == token or batch.get("input_file_id") == file:
                        return self._name(batch.get("id"))
                # A server that knows no pages gives the first one for ever.
                if not listed.get("has_more") or not batches or batches[-1].get("id") in seen:
                    return None
                last = self._name(batches[-1].get("id"))
                seen.add(last)

        return await self._persist(look, "GET /batches")

    async def retrieve(self, batch: str) -> Look:
        """How far a batch is; raises Gone where there is none."""
        client = self._endpoint.connected()

        async def look() -> Look:
            found = _mapping(await client.get(f"/batches/{batch}", cast_to=object))
            output, errors = found.get("output_file_id"), found.get("error_file_id")
            refusals = [
                _mapping(refusal)
                for refusal in _list(_mapping(found.get("errors") or {}).get("data") or [])
            ]
            completed = _mapping(found.get("request_counts") or {}).get("completed")
            return Look(
                # Some servers write it in capitals, and an empty name for no file.
                status=self._name(found.get("status")).casefold(),
                output=self._name(output) if output else None,
                errors=self._name(errors) if errors else None,
                completed=completed if isinstance(completed, int) else 0,
                full=any(refusal.get("code") == _FULL for refusal in refusals),
                refusal=self.said("; ".join(str(refusal.get("message")) for refusal in refusals)),
            )

        return await self._persist(look, f"GET /batches/{batch}", gone=(404,))

    async def outcomes(self, file: str, wanted: Collection[str]) -> tuple[dict[str, Outcome], int]:
        """What a batch's output or error file says of these requests, and of how many it speaks.

        Raises Gone where there is no such file any more.
        """
        client = self._endpoint.connected()

        async def read() -> tuple[dict[str, Outcome], int]:
            # Not as a stream: the client would not know a connection that is lost in its middle.
            stored = await client.files.content(file)
            found: dict[str, Outcome] = {}
            lines = 0
            # Cut at b"\n" alone: replies may contain U+2028 and its like.
            for line in io.BytesIO(stored.content):
                if line.strip():
                    lines += 1
                    entry = _entry(line)
                    if entry["custom_id"] in wanted:
                        found[entry["custom_id"]] = self._outcome(entry)
            return found, lines

        return await self._persist(read, f"GET /files/{file}/content", gone=(404,))

    def line(self, identity: str, request: Request) -> bytes:
        """One line of a batch's input."""
        entry = {
            "custom_id": identity,
            "method": "POST",
            "url": CHATS,
            "body": self._endpoint.fields(request),
        }
        return json.dumps(entry).encode() + b"\n"

    def said(self, text: str) -> str:
        """The endpoint's words, short and without the key."""
        return self._endpoint.said(text)

    def _name(self, value: object) -> str:
        """An id, as it may be written down; BadBody for anything else, such as the key."""
        if not isinstance(value, str) or not _NAME.fullmatch(value):
            raise BadBody(str(value))
        if self._endpoint.without_key(value) != value:
            raise BadBody("an id with the key in it")
        return value

    def _outcome(self, entry: dict[str, Any]) -> Outcome:
        """What one line says."""
        response, problem = entry.get("response"), entry.get("error")
        if not isinstance(response, dict):
            words = problem if isinstance(problem, dict) else {}
            return TryAgain(self.said(str(words.get("message") or words.get("code") or "no reply")))
        status, body = response.get("status_code"), response.get("body")
        if status == 200:
            try:
                return read_reply(body)
            except RequestError as error:
                return error
            except BadBody as error:
                return TryAgain(f"the body is not a chat completion ({self.said(str(error))})")
        details = body.get("error") if isinstance(body, dict) else None
        details = details if isinstance(details, dict) else {"message": body}
        said = self.said(f"status {status}: {details.get('message')}")
        if status in (401, 402, 403, 404) or details.get("code") == "insufficient_quota":
            return EndpointError(
                f"{self._endpoint.url} answered a request of a batch so: {said}; "
                "mend the cause and run again"
            )
        if status == 400 and self._endpoint.do_without(details.get("param")):
            return TryAgain(said)
        if isinstance(status, int) and 400 <= status < 500 and status not in {*PASSING, 429}:
            return RequestError(f"{self._endpoint.url} answered {said}")
        return TryAgain(said)

    async def _persist(
        self, call: Callable[[], Awaitable[Result]], what: str, *, gone: Collection[int] = ()
    ) -> Result:
        """The call's result; raises Gone for these statuses."""
        failing_since, wait = None, _FIRST_WAIT
        while True:
            failure: Exception
            try:
                result = await call()
            except (openai.APIStatusError, *LOST, *BAD) as error:
                failure = error
            else:
                self._endpoint.answered = True
                return result
            # Outside the handler, as in `Endpoint.ask`: the client's error knows the key.
            status = failure.status_code if isinstance(failure, openai.APIStatusError) else None
            if status in gone:
                raise Gone(what)
            refusal = await self._refusal(failure, what)
            if isinstance(refusal, EndpointError):
                raise refusal
            now = time.monotonic()
            failing_since = failing_since or now
            pause = max(wait, refusal.retry_after or 0.0)
            if now + pause > failing_since + self._patience:
                raise EndpointError(
                    f"{self._endpoint.url} did not answer {what} for {self._patience:g} seconds, "
                    f"the last time so: {refusal.reason}; run again when it does: "
                    "the batches there are kept and collected then"
                )
            await asyncio.sleep(pause)
            wait = min(2 * wait, _LONGEST_WAIT)

    async def _refusal(self, failure: Exception, what: str) -> TryAgain | EndpointError:
        """What a failed call means."""
        if isinstance(failure, BAD):
            return TryAgain(f"the answer is of another shape ({self.said(str(failure))})")
        if isinstance(failure, openai.APIStatusError) and failure.status_code in _NO_SUCH_PAGE:
            return EndpointError(
                f"{self._endpoint.url} answered {failure.status_code} to {what}: it has no batch "
                "API there; set generator.backend to 'openai', or correct base_url"
            )
        judged = await self._endpoint.judged(failure)
        if isinstance(judged, (TryAgain, EndpointError)):
            return judged
        return EndpointError(f"{what}: {judged}")


def _mapping(answer: object) -> dict[str, Any]:
    if not isinstance(answer, dict):
        raise BadBody(str(answer))
    return answer


def _list(answer: object) -> list[object]:
    if not isinstance(answer, list):
        raise BadBody(str(answer))
    return answer


def _entry(line: bytes) -> dict[str, Any]:
    """A line of a file; BadBody where it is half a line, because a download was cut short."""
    entry = _mapping(json.loads(line))
    if not isinstance(entry.get("custom_id"), str):
        raise BadBody(str(entry))
    return entry
