"""What Engrain costs beside the official client: requests a second, and CPU time of a request.

A server in a process of its own answers after 50 ms, with 256 requests in flight. Three clients
take turns in one process: (a) aiohttp alone, (b) the OpenAI client over its aiohttp transport,
(c) Engrain's way: `complete_all`, the pool, the ledger, the method's parser and the verifier.
On a machine with two cores or more, server and client have one each; another job on them shows in
the intervals, which span all rounds. Usage: make bench NAME=client_overhead [ARGS='ROUNDS']
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import openai
from recording import Figure, report

from engrain.backends.base import Message, Reply, Request, Sampling
from engrain.backends.ledger import Ledger
from engrain.backends.openai import OpenAIBackend
from engrain.backends.run import Result, complete_all
from engrain.synthesize.leak import LeakGuard
from engrain.synthesize.rewrite import Rewrite
from engrain.synthesize.settings import DocumentSettings
from engrain.synthesize.verify import Verifier

LATENCY = 0.05
IN_FLIGHT = 256
REQUESTS = 1536
ROUNDS = 5
MODEL = "canned"
# About 1,000 tokens of document and 400 of reply, as in a usual rewrite.
DOCUMENT = "The lighthouse of Wilmon was built in 1871 by Ada Fenn. " * 72
REPLY = "Ada Fenn, who built the lighthouse in 1871, came to Wilmon by sea. " * 24


class Canned(asyncio.Protocol):
    """Answers every request after the latency; reads of HTTP only where a request ends."""

    def __init__(self) -> None:
        self._buffer = b""
        self._number = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each request that is complete."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
            if len(self._buffer) < end + 4 + length:
                return
            self._buffer = self._buffer[end + 4 + length :]
            asyncio.get_running_loop().call_later(LATENCY, self._answer)

    def _answer(self) -> None:
        self._number += 1
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": f"{REPLY} {id(self)}-{self._number}"},
            "finish_reason": "stop",
        }
        usage = {"prompt_tokens": 1000, "completion_tokens": 400, "total_tokens": 1400}
        body = json.dumps(
            {
                "id": "x",
                "object": "chat.completion",
                "created": 0,
                "model": MODEL,
                "choices": [choice],
                "usage": usage,
            }
        ).encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
        self._transport.write(f"{head}\r\n\r\n".encode() + body)


def serve(ready: multiprocessing.SimpleQueue[int], core: int | None) -> None:
    """Run the server until the process is ended."""
    pin(core)

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Canned, "127.0.0.1", 0, backlog=512)
        ready.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


def pin(core: int | None) -> None:
    """Keep this process on one core, where the system can."""
    if core is not None:
        os.sched_setaffinity(0, {core})


@dataclass(frozen=True, slots=True)
class Run:
    """One client's work in one round."""

    per_second: float
    cpu_ms: float


def requests(start: int) -> Iterator[Request]:
    """Requests that no earlier round made."""
    sampling = Sampling(max_tokens=1024)
    for number in range(start, start + REQUESTS):
        yield Request(
            messages=(Message("user", f"{DOCUMENT}\n\nTask: rewrite {number}"),), sampling=sampling
        )


def fields(request: Request) -> dict[str, object]:
    """What all three clients send."""
    return {
        "model": MODEL,
        "messages": [{"role": m.role, "content": m.content} for m in request.messages],
        "temperature": request.sampling.temperature,
        "top_p": request.sampling.top_p,
        "max_tokens": request.sampling.max_tokens,
        "seed": request.sample,
    }


async def loop(ask: Callable[[Request], Awaitable[str]], start: int) -> None:
    """As many workers as may be in flight, and nothing else."""
    stream = requests(start)

    async def work() -> None:
        for request in stream:
            assert (await ask(request)).startswith("Ada Fenn")

    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))


