"""Servers for benchmarks: little HTTP, in a process of their own, on a core of their own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping


class Http(asyncio.Protocol):
    """Reads just enough HTTP to know where a request ends; `requested` gets each body."""

    def __init__(self) -> None:
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Hand on each request that is complete."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
            if len(self._buffer) < end + 4 + length:
                return
            body = self._buffer[end + 4 : end + 4 + length]
            self._buffer = self._buffer[end + 4 + length :]
            self.requested(body)

    def requested(self, body: bytes) -> None:
        """Answer a request, now or later."""
        raise NotImplementedError

    def answer(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Send an answer whose body is said to be as long as it is."""
        self.head(status, len(body), headers)
        self.transport.write(body)

    def head(self, status: int, length: int, headers: Mapping[str, str] | None = None) -> None:
        """Send the head of an answer."""
        lines = [
            f"HTTP/1.1 {status} X",
            "content-type: application/json",
            f"content-length: {length}",
            *(f"{name}: {value}" for name, value in (headers or {}).items()),
        ]
        self.transport.write("\r\n".join([*lines, "", ""]).encode())


def completion(text: str, *, model: str, finish_reason: str = "stop") -> bytes:
    """The body of a chat completion."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "finish_reason": finish_reason,
    }
    usage = {
        "prompt_tokens": 1000,
        "completion_tokens": len(text) // 4,
        "total_tokens": 1000 + len(text) // 4,
    }
    envelope = {"id": "x", "object": "chat.completion", "created": 0, "model": model}
    return json.dumps({**envelope, "choices": [choice], "usage": usage}).encode()


@contextlib.contextmanager
def serving(protocol: Callable[[], Http]) -> Iterator[str]:
    """Serve in another process while the block runs; yields the base URL.

    Where there are two cores or more, that process and this one keep to one each.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    here, there = cores[:2] if len(cores) > 1 else (None, None)
    context = multiprocessing.get_context("spawn")
    ready = context.SimpleQueue()
    server = context.Process(target=_serve, args=(protocol, ready, there), daemon=True)
    server.start()
    _pin(here)
    try:
        yield f"http://127.0.0.1:{ready.get()}/v1"
    finally:
        server.terminate()
        server.join()


def _serve(
    protocol: Callable[[], Http], ready: multiprocessing.SimpleQueue[int], core: int | None
) -> None:
    _pin(core)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(protocol, "127.0.0.1", 0, backlog=512)
        ready.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


def _pin(core: int | None) -> None:
    if core is not None:
        os.sched_setaffinity(0, {core})
