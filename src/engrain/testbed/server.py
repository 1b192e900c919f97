"""An OpenAI-compatible HTTP server over any `Backend`: a real endpoint, with faults on demand.

Serves `/v1/models`, `/v1/chat/completions` (whole and streamed), `/v1/files` and `/v1/batches`,
reports usage with a simulated prefix cache, and answers errors in OpenAI's form. Knows nothing of
who answers: the testbed's writer, or a model in process.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import hashlib
import json
import socket
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from engrain.backends.base import Backend, Message, Reply, Request, Sampling
from engrain.errors import EndpointError, RequestError, UserError
from engrain.testbed.batches import Batches, NoSuchThing

# A token is about four characters of English; a cache block is 16 tokens, as in vLLM.
_CHARACTERS_PER_TOKEN = 4
_BLOCK_CHARACTERS = 16 * _CHARACTERS_PER_TOKEN
_CACHE_BLOCKS = 200_000
_FINISH = {"stop": "stop", "length": "length", "content_filter": "content_filter", "other": "stop"}
_ROLES = ("system", "user", "assistant")
# Left unanswered, these would change the reply in silence; a refusal is honest.
_UNSUPPORTED = ("tools", "functions", "logprobs", "stop", "logit_bias")


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What goes wrong, on demand. Everything is off by default; counts are over chat requests."""

    api_key: str | None = None
    """Without it as bearer token, every request gets 401."""
    error_rate: float = 0.0
    """Share of requests answered with 500: by a hash of their number, the same every time."""
    limit_every: int = 0
    """Every so many requests, one gets 429 with Retry-After; 0 for never."""
    retry_after: float = 0.1
    """Seconds in the Retry-After header of a 429."""
    requests_per_second: float = 0.0
    """Requests beyond this rate get 429; 0 for no limit."""
    latency: float = 0.0
    """Seconds before each reply."""
    batch_seconds: float = 0.0
    """Between two requests of a batch, and before its first."""
    batch_expires: float = 1.0
    """Share of a batch's requests after which it expires, without the others; 1: never."""
    batch_queue: int = 0
    """Requests of all batches together that may wait; a batch beyond that fails; 0: any number."""


class _Refusal(Exception):
    """An answer other than 200: status, OpenAI's error object, headers."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str,
        code: str | None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
        self.response = JSONResponse(self.body, status, headers)


@dataclass(slots=True)
class _State:
    backend: Backend
    faults: Faults
    created: int = field(default_factory=lambda: int(time.time()))
    chats: int = 0
    """Chat requests received, refused ones included."""
    recent: collections.deque[float] = field(default_factory=collections.deque)
    blocks: collections.OrderedDict[bytes, None] = field(default_factory=collections.OrderedDict)
    repeats: collections.Counter[str] = field(default_factory=collections.Counter)


def application(backend: Backend, faults: Faults) -> Starlette:
    """The ASGI application: the backend behind OpenAI's protocol."""
    state = _State(backend=backend, faults=faults)

    def route(path: str, answer: Callable[[_State, HttpRequest], Any], method: str) -> Route:
        async def handle(http: HttpRequest) -> Response:
            try:
                _authenticate(state, http)
                response: Response = await answer(state, http)
            except _Refusal as refusal:
                return refusal.response
            return response

        return Route(path, handle, methods=[method])

    async def answer(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        try:
            return 200, await _completed(state, body)
        except _Refusal as refusal:
            return refusal.status, refusal.body

    batches = Batches(
        answer,
        seconds=faults.batch_seconds,
        expires=faults.batch_expires,
        queue=faults.batch_queue,
    )

    async def of_batches(reply: Callable[[HttpRequest], Any], http: HttpRequest) -> Response:
        try:
            response: Response = await reply(http)
        except NoSuchThing as error:
            raise _Refusal(404, str(error), kind="invalid_request_error", code=None) from error
        except ValueError as error:
            raise _bad_request(str(error)) from error
        return response

    def batch_route(path: str, reply: Callable[[HttpRequest], Any], method: str) -> Route:
        return route(path, lambda _, http: of_batches(reply, http), method)

    return Starlette(
        routes=[
            route("/v1/models", _models, "GET"),
            route("/v1/models/{name:path}", _one_model, "GET"),
            route("/v1/chat/completions", _chat, "POST"),
            batch_route("/v1/files", batches.upload, "POST"),
            batch_route("/v1/files/{name}", batches.delete, "DELETE"),
            batch_route("/v1/files/{name}/content", batches.content, "GET"),
            batch_route("/v1/batches", batches.create, "POST"),
            batch_route("/v1/batches", batches.listed, "GET"),
            batch_route("/v1/batches/{name}", batches.retrieve, "GET"),
            batch_route("/v1/batches/{name}/cancel", batches.cancel, "POST"),
        ]
    )


def _authenticate(state: _State, http: HttpRequest) -> None:
    wanted = state.faults.api_key
    if wanted is not None and http.headers.get("authorization") != f"Bearer {wanted}":
        raise _Refusal(
            401, "Incorrect API key provided.", kind="invalid_request_error", code="invalid_api_key"
        )


async def _models(state: _State, http: HttpRequest) -> Response:
    return JSONResponse({"object": "list", "data": [_described(state)]})


async def _one_model(state: _State, http: HttpRequest) -> Response:
    _check_model(state, http.path_params["name"])
    return JSONResponse(_described(state))


def _described(state: _State) -> dict[str, Any]:
    return {
        "id": state.backend.model,
        "object": "model",
        "created": state.created,
        "owned_by": "engrain",
    }


def _check_model(state: _State, name: object) -> None:
    if name != state.backend.model:
        message = f"The model `{name}` does not exist or you do not have access to it."
        raise _Refusal(404, message, kind="invalid_request_error", code="model_not_found")


async def _chat(state: _State, http: HttpRequest) -> Response:
    try:
        body = json.loads(await http.body())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise _bad_request(f"The body is not JSON: {error}.") from error
    if not isinstance(body, dict) or not body.get("stream"):
        return JSONResponse(await _completed(state, body))
    envelope, replies, usage = await _answered(state, body)
    with_usage = bool((body.get("stream_options") or {}).get("include_usage"))
    events = _events(envelope, replies, usage if with_usage else None)
    return StreamingResponse(events, media_type="text/event-stream")


async def _completed(state: _State, body: object) -> dict[str, Any]:
    """A whole chat completion."""
    envelope, replies, usage = await _answered(state, body)
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", "content": reply.text},
            "finish_reason": _FINISH[reply.finish_reason],
            "logprobs": None,
        }
        for index, reply in enumerate(replies)
    ]
    return {**envelope, "object": "chat.completion", "choices": choices, "usage": usage}


