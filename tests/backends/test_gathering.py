"""Which calls share a batch."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from engrain.backends.base import Message, Reply, Request, Sampling, Usage
from engrain.backends.gathering import Call, Gathering


def ask(number: int) -> Request:
    return Request(messages=(Message("user", str(number)),), sampling=Sampling())


def test_a_batch_is_cut_only_once_no_more_calls_come():
    sizes = []

    async def answer(calls: Sequence[Call]) -> None:
        sizes.append(len(calls))
        for call in calls:
            call.give(Reply(text="", finish_reason="stop", usage=Usage()))

    async def go() -> None:
        gathering = Gathering(answer, quiet=0.5)
        calls = []
        # They take longer to come than it stays quiet, and never stop for so long.
        for number in range(20):
            calls.append(asyncio.create_task(gathering.submit(ask(number))))
            await asyncio.sleep(0.04)
        await asyncio.gather(*calls)
        await gathering.submit(ask(100))

    asyncio.run(go())
    assert sizes == [20, 1]
