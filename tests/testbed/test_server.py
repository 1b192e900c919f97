"""The testbed's server, asked by the official OpenAI client over loopback."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import httpx
import openai
import pytest

from engrain.backends.base import Reply, Request, Usage
from engrain.errors import RequestError, UserError
from engrain.testbed.server import Faults, serve, serving

DOCUMENT = "The lighthouse of Wilmon was built in 1871 by Ada Fenn. " * 20


class Echo:
    """Answers with the last message and the sample index."""

    def __init__(self) -> None:
        self.seen: list[Request] = []

    @property
    def model(self) -> str:
        return "echo"

    async def complete(self, request: Request) -> Reply:
        self.seen.append(request)
        if "refuse" in request.messages[-1].content:
            raise RequestError("refused for good")
        text = f"{request.messages[-1].content}\n#{request.sample}"
        return Reply(text=text, finish_reason="length", usage=Usage())

    async def aclose(self) -> None:
        pass


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def client(echo: Echo) -> Iterator[openai.OpenAI]:
    with (
        serving(echo, Faults()) as url,
        openai.OpenAI(base_url=url, api_key="x", max_retries=0) as client,
    ):
        yield client


def ask(client: openai.OpenAI, content: str, **options: object) -> openai.types.chat.ChatCompletion:
    return client.chat.completions.create(
        model="echo",
        messages=[{"role": "user", "content": content}],
        **options,  # type: ignore[call-overload]
    )


def test_the_model_is_listed_and_can_be_asked_for(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["echo"]
    assert client.models.retrieve("echo").id == "echo"


def test_a_request_reaches_the_backend_whole(client: openai.OpenAI, echo: Echo) -> None:
    done = client.chat.completions.create(
        model="echo",
        messages=[
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}],
            },
        ],
        temperature=0.7,
        top_p=0.95,
        max_tokens=99,
        seed=5,
    )
    (seen,) = echo.seen
    assert [(m.role, m.content) for m in seen.messages] == [
        ("system", "Be brief."),
        ("user", "Hello"),
    ]
    assert (seen.sampling.temperature, seen.sampling.top_p, seen.sampling.max_tokens) == (
        0.7,
        0.95,
        99,
    )
    assert seen.sample == 5
    assert done.choices[0].message.content == "Hello\n#5"
    assert done.choices[0].finish_reason == "length"


def test_choices_and_repeats_without_a_seed_are_different_draws(client: openai.OpenAI) -> None:
    first = [choice.message.content for choice in ask(client, "hi", n=2).choices]
    second = [choice.message.content for choice in ask(client, "hi").choices]
    assert [*first, *second] == ["hi\n#0", "hi\n#1", "hi\n#2"]


def test_a_streamed_reply_is_the_whole_reply_in_pieces(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="echo",
        messages=[{"role": "user", "content": "one\ntwo"}],
        seed=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(pieces) == "one\ntwo\n#0"
    assert len([piece for piece in pieces if piece]) == 3
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "length"
    usage = chunks[-1].usage
    assert usage is not None and usage.completion_tokens > 0


def test_usage_counts_the_prefix_that_an_earlier_prompt_shared(client: openai.OpenAI) -> None:
    def cached(content: str) -> tuple[int, int]:
        usage = ask(client, content).usage
        assert usage is not None and usage.prompt_tokens_details is not None
        return usage.prompt_tokens_details.cached_tokens or 0, usage.prompt_tokens

    assert cached(DOCUMENT + "Task: rewrite")[0] == 0
    again, tokens = cached(DOCUMENT + "Task: question-answer pairs")
    assert 0.9 * len(DOCUMENT) / 4 < again < tokens
    assert cached("Another beginning. " + DOCUMENT)[0] == 0


def test_a_wrong_key_gets_401_and_the_right_one_is_served(echo: Echo) -> None:
    with serving(echo, Faults(api_key="right")) as url:
        with openai.OpenAI(base_url=url, api_key="wrong", max_retries=0) as wrong:
            with pytest.raises(openai.AuthenticationError, match="Incorrect API key"):
                ask(wrong, "hi")
            with pytest.raises(openai.AuthenticationError):
                wrong.models.list()
        with openai.OpenAI(base_url=url, api_key="right", max_retries=0) as right:
            assert ask(right, "hi", seed=1).choices[0].message.content == "hi\n#1"


def test_an_unknown_model_gets_404_in_openais_form(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="does not exist") as caught:
        client.chat.completions.create(model="gpt-0", messages=[{"role": "user", "content": "hi"}])
    assert caught.value.code == "model_not_found"


def test_malformed_requests_get_400_that_says_what_is_wrong(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="`stop`"):
        ask(client, "hi", stop=["."])
    with pytest.raises(openai.BadRequestError, match="at least 1"):
        ask(client, "hi", max_tokens=0)
    with pytest.raises(openai.BadRequestError, match="`messages`"):
        client.chat.completions.create(model="echo", messages=[])
    url = str(client.base_url) + "chat/completions"
    assert httpx.post(url, content=b"{not json").status_code == 400
    assert httpx.post(url, content=b"[]").status_code == 400


def test_a_backend_that_gives_up_on_a_request_is_a_500(client: openai.OpenAI) -> None:
    with pytest.raises(openai.InternalServerError, match="refused for good"):
        ask(client, "refuse this")


def test_every_nth_request_is_limited_and_says_how_long_to_wait(echo: Echo) -> None:
    with (
        serving(echo, Faults(limit_every=3, retry_after=0.5)) as url,
        openai.OpenAI(base_url=url, api_key="x", max_retries=0) as client,
    ):
        ask(client, "1")
        ask(client, "2")
        with pytest.raises(openai.RateLimitError) as caught:
            ask(client, "3")
        assert caught.value.response.headers["retry-after"] == "0.5"
        ask(client, "4")


def test_requests_beyond_the_rate_are_limited(echo: Echo) -> None:
    with (
        serving(echo, Faults(requests_per_second=2)) as url,
        openai.OpenAI(base_url=url, api_key="x", max_retries=0) as client,
    ):
        ask(client, "1")
        ask(client, "2")
        with pytest.raises(openai.RateLimitError):
            ask(client, "3")


def test_the_error_rate_is_met_and_the_same_requests_fail_every_time(echo: Echo) -> None:
    def failures() -> list[int]:
        failed = []
        with serving(echo, Faults(error_rate=0.3)) as url, httpx.Client(base_url=url) as client:
            for number in range(100):
                body = {"model": "echo", "messages": [{"role": "user", "content": "hi"}]}
                answer = client.post("/chat/completions", json=body)
                assert answer.status_code in (200, 500)
                if answer.status_code == 500:
                    failed.append(number)
        return failed

    first = failures()
    assert 20 <= len(first) <= 40
    assert failures() == first


def test_latency_delays_replies_but_not_one_behind_the_other(echo: Echo) -> None:
    async def four(url: str) -> float:
        async with openai.AsyncOpenAI(base_url=url, api_key="x", max_retries=0) as client:
            started = time.monotonic()
            one = {"model": "echo", "messages": [{"role": "user", "content": "hi"}]}
            await asyncio.gather(*(client.chat.completions.create(**one) for _ in range(4)))  # type: ignore[call-overload]
            return time.monotonic() - started

    with serving(echo, Faults(latency=0.3)) as url:
        assert 0.3 <= asyncio.run(four(url)) < 1.0


def test_a_port_that_is_taken_is_a_sentence(echo: Echo) -> None:
    with (
        serving(echo, Faults()) as url,
        pytest.raises(UserError, match=r"cannot listen on 127.0.0.1:"),
    ):
        port = int(url.removesuffix("/v1").rpartition(":")[2])
        serve(echo, Faults(), host="127.0.0.1", port=port, ready=lambda _: None)