async def _answered(
    state: _State, body: object
) -> tuple[dict[str, Any], list[Reply], dict[str, Any]]:
    """What every form of the answer shares, the replies, and the usage."""
    state.chats += 1
    number = state.chats
    _limit(state, number)
    if not isinstance(body, dict):
        raise _bad_request("The body is not a JSON object.")
    _check_model(state, body.get("model"))
    requests = _requests(state, body)
    if state.faults.latency:
        await asyncio.sleep(state.faults.latency)
    _fail_some(state, number)
    try:
        replies = await asyncio.gather(*(state.backend.complete(request) for request in requests))
    except (RequestError, EndpointError) as error:
        raise _Refusal(500, str(error), kind="server_error", code=None) from error
    envelope = {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "created": int(time.time()),
        "model": state.backend.model,
    }
    return envelope, replies, _usage(state, requests[0], replies)


def _limit(state: _State, number: int) -> None:
    faults = state.faults
    limited = bool(faults.limit_every) and number % faults.limit_every == 0
    if faults.requests_per_second:
        now = time.monotonic()
        while state.recent and state.recent[0] <= now - 1.0:
            state.recent.popleft()
        limited = limited or len(state.recent) >= faults.requests_per_second
        if not limited:
            state.recent.append(now)
    if limited:
        raise _Refusal(
            429,
            "Rate limit reached.",
            kind="rate_limit_error",
            code="rate_limit_exceeded",
            headers={"Retry-After": f"{faults.retry_after:g}"},
        )


def _fail_some(state: _State, number: int) -> None:
    draw = int.from_bytes(hashlib.sha256(str(number).encode()).digest()[:4], "big") / 2**32
    if draw < state.faults.error_rate:
        raise _Refusal(500, "The server had an error.", kind="server_error", code=None)


def _bad_request(message: str) -> _Refusal:
    return _Refusal(400, message, kind="invalid_request_error", code=None)


def _requests(state: _State, body: Mapping[str, Any]) -> list[Request]:
    """One request for each of the `n` choices that are wanted."""
    for name in _UNSUPPORTED:
        if body.get(name):
            raise _bad_request(f"This server does not support `{name}`.")
    messages = _messages(body.get("messages"))
    sampling = Sampling(
        temperature=_number(body, "temperature", 1.0),
        top_p=_number(body, "top_p", 1.0),
        max_tokens=int(_number(body, "max_completion_tokens", _number(body, "max_tokens", 2048))),
    )
    count = int(_number(body, "n", 1))
    if count < 1 or sampling.max_tokens < 1 or sampling.temperature < 0:
        raise _bad_request("`n` and `max_tokens` must be at least 1, `temperature` at least 0.")
    first = int(_number(body, "seed", _repeat(state, messages, sampling, count)))
    return [Request(messages=messages, sampling=sampling, sample=first + i) for i in range(count)]