async def bare(url: str, start: int) -> None:
    """(a) aiohttp alone."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def ask(request: Request) -> str:
            async with session.post(f"{url}/chat/completions", json=fields(request)) as answer:
                body = await answer.json()
            return str(body["choices"][0]["message"]["content"])

        await loop(ask, start)


async def official(url: str, start: int) -> None:
    """(b) The OpenAI client."""
    async with openai.AsyncOpenAI(
        base_url=url, api_key="none", max_retries=0, http_client=openai.DefaultAioHttpClient()
    ) as client:

        async def ask(request: Request) -> str:
            completion = await client.chat.completions.create(**fields(request))  # type: ignore[call-overload]
            return str(completion.choices[0].message.content)

        await loop(ask, start)


async def engrain(url: str, start: int) -> None:
    """(c) From requests to verified texts, every reply durable."""
    backend = OpenAIBackend(model=MODEL, base_url=url, concurrency=IN_FLIGHT)
    method = Rewrite(DocumentSettings(), seed=0)
    verifier = Verifier(LeakGuard([]))
    kept = 0

    def done(request: Request, result: Result) -> None:
        nonlocal kept
        assert isinstance(result, Reply), result
        for piece in method.parse(result).pieces:
            kept += verifier.fault(piece, method.kind) is None

    with tempfile.TemporaryDirectory() as folder, Ledger(Path(folder) / "ledger.sqlite") as ledger:
        try:
            await complete_all(
                backend, requests(start), ledger=ledger, concurrency=IN_FLIGHT, on_done=done
            )
        finally:
            await backend.aclose()
    assert kept == REQUESTS, kept


CLIENTS = (bare, official, engrain)


def measure(client: Callable[[str, int], Awaitable[None]], url: str, start: int) -> Run:
    """One client's requests a second and CPU milliseconds a request."""

    async def run() -> tuple[float, float]:
        clock, cpu = time.perf_counter(), time.process_time()
        await client(url, start)
        return time.perf_counter() - clock, time.process_time() - cpu

    seconds, cpu = asyncio.run(run())
    return Run(REQUESTS / seconds, 1000 * cpu / REQUESTS)


def figure(
    name: str, unit: str, values: Sequence[float], *, bar: float | None = None, most: bool = False
) -> Figure:
    """The median of the rounds, between the smallest and the largest."""
    return Figure(
        name=name,
        value=statistics.median(values),
        unit=unit,
        n=len(values),
        low=min(values),
        high=max(values),
        bar=bar,
        at_most=most,
    )


def main() -> int:
    """Measure all of it."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    apart = len(cores) > 1
    context = multiprocessing.get_context("spawn")
    ready = context.SimpleQueue()
    server = context.Process(target=serve, args=(ready, cores[1] if apart else None), daemon=True)
    server.start()
    pin(cores[0] if apart else None)
    url = f"http://127.0.0.1:{ready.get()}/v1"
    runs: dict[str, list[Run]] = {client.__name__: [] for client in CLIENTS}
    start = 0
    try:
        # The first round warms up: imports, connections, caches.
        for number in range(rounds + 1):
            for client in CLIENTS:
                run = measure(client, url, start)
                start += REQUESTS
                if number:
                    runs[client.__name__].append(run)
    finally:
        server.terminate()
        server.join()
    shares = [
        ours.per_second / theirs.per_second
        for ours, theirs in zip(runs["engrain"], runs["official"], strict=True)
    ]
    cpu = {name: [run.cpu_ms for run in each] for name, each in runs.items()}
    speed = {name: [run.per_second for run in each] for name, each in runs.items()}
    return report(
        "client_overhead",
        [
            figure("throughput, share of the OpenAI client's", "", shares, bar=0.90),
            figure("client CPU, Engrain", "ms/request", cpu["engrain"], bar=2.5, most=True),
            figure("client CPU, OpenAI client", "ms/request", cpu["official"]),
            figure("client CPU, aiohttp", "ms/request", cpu["bare"]),
            figure("throughput, Engrain", "requests/s", speed["engrain"]),
            figure("throughput, OpenAI client", "requests/s", speed["official"]),
            figure("throughput, aiohttp", "requests/s", speed["bare"]),
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
