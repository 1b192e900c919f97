"""A generator that misbehaves in every way: what becomes of its requests, and how many it serves.

The server works on at most 8 requests and refuses more; in storms it refuses everything, every
other time with Retry-After. Of what it serves, a seeded share are errors, lost connections, slow
bodies and half ones; some prompts it refuses for good, and some replies cannot be used. Each
request must end as a text that is kept, one that is rejected with a reason, or a failure with a
reason. What the server allowed is what it can work on while there is no storm.
Usage: make bench NAME=faults [ARGS='SECONDS']
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

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
from engrain.synthesize.verify import Verifier, reply_fault

WINDOW = Window(document_id="d", title="", number=0, text="The lighthouse of Wilmon.", tokens=6)
MODEL = "faulty"
AT_A_TIME, LATENCY = 8, 0.25
CONCURRENCY = 256
SECONDS = 40.0
SEED = 1
# Of requests that are served, in this order; the rest is answered well.
SHARES = {"500": 0.02, "reset": 0.01, "half": 0.01, "slow": 0.01}
# Of prompts: 400 whenever asked, and a reply that the server's own filter ended.
HOPELESS, FILTERED = 0.01, 0.02
CALM, STORM, SLOW = (3.0, 7.0), (0.5, 2.0), 1.0
REPLY = "Ada Fenn, who built the lighthouse in 1871, came to Wilmon by sea. " * 12


class World:
    """The server's state: one for all connections."""

    rng = random.Random(SEED)
    working = served = storms = 0
    began = storm_from = storm_to = stormy = 0.0

    @classmethod
    def storm(cls, now: float) -> bool:
        """Whether everything is refused now; keeps the times of the storms."""
        if not cls.began:
            cls.began = now
            cls._plan(now)
        while now >= cls.storm_to:
            cls.stormy += cls.storm_to - cls.storm_from
            cls._plan(cls.storm_to)
        return now >= cls.storm_from

    @classmethod
    def _plan(cls, now: float) -> None:
        cls.storms += 1
        cls.storm_from = now + cls.rng.uniform(*CALM)
        cls.storm_to = cls.storm_from + cls.rng.uniform(*STORM)

    @classmethod
    def told(cls, now: float) -> dict[str, float]:
        """What it served, and the seconds in which it would have."""
        stormy = cls.stormy + (now - cls.storm_from if cls.storm(now) else 0.0)
        return {"served": cls.served, "calm": now - cls.began - stormy, "storms": cls.storms - 1}


class Faulty(Http):
    """One connection to that server."""

    def requested(self, body: bytes) -> None:
        """Refuse, or serve after a while."""
        now = time.monotonic()
        asked = json.loads(body)
        if "messages" not in asked:
            self.answer(200, json.dumps(World.told(now)).encode())
        elif World.storm(now):
            wait = {"retry-after": f"{World.storm_to - now:.2f}"} if World.storms % 2 else None
            self.answer(429, b'{"error": {"message": "storm"}}', wait)
        elif World.working >= AT_A_TIME:
            self.answer(429, b'{"error": {"message": "busy"}}')
        else:
            World.working += 1
            World.served += 1
            loop = asyncio.get_running_loop()
            loop.call_later(LATENCY, self._serve, asked["messages"][0]["content"])

    def _serve(self, prompt: str) -> None:
        World.working -= 1
        (fault,) = World.rng.choices(
            [*SHARES, "none"], [*SHARES.values(), 1 - sum(SHARES.values())]
        )
        luck = share(prompt)
        text = f"{REPLY} {prompt[-12:]}"
        body = completion(
            text,
            model=MODEL,
            finish_reason="content_filter" if luck < HOPELESS + FILTERED else "stop",
        )
        if luck < HOPELESS:
            self.answer(400, b'{"error": {"message": "the prompt is too long"}}')
        elif fault == "500":
            self.answer(500, b'{"error": {"message": "oops"}}')
        elif fault == "reset":
            self.transport.abort()
        elif fault == "half":
            self.answer(200, body[: len(body) // 2])
        elif fault == "slow":
            self.head(200, len(body))
            self.transport.write(body[:100])
            asyncio.get_running_loop().call_later(SLOW, self.transport.write, body[100:])
        else:
            self.answer(200, body)


def share(prompt: str) -> float:
    """A number between 0 and 1 that belongs to a prompt."""
    return int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:4], "big") / 2**32