def _repeat(state: _State, messages: tuple[Message, ...], sampling: Sampling, count: int) -> int:
    """Without a seed, the same prompt again is another draw, as with any sampling server."""
    key = Request(messages=messages, sampling=sampling).identity("")
    number = state.repeats[key]
    state.repeats[key] += count
    return number


def _messages(raw: object) -> tuple[Message, ...]:
    if not isinstance(raw, list) or not raw:
        raise _bad_request("`messages` must be a list with at least one message.")
    found = []
    for item in raw:
        if not isinstance(item, dict) or item.get("role") not in _ROLES:
            raise _bad_request(f"Each message needs a role among {', '.join(_ROLES)}.")
        found.append(Message(item["role"], _content(item.get("content"))))
    return tuple(found)


def _content(raw: object) -> str:
    if isinstance(raw, str):
        return raw
    if isinstance(raw, list) and all(
        isinstance(p, dict) and isinstance(p.get("text"), str) for p in raw
    ):
        return "".join(part["text"] for part in raw)
    raise _bad_request("The content of a message must be text.")


def _number(body: Mapping[str, Any], name: str, default: float) -> float:
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _bad_request(f"`{name}` must be a number.")
    return value


def _usage(state: _State, request: Request, replies: list[Reply]) -> dict[str, Any]:
    prompt = "".join(f"{message.role}\n{message.content}\n" for message in request.messages)
    tokens = replies[0].usage.prompt_tokens or -(-len(prompt) // _CHARACTERS_PER_TOKEN)
    cached = int(tokens * _cached_characters(state, prompt) / max(len(prompt), 1))
    completion = sum(
        reply.usage.completion_tokens or -(-len(reply.text) // _CHARACTERS_PER_TOKEN)
        for reply in replies
    )
    return {
        "prompt_tokens": tokens,
        "completion_tokens": completion,
        "total_tokens": tokens + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def _cached_characters(state: _State, prompt: str) -> int:
    """How much of the prompt an earlier prompt began with, in whole blocks; remembers this one.

    Each block is known by the hash of everything up to its end, so a block counts only behind the
    same prefix.
    """
    chain = hashlib.sha256()
    hits, missed = 0, False
    for end in range(_BLOCK_CHARACTERS, len(prompt) + 1, _BLOCK_CHARACTERS):
        chain.update(prompt[end - _BLOCK_CHARACTERS : end].encode())
        key = chain.digest()
        missed = missed or key not in state.blocks
        hits += not missed
        state.blocks[key] = None
        state.blocks.move_to_end(key)
    while len(state.blocks) > _CACHE_BLOCKS:
        state.blocks.popitem(last=False)
    return hits * _BLOCK_CHARACTERS


async def _events(
    envelope: Mapping[str, Any], replies: list[Reply], usage: Mapping[str, Any] | None
) -> AsyncIterator[str]:
    def event(choices: list[dict[str, Any]], **extra: object) -> str:
        chunk = {**envelope, "object": "chat.completion.chunk", "choices": choices, **extra}
        return f"data: {json.dumps(chunk)}\n\n"

    for index, reply in enumerate(replies):
        yield event(
            [{"index": index, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]
        )
        for piece in reply.text.splitlines(keepends=True):
            yield event([{"index": index, "delta": {"content": piece}, "finish_reason": None}])
        finish = _FINISH[reply.finish_reason]
        yield event([{"index": index, "delta": {}, "finish_reason": finish}])
    if usage is not None:
        yield event([], usage=usage)
    yield "data: [DONE]\n\n"


def serve(
    backend: Backend, faults: Faults, *, host: str, port: int, ready: Callable[[str], None]
) -> None:
    """Serve until SIGINT or SIGTERM; requests in flight are answered first.

    `ready` gets the base URL (`http://HOST:PORT/v1`) once connections are accepted; port 0 takes a
    free one.
    """
    listener = _listen(host, port)
    server = _server(backend, faults)
    ready(_url(listener))
    with listener, contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listener])


@contextlib.contextmanager
def serving(backend: Backend, faults: Faults) -> Iterator[str]:
    """Serve on a free loopback port from a thread while the block runs; yields the base URL."""
    listener = _listen("127.0.0.1", 0)
    server = _server(backend, faults)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield _url(listener)
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        reason = error.strerror or str(error)
        raise UserError(
            f"testbed serve: cannot listen on {host}:{port} ({reason}); choose another --port"
        ) from error
    listener.listen(1024)
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{host}:{port}/v1"


def _server(backend: Backend, faults: Faults) -> uvicorn.Server:
    config = uvicorn.Config(
        application(backend, faults),
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=30,
    )
    return uvicorn.Server(config)
