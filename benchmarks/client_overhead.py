"""What Engrain costs beside the official client: requests a second, and CPU time of a request.

A server in a process of its own answers after 50 ms, with 256 requests in flight. Three clients
take turns in one process: (a) aiohttp alone, (b) the OpenAI client over its aiohttp transport,
(c) Engrain's way: `complete_all`, the pool, the ledger, the method's parser and the verifier.
On a machine with two cores or more, server and client have one each; another job on them shows in
the intervals, which span all rounds. Usage: make bench NAME=client_overhead [ARGS='ROUNDS']
"""

from __future__ import annotations

import asyncio
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
from serving import Http, completion, serving

from engrain.backends.base import Message, Reply, Request, Sampling
from engrain.backends.ledger import Ledger
from engrain.backends.openai import openai_backend
from engrain.backends.run import Result, complete_all
from engrain.synthesize.base import Window
from engrain.synthesize.leak import LeakGuard
from engrain.synthesize.rewrite import Rewrite
from engrain.synthesize.settings import DocumentSettings, VerifySettings
from engrain.synthesize.verify import Verifier

LATENCY = 0.05
IN_FLIGHT = 256
REQUESTS = 1536
ROUNDS = 5
MODEL = "canned"
# About 1,000 tokens of document and 400 of reply, as in a usual rewrite.
DOCUMENT = "The lighthouse of Wilmon was built in 1871 by Ada Fenn. " * 72
REPLY = "Ada Fenn, who built the lighthouse in 1871, came to Wilmon by sea. " * 24

WINDOW = Window(document_id="d", title="Wilmon", number=0, text=DOCUMENT, tokens=1000)


class Canned(Http):
    """Answers every request after the latency, each with a text of its own."""

    number = 0

    def requested(self, body: bytes) -> None:
        """Answer later."""
        asyncio.get_running_loop().call_later(LATENCY, self._answer)

    def _answer(self) -> None:
        Canned.number += 1
        self.answer(200, completion(f"{REPLY} {Canned.number}", model=MODEL))


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
    backend = openai_backend(model=MODEL, base_url=url, concurrency=IN_FLIGHT)
    method = Rewrite(DocumentSettings(), window=None, seed=0)
    verifier = Verifier(LeakGuard([]), VerifySettings())
    kept = 0

    def done(request: Request, result: Result) -> None:
        nonlocal kept
        assert isinstance(result, Reply), result
        for piece in method.parse(result, WINDOW).pieces:
            kept += verifier.fault(piece, method.kind, WINDOW) is None

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
    runs: dict[str, list[Run]] = {client.__name__: [] for client in CLIENTS}
    start = 0
    with serving(Canned) as url:
        # The first round warms up: imports and caches.
        for number in range(rounds + 1):
            for client in CLIENTS:
                run = measure(client, url, start)
                start += REQUESTS
                if number:
                    runs[client.__name__].append(run)
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
