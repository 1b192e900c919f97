"""Ray Data on this machine, in front of a real endpoint; slow, and only where Ray is installed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from engrain.backends.base import Message, Request, Sampling
from engrain.backends.endpoint import Endpoint
from engrain.backends.ray import RayBackend
from engrain.backends.settings import EndpointSettings
from engrain.errors import EndpointError, RequestError

# The warnings are Ray's own.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("one_ray"),
]

MODEL = "tiny-writer"


def answers(url: str, count: int, *, model: str = MODEL) -> list[Any]:
    settings = EndpointSettings(base_url=url)
    backend = RayBackend(model=model, endpoint=Endpoint(settings, model=model, timeout=60))

    async def ask() -> list[Any]:
        requests = [
            Request(
                messages=(Message("user", f"number {number}"),),
                sampling=Sampling(max_tokens=8),
                sample=number,
            )
            for number in range(count)
        ]
        try:
            return await asyncio.gather(*map(backend.complete, requests), return_exceptions=True)
        finally:
            await backend.aclose()

    return asyncio.run(ask())


def test_each_request_gets_its_own_reply_with_its_usage(endpoint):
    replies = answers(endpoint.url, 70)
    assert [reply.text for reply in replies] == [f"number {n} seed={n}" for n in range(70)]
    assert {reply.usage.completion_tokens for reply in replies} == {3}
    assert {reply.finish_reason for reply in replies} == {"stop"}


def test_a_request_that_is_refused_fails_alone(endpoint):
    endpoint.faults.extend(["", "400", "", "no choices"])
    replies = answers(endpoint.url, 6)
    failed = [reply for reply in replies if isinstance(reply, RequestError)]
    assert len(failed) == 2
    assert "maximum context length" in "".join(map(str, failed))


def test_a_body_that_stops_a_whole_dataset_costs_no_other_reply(endpoint):
    endpoint.faults.extend(["", "", "page"])
    replies = answers(endpoint.url, 4)
    assert [reply.text for reply in replies] == [f"number {n} seed={n}" for n in range(4)]


def test_an_endpoint_that_refuses_everything_is_said_so_at_once(endpoint):
    replies = answers(endpoint.url, 2, model="unknown")
    assert all(isinstance(reply, EndpointError) for reply in replies)
    assert "does not know model 'unknown'" in str(replies[0])
