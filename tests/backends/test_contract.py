"""What every backend must do, tried on each of them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engrain.backends.base import Backend, Message, Reply, Request, Sampling
from engrain.backends.batch import BatchBackend
from engrain.backends.endpoint import Endpoint
from engrain.backends.openai import openai_backend
from engrain.backends.pool import Pool
from engrain.backends.scripted import ScriptedBackend
from engrain.backends.settings import BatchSettings, EndpointSettings

WORDS = ["red", "green", "blue", "one", "two", "three", "cat", "dog", "bird", "runs", "sleeps"]


def ask(text: str, *, sample: int = 0, temperature: float = 0.0, max_tokens: int = 8) -> Request:
    sampling = Sampling(temperature=temperature, max_tokens=max_tokens)
    return Request(messages=(Message("user", text),), sampling=sampling, sample=sample)


# Ray starts its workers for every batch. vLLM wants a GPU.
RAY = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
VLLM = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(
    params=[
        "scripted",
        "openai",
        "pool",
        "batch",
        "transformers",
        pytest.param("ray", marks=RAY),
        pytest.param("vllm", marks=VLLM),
    ]
)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Backend]]:
    if request.param == "scripted":
        yield scripted
    elif request.param == "openai":
        endpoint: Any = request.getfixturevalue("endpoint")
        yield lambda: openai_backend(model="tiny-writer", base_url=endpoint.url)
    elif request.param == "pool":
        places: Any = request.getfixturevalue("endpoints")
        yield lambda: Pool(
            [
                Endpoint(EndpointSettings(base_url=place.url), model="tiny-writer")
                for place in places
            ]
        )
    elif request.param == "batch":
        from engrain.testbed.server import Faults, serving

        with serving(scripted(), Faults()) as url:
            folders = itertools.count()
            yield lambda: BatchBackend(
                Endpoint(EndpointSettings(base_url=url), model="scripted"),
                tmp_path / str(next(folders)),
                BatchSettings(fewest=1, poll_seconds=0.02),
                quiet=0.01,
            )
    elif request.param == "ray":
        request.getfixturevalue("one_ray")
        from engrain.backends.ray import RayBackend

        place: Any = request.getfixturevalue("endpoint")
        served = Endpoint(EndpointSettings(base_url=place.url), model="tiny-writer")
        yield lambda: RayBackend(model="tiny-writer", endpoint=served)
    elif request.param == "vllm":
        pytest.importorskip("vllm")
        from engrain.backends.vllm import VLLMBackend

        tiny: Path = request.getfixturevalue("tiny_model")
        yield lambda: VLLMBackend(model=str(tiny), engine={"gpu_memory_utilization": 0.2})
    else:
        folder: Path = request.getfixturevalue("tiny_model")
        from engrain.backends.transformers import TransformersBackend

        yield lambda: TransformersBackend(model=folder, rows=4)


def scripted() -> ScriptedBackend:
    return ScriptedBackend(lambda asked: f"{asked.messages[-1].content} seed={asked.sample}")


def answer(backend: Backend, *requests: Request) -> list[Reply]:
    async def all_of_them() -> list[Reply]:
        try:
            return await asyncio.gather(*map(backend.complete, requests))
        finally:
            await backend.aclose()

    return asyncio.run(all_of_them())


def test_a_reply_has_a_finish_reason_and_counted_tokens(make):
    (reply,) = answer(make(), ask("red cat"))
    assert reply.finish_reason in ("stop", "length")
    assert reply.usage.prompt_tokens > 0
    assert 0 < reply.usage.completion_tokens <= 8


def test_concurrent_calls_each_get_their_own_reply(make):
    requests = [ask(" ".join(WORDS[: 1 + n % 7]), max_tokens=6) for n in range(20)]
    together = answer(make(), *requests)
    assert [reply.text for reply in together] == [
        answer(make(), request)[0].text for request in requests
    ]


def test_another_sample_is_another_draw_and_the_same_one_the_same(make):
    requests = [ask("red cat", sample=sample, temperature=1.0) for sample in range(6)]
    first, second = answer(make(), *requests), answer(make(), *requests[:3])
    assert len({reply.text for reply in first}) > 1
    assert [reply.text for reply in second] == [reply.text for reply in first[:3]]


def test_it_serves_a_second_event_loop_after_it_was_closed_in_the_first(make):
    backend = make()
    assert answer(backend, ask("blue dog")) == answer(backend, ask("blue dog"))


def test_its_name_does_not_depend_on_its_state(make):
    backend = make()
    before = backend.model
    answer(backend, ask("bird"))
    assert backend.model == before
