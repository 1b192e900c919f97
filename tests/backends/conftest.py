"""A real endpoint on loopback, with faults on demand, and a tiny real model."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request as HTTPRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

MODEL = "tiny-writer"
KEY = "sk-planted-secret"


class Endpoint:
    """Echoes the prompt and the seed; before that, plays the faults that a test has queued."""

    def __init__(self) -> None:
        self.faults: deque[str] = deque()
        self.bodies: list[dict[str, Any]] = []
        self.needs_key = False
        self.lists_models = True
        self.rejected_fields: set[str] = set()
        self.latency = 0.0
        self.model = MODEL
        self.retry_after = 0.3
        self.moved_to = ""
        self.in_flight = self.most_in_flight = 0
        self.url = ""

    def app(self) -> Starlette:
        routes = [
            Route("/v1/chat/completions", self._chat, methods=["POST"]),
            Route("/v1/models", self._models),
        ]
        return Starlette(routes=routes)

    async def _models(self, request: HTTPRequest) -> Response:
        if self.needs_key and request.headers["authorization"] != f"Bearer {KEY}":
            return _error(401, f"Incorrect key {KEY[:6]}...")
        if not self.lists_models:
            return _error(404, "no such page")
        rows = [
            {"id": name, "object": "model", "created": 0, "owned_by": "us"}
            for name in (self.model, "other")
        ]
        return JSONResponse({"object": "list", "data": rows})

    async def _chat(self, request: HTTPRequest) -> Response:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self._answer(request)
        finally:
            self.in_flight -= 1

    async def _answer(self, request: HTTPRequest) -> Response:
        body = await request.json()
        self.bodies.append(body)
        if self.needs_key and request.headers["authorization"] != f"Bearer {KEY}":
            return _error(401, f"Incorrect key {KEY[:6]}...")
        if body["model"] != self.model:
            return _error(404, "The model does not exist", code="model_not_found")
        for name in self.rejected_fields & set(body):
            return _error(400, f"Unsupported parameter: {name!r}", param=name)
        fault = self.faults.popleft() if self.faults else ""
        await asyncio.sleep(self.latency)
        if self.moved_to:
            return Response(status_code=307, headers={"location": self.moved_to})
        if fault.startswith(("{", "[")):
            return Response(fault, media_type="application/json")
        if fault == "429":
            return _error(429, "slow down", headers={"retry-after": f"{self.retry_after:g}"})
        return await _play(fault, body, request)


async def _play(fault: str, body: dict[str, Any], request: HTTPRequest) -> Response:
    good = _completion(body)
    match fault:
        case "500":
            return _error(500, "oops")
        case "400":
            return _error(400, "maximum context length is 4096 tokens")
        case "quota":
            return _error(429, "no credit", code="insufficient_quota")
        case "half json":
            return Response(JSONResponse(good).body[:40], media_type="application/json")
        case "page":
            return Response("<html>Bad gateway</html>", media_type="text/html")
        case "lost":
            return _Lost(JSONResponse(good).body)
        case "slow":
            while not await request.is_disconnected():
                await asyncio.sleep(0.05)
        case "filtered":
            good["choices"][0] |= {
                "finish_reason": "content_filter",
                "message": {"role": "assistant"},
            }
        case "no choices":
            good["choices"] = []
        case "no usage":
            del good["usage"]
    return JSONResponse(good)


class _Lost(Response):
    """Promises a body and closes the connection in the middle of it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(self.body)).encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": bytes(self.body[:30]), "more_body": True})
        raise ConnectionResetError("on purpose")


def _error(
    status: int, message: str, *, headers: dict[str, str] | None = None, **fields: str
) -> Response:
    return JSONResponse(
        {"error": {"message": message, **fields}}, status_code=status, headers=headers
    )


def _completion(body: dict[str, Any]) -> dict[str, Any]:
    prompt = body["messages"][-1]["content"]
    words = [*prompt.split(), f"seed={body.get('seed')}"]
    limit = body.get("max_tokens") or body["max_completion_tokens"]
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": " ".join(words[:limit])},
        "finish_reason": "length" if len(words) > limit else "stop",
    }
    usage = {
        "prompt_tokens": len(prompt.split()),
        "completion_tokens": min(limit, len(words)),
        "total_tokens": 0,
        "prompt_tokens_details": {"cached_tokens": 1},
    }
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": MODEL,
        "choices": [choice],
        "usage": usage,
    }


@contextmanager
def served() -> Iterator[Endpoint]:
    """An endpoint on a free port, served by uvicorn in a thread."""
    made = Endpoint()
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    made.url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    server = uvicorn.Server(uvicorn.Config(made.app(), log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield made
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """A fresh endpoint."""
    with served() as made:
        yield made


@pytest.fixture
def endpoints() -> Iterator[list[Endpoint]]:
    """Three of them."""
    with served() as first, served() as second, served() as third:
        yield [first, second, third]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random Llama of some thousand parameters, its tokenizer and its chat
    template."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny-llama")
    marks = ["<end>", "<user>", "<assistant>"]
    words = ["red", "green", "blue", "one", "two", "three", "cat", "dog", "bird", "runs", "sleeps"]
    bytes_to_words = ByteLevelBPETokenizer()
    bytes_to_words.train_from_iterator(
        [f" {word}" for word in words * 5], special_tokens=marks, show_progress=False
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bytes_to_words._tokenizer,
        additional_special_tokens=marks,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = (
        "{% for message in messages %}<{{ message.role }}> {{ message.content }}<end>\n{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    tokenizer.save_pretrained(folder)
    with torch.random.fork_rng():
        torch.random.manual_seed(1)
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=64,
            bos_token_id=None,
            eos_token_id=None,
        )
        network = LlamaForCausalLM(config)
        torch.nn.init.normal_(network.lm_head.weight, std=0.5)
    network.save_pretrained(folder)
    return folder