def told(url: str) -> Mapping[str, float]:
    """What the server says of itself."""
    with urllib.request.urlopen(urllib.request.Request(url, data=b"{}")) as answer:
        return dict(json.load(answer))


async def ask(
    url: str, seconds: float, ledger: Ledger
) -> tuple[int, Counter[str], Mapping[str, float]]:
    """Ask for some seconds: how many requests there were, what became of them, and of the server.

    The server is asked when the last request is taken: what still waits then leaves it idle.
    """
    backend = openai_backend(model=MODEL, base_url=url, concurrency=CONCURRENCY)
    method = Rewrite(DocumentSettings(), window=None, seed=0)
    verifier = Verifier(LeakGuard([]), VerifySettings())
    ends: Counter[str] = Counter()
    asked, server = 0, None

    def requests() -> Iterator[Request]:
        nonlocal asked, server
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            asked += 1
            prompt = f"The lighthouse of Wilmon.\n\nTask: rewrite {asked:06d}"
            yield Request(messages=(Message("user", prompt),), sampling=Sampling(max_tokens=512))
        server = server or told(url)

    def done(request: Request, result: Result) -> None:
        ends[ended(result, method, verifier)] += 1

    try:
        await complete_all(
            backend, requests(), ledger=ledger, concurrency=CONCURRENCY, on_done=done
        )
    finally:
        await backend.aclose()
    assert server is not None
    return asked, ends, server


def ended(result: Result, method: Rewrite, verifier: Verifier) -> str:
    """What became of a request: kept, or why not."""
    if not isinstance(result, Reply):
        assert str(result), "a failure without a reason"
        return "failed: 400" if "answered 400" in str(result) else "failed: other"
    fault = reply_fault(result)
    pieces = method.parse(result, WINDOW).pieces
    faults = [fault] if fault else [verifier.fault(p, method.kind, WINDOW) for p in pieces]
    reasons = [fault.reason for fault in faults if fault]
    assert all(reasons), "a rejection without a reason"
    return f"rejected: {reasons[0]}" if reasons else "kept"


def main() -> int:
    """Measure all of it."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    with (
        serving(Faulty) as url,
        tempfile.TemporaryDirectory() as folder,
        Ledger(Path(folder) / "ledger.sqlite") as ledger,
    ):
        asked, ends, server = asyncio.run(ask(url, seconds, ledger))
    hopeless = sum(
        share(f"The lighthouse of Wilmon.\n\nTask: rewrite {number:06d}") < HOPELESS
        for number in range(1, asked + 1)
    )
    allowed = server["calm"] * AT_A_TIME / LATENCY
    figures = [
        Figure(
            name="served, share of what the server allowed",
            value=server["served"] / allowed,
            unit="",
            n=asked,
            bar=0.70,
        ),
        Figure(
            name="requests that ended in one way, share",
            value=sum(ends.values()) / asked,
            unit="",
            n=asked,
            bar=1.0,
        ),
        Figure(
            name="failures that the server did not mean for good",
            value=float(ends.total() and sum(ends[k] for k in ends if "failed" in k) - hopeless),
            unit="requests",
            n=asked,
        ),
        Figure(name="storms", value=server["storms"], unit="", n=1),
    ]
    figures += [
        Figure(name=name, value=float(count), unit="requests", n=asked)
        for name, count in sorted(ends.items())
    ]
    return report("faults", figures)


if __name__ == "__main__":
    sys.exit(main())
