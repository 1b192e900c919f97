"""Requests in batches: sent once, collected whatever happens, over a real provider on loopback."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engrain.backends.base import Message, Reply, Request, Sampling
from engrain.backends.batch import BATCHES, BatchBackend
from engrain.backends.endpoint import Endpoint
from engrain.backends.settings import BatchSettings, EndpointSettings
from engrain.errors import EndpointError, RequestError, UserError

MODEL = "m"


def ask(number: int) -> Request:
    return Request(messages=(Message("user", f"request {number}"),), sampling=Sampling())


def number_of(request: Request) -> int:
    return int(request.messages[0].content.split()[1])


def script(request: Request) -> str:
    return f"reply {number_of(request)}"


@pytest.fixture
def connect(tmp_path: Path) -> Callable[..., BatchBackend]:
    """Makes backends that share one folder."""

    def make(
        provider: Any,
        *,
        said: list[str] | None = None,
        model: str = MODEL,
        timeout: float = 60.0,
        **options: Any,
    ) -> BatchBackend:
        settings = {"fewest": 1, "poll_seconds": 0.02} | {
            name: options.pop(name) for name in ("fewest", "most") if name in options
        }
        return BatchBackend(
            Endpoint(EndpointSettings(base_url=provider.url), model=model, timeout=timeout),
            tmp_path,
            BatchSettings.model_validate(settings),
            say=None if said is None else said.append,
            **{"quiet": 0.02, "settle": 0.0, "patience": 5.0} | options,
        )

    return make


def answer(backend: BatchBackend, numbers: range) -> list[Reply | BaseException]:
    """Replies and errors, in the order of the requests."""

    async def all_of_them() -> list[Reply | BaseException]:
        try:
            replies = map(backend.complete, map(ask, numbers))
            return await asyncio.gather(*replies, return_exceptions=True)
        finally:
            await backend.aclose()

    return asyncio.run(all_of_them())


def first_half(body: bytes) -> bytes:
    """Of the lines."""
    lines = body.split(b"\n")
    return b"\n".join(lines[: len(lines) // 2])


def texts(replies: list[Reply | BaseException]) -> list[str | None]:
    return [reply.text if isinstance(reply, Reply) else None for reply in replies]


def asked(provider: Any) -> list[int]:
    """What the model behind the provider was asked, and so is paid for."""
    return [number_of(request) for request in provider.backend.requests]


def test_requests_that_wait_together_are_one_batch_and_each_gets_its_own_reply(provide, connect):
    provider = provide(script)
    replies = answer(connect(provider), range(200))
    assert texts(replies) == [f"reply {number}" for number in range(200)]
    assert provider.calls["POST /batches"] == 1
    assert provider.calls["POST /chat/completions"] == 0
    assert sorted(asked(provider)) == list(range(200))


def test_the_first_request_and_a_few_at_a_time_are_asked_directly(provide, connect):
    provider = provide(script)
    backend = connect(provider, fewest=10)
    assert texts(answer(backend, range(30))) == [f"reply {number}" for number in range(30)]
    assert provider.calls["POST /chat/completions"] == 1
    assert [len(names) for names in provider.inputs] == [29]
    assert texts(answer(backend, range(30, 39))) == [f"reply {number}" for number in range(30, 39)]
    assert provider.calls["POST /chat/completions"] == 10
    assert provider.calls["POST /batches"] == 1


def test_an_unknown_model_is_reported_before_anything_is_sent_as_a_batch(provide, connect):
    provider = provide(script)
    backend = connect(provider, fewest=10, model="another")
    failures = answer(backend, range(30))
    assert all(isinstance(failure, EndpointError) for failure in failures)
    assert "does not know model 'another'" in str(failures[0])
    assert provider.calls["POST /files"] == 0


def test_a_batch_is_split_where_the_provider_takes_no_more(provide, connect):
    provider = provide(script)
    assert None not in texts(answer(connect(provider, most=40), range(100)))
    assert sorted(map(len, provider.inputs)) == [20, 40, 40]
    provider.inputs.clear()
    assert None not in texts(answer(connect(provider, file_bytes=3000), range(100, 130)))
    assert len(provider.inputs) > 1
    sent = itertools.chain.from_iterable(provider.inputs)
    assert {ask(number).identity(MODEL) for number in range(100, 130)} <= set(sent)


def test_a_request_that_is_refused_fails_alone(provide, connect):
    def refuse(content: bytes) -> bytes:
        return content.replace(b'"status_code": 500', b'"status_code": 400')

    def fails_for_seven(request: Request) -> str:
        if number_of(request) == 7:
            raise RequestError("too long a prompt")
        return script(request)

    provider = provide(fails_for_seven)
    provider.rewritten["GET /files/ID/content"] = refuse
    replies = answer(connect(provider), range(20))
    assert [number for number, text in enumerate(texts(replies)) if text is None] == [7]
    assert isinstance(replies[7], RequestError)
    assert "answered status 400: too long a prompt" in str(replies[7])
    assert provider.calls["POST /batches"] == 1


def test_what_failed_in_passing_is_asked_in_a_later_batch_and_given_up_in_the_end(provide, connect):
    provider = provide(script, error_rate=0.2)
    assert None not in texts(answer(connect(provider), range(60)))
    assert provider.calls["POST /batches"] in (2, 3)
    assert sorted(asked(provider)) == list(range(60))
    broken = provide(script, error_rate=1.0)
    failures = answer(connect(broken), range(100, 110))
    assert all(isinstance(failure, RequestError) for failure in failures)
    assert "failed in 3 batches, the last time so: status 500" in str(failures[0])
    assert broken.calls["POST /batches"] == 3


def test_of_a_batch_that_expires_only_the_rest_is_sent_again(provide, connect):
    said: list[str] = []
    provider = provide(script, batch_expires=0.6)
    backend = connect(provider, said=said)
    replies = answer(backend, range(50))
    # 30, then 12, then 4 of the last 8.
    assert [text is None for text in texts(replies)].count(False) == 30 + 12 + 4
    assert [len(names) for names in provider.inputs] == [50, 20, 8]
    assert sorted(asked(provider)) == sorted(set(asked(provider)))
    assert "expired, 30 of 50 replies" in said[1]


def test_what_a_cancelled_batch_has_is_used_and_the_rest_is_not_sent_again(provide, connect):
    provider = provide(script, batch_seconds=0.1)

    async def cancelled() -> list[Reply | BaseException]:
        backend = connect(provider)
        work = asyncio.gather(*map(backend.complete, map(ask, range(40))), return_exceptions=True)
        while len(provider.backend.requests) < 5:
            await asyncio.sleep(0.01)
        async for found in backend._endpoint.connected().batches.list():
            await backend._endpoint.connected().batches.cancel(found.id)
        try:
            return await work
        finally:
            await backend.aclose()

    replies = asyncio.run(cancelled())
    got = [text for text in texts(replies) if text is not None]
    assert 5 <= len(got) < 40 and len(got) == len(provider.backend.requests)
    assert "was cancelled" in str(next(r for r in replies if isinstance(r, RequestError)))
    assert provider.calls["POST /batches"] == 1


def test_where_the_providers_queue_is_full_smaller_batches_follow_one_another(provide, connect):
    said: list[str] = []
    provider = provide(script, batch_queue=12)
    assert None not in texts(answer(connect(provider, said=said), range(70)))
    assert sorted(asked(provider)) == list(range(70))
    assert any("the provider's queue is full" in line for line in said)


def test_a_batch_that_is_refused_as_a_whole_stops_the_run_with_the_providers_words(
    provide, connect
):
    provider = provide(script)
    words = {"data": [{"code": "billing", "message": "no credit left", "line": None}]}
    provider.rewritten["GET /batches/ID"] = lambda body: json.dumps(
        json.loads(body) | {"status": "failed", "errors": words}
    ).encode()
    failures = answer(connect(provider), range(5))
    assert all(isinstance(failure, EndpointError) for failure in failures)
    assert "as a whole: no credit left; mend the cause" in str(failures[0])


def test_a_reply_with_line_separators_in_it_stays_one_reply(provide, connect):
    odd = "one\u2028two\u2029three\x85four\x0bfive\r\nsix"
    provider = provide(lambda request: odd)
    (reply,) = answer(connect(provider), range(1))
    assert texts([reply]) == [odd]


def test_an_empty_name_for_the_file_of_errors_is_none(provide, connect):
    provider = provide(script)
    provider.rewritten["GET /batches/ID"] = lambda body: body.replace(
        b'"error_file_id":null', b'"error_file_id":""'
    )
    assert None not in texts(answer(connect(provider), range(5)))


def test_fields_that_a_model_rejects_by_name_are_left_out_of_the_next_batch(provide, connect):
    def newer(request: Request) -> str:
        raise RequestError("use max_completion_tokens")

    provider = provide(newer)

    def by_name(content: bytes) -> bytes:
        provider.backend._script = script
        return content.replace(b'"status_code": 500', b'"status_code": 400').replace(
            b'"param": null', b'"param": "max_tokens"'
        )

    provider.rewritten["GET /files/ID/content"] = by_name
    backend = connect(provider)
    assert None not in texts(answer(backend, range(5)))
    assert "max_completion_tokens" in backend._endpoint.fields(ask(1))
    assert provider.calls["POST /batches"] == 2


@pytest.mark.parametrize("call", ["POST /files", "GET /batches/ID", "GET /files/ID/content"])
def test_a_provider_that_stumbles_is_asked_again_and_no_batch_is_sent_twice(provide, connect, call):
    provider = provide(script)
    provider.broken[call] = deque([500, 429])
    assert None not in texts(answer(connect(provider), range(10)))
    assert provider.calls["POST /batches"] == 1
    assert sorted(asked(provider)) == list(range(10))


@pytest.mark.parametrize(
    "call", ["POST /files", "POST /batches", "GET /batches/ID", "GET /files/ID/content"]
)
def test_a_connection_that_is_lost_in_an_answer_costs_nothing(provide, connect, call):
    provider = provide(script)
    provider.cut[call] = 1
    assert None not in texts(answer(connect(provider), range(10)))
    assert provider.calls["POST /batches"] == 1
    assert sorted(asked(provider)) == list(range(10))


def test_a_download_that_ends_too_early_is_made_again(provide, connect):
    # In the middle of a line, and between two lines.
    provider, cuts = provide(script), deque([lambda body: body[: len(body) // 3], first_half])
    provider.rewritten["GET /files/ID/content"] = lambda body: (
        cuts.popleft()(body) if cuts else body
    )
    assert None not in texts(answer(connect(provider), range(10)))
    assert provider.calls["POST /batches"] == 1
    assert provider.calls["GET /files/ID/content"] == 3


def test_what_a_file_does_not_have_in_the_end_is_sent_again(provide, connect):
    provider = provide(script)
    cuts = deque([first_half] * 3)
    provider.rewritten["GET /files/ID/content"] = lambda body: (
        cuts.popleft()(body) if cuts else body
    )
    assert None not in texts(answer(connect(provider), range(10)))
    assert [len(names) for names in provider.inputs] == [10, 5]


@pytest.mark.parametrize("status", [500, 502, 504, 408])
def test_a_batch_whose_acceptance_was_not_heard_is_found_by_its_token(provide, connect, status):
    provider = provide(script)
    provider.broken["POST /batches"] = deque([status])
    # What a proxy in between may do: ids of its own.
    provider.rewritten["GET /batches"] = lambda body: body.replace(
        b'"input_file_id":"', b'"input_file_id":"other-'
    )
    assert None not in texts(answer(connect(provider), range(10)))
    assert provider.calls["POST /batches"] == 1
    assert sorted(asked(provider)) == list(range(10))


def test_a_batch_is_found_by_its_file_where_the_server_drops_metadata(provide, connect):
    provider = provide(script)
    provider.broken["POST /batches"] = deque([502])
    provider.rewritten["GET /batches"] = lambda body: body.replace(b'"engrain":', b'"else":')
    assert None not in texts(answer(connect(provider), range(10)))
    assert provider.calls["POST /batches"] == 1


def test_a_batch_that_is_not_listed_once_that_has_settled_is_asked_for_again(provide, connect):
    provider = provide(script)
    provider.broken["POST /batches"] = deque([502])
    first = deque([b'{"object": "list", "data": [], "has_more": false}'] * 2)
    provider.rewritten["GET /batches"] = lambda body: first.popleft() if first else body
    assert None not in texts(answer(connect(provider, settle=0.0), range(10)))
    assert provider.calls["POST /batches"] == 2


def test_a_refusal_for_the_moment_is_waited_out_and_needs_no_second_upload(provide, connect):
    provider = provide(script)
    provider.refused["POST /batches"] = deque([429, 429])
    assert None not in texts(answer(connect(provider), range(10)))
    assert provider.arrived["POST /batches"] == 3
    assert provider.calls["POST /files"] == 1
    assert not provider.calls["GET /batches"]


def test_what_was_not_listed_and_comes_late_finds_its_input_deleted(provide, connect):
    provider = provide(script)
    provider.held_before["POST /batches"] = threading.Event()
    gate = provider.held_before["POST /batches"]
    backend = connect(provider, timeout=1.5)

    def free(body: bytes) -> bytes:
        gate.set()
        return body

    provider.rewritten["DELETE /files/ID"] = free
    assert None not in texts(answer(backend, range(10)))
    assert sorted(asked(provider)) == list(range(10))
    assert len(provider.inputs) > 1


def test_a_provider_without_a_batch_api_is_named_so(provide, connect):
    provider = provide(script)
    provider.broken["POST /files"] = deque([404] * 20)
    (failure, *_) = answer(connect(provider), range(3))
    assert isinstance(failure, EndpointError)
    assert "it has no batch API there; set generator.backend to 'openai'" in str(failure)


def interrupted(backend: BatchBackend, numbers: range, until: Callable[[], bool]) -> None:
    """Ask, and stop waiting once `until` holds."""

    async def go() -> None:
        work = asyncio.gather(*map(backend.complete, map(ask, numbers)), return_exceptions=True)
        while not until():
            await asyncio.sleep(0.005)
        await backend.aclose()
        assert all(isinstance(error, asyncio.CancelledError) for error in await work)

    asyncio.run(go())


def test_who_stops_waiting_collects_the_same_batch_later(provide, connect):
    said: list[str] = []
    provider = provide(script, batch_seconds=0.02)
    interrupted(connect(provider), range(30), provider.answered("GET /batches/ID"))
    replies = answer(connect(provider, said=said), range(30))
    assert texts(replies) == [f"reply {number}" for number in range(30)]
    assert provider.calls["POST /batches"] == 1
    assert sorted(asked(provider)) == list(range(30))
    assert "sent before, holds 30 of the requests" in said[0]


def test_requests_beside_those_of_an_earlier_batch_make_a_new_one(provide, connect):
    provider = provide(script, batch_seconds=0.01)
    interrupted(connect(provider), range(20), provider.answered("GET /batches/ID"))
    replies = answer(connect(provider), range(10, 40))
    assert texts(replies) == [f"reply {number}" for number in range(10, 40)]
    assert sorted(asked(provider)) == list(range(40))
    assert [len(names) for names in provider.inputs] == [20, 20]


def test_a_reply_that_was_handed_out_and_not_kept_is_collected_again(provide, connect):
    provider = provide(script)
    first, second = (answer(connect(provider), range(10)) for _ in range(2))
    assert first == second
    assert provider.calls["POST /batches"] == 1


def test_what_failed_for_good_is_sent_again_by_the_next_run(provide, connect):
    provider = provide(script, error_rate=1.0)
    answer(connect(provider), range(5))
    provider.inputs.clear()
    answer(connect(provider), range(5))
    assert [len(names) for names in provider.inputs] == [5, 5, 5]


def test_nothing_is_sent_for_who_gave_up_before_the_batch_was_made(provide, connect):
    provider = provide(script)

    async def go() -> Reply:
        backend = connect(provider, quiet=0.2)
        given_up = asyncio.create_task(backend.complete(ask(1)))
        wanted = asyncio.create_task(backend.complete(ask(2)))
        await asyncio.sleep(0.02)
        given_up.cancel()
        try:
            return await wanted
        finally:
            await backend.aclose()

    assert asyncio.run(go()).text == "reply 2"
    assert asked(provider) == [2]


def test_equal_requests_are_one_and_join_the_batch_that_is_under_way(provide, connect):
    provider = provide(script, batch_seconds=0.02)

    async def go() -> list[Reply]:
        backend = connect(provider)
        early = [asyncio.create_task(backend.complete(ask(n % 5))) for n in range(10)]
        while not provider.calls["GET /batches/ID"]:
            await asyncio.sleep(0.005)
        late = [asyncio.create_task(backend.complete(ask(n))) for n in range(5)]
        try:
            return await asyncio.gather(*early, *late)
        finally:
            await backend.aclose()

    replies = asyncio.run(go())
    assert [reply.text for reply in replies] == [f"reply {n}" for n in [0, 1, 2, 3, 4] * 3]
    assert sorted(asked(provider)) == list(range(5))


def test_batches_of_another_address_are_not_taken_for_lost(provide, connect):
    provider, elsewhere = provide(script, batch_seconds=0.02), provide(script)
    interrupted(connect(provider), range(10), provider.answered("GET /batches/ID"))
    (failure, *_) = answer(connect(elsewhere), range(10))
    assert isinstance(failure, EndpointError)
    assert repr(provider.url) in str(failure) and BATCHES in str(failure)
    assert not elsewhere.calls["POST /batches"]


def test_a_batch_that_is_not_known_any_more_is_not_sent_again_in_silence(provide, connect):
    provider = provide(script)
    answer(connect(provider), range(10))
    provider.broken["GET /batches/ID"] = deque([404])
    (failure, *_) = answer(connect(provider), range(10))
    assert isinstance(failure, EndpointError)
    assert "to pay for its requests again" in str(failure)
    assert provider.calls["POST /batches"] == 1


def test_a_provider_that_stays_away_ends_the_run_and_the_batch_is_collected_by_the_next(
    provide, connect
):
    provider = provide(script, batch_seconds=0.01)
    provider.broken["GET /batches/ID"] = deque([503] * 50)
    (failure, *_) = answer(connect(provider, patience=0.1), range(10))
    assert isinstance(failure, EndpointError)
    assert "the batches there are kept and collected then" in str(failure)
    provider.broken.clear()
    assert None not in texts(answer(connect(provider), range(10)))
    assert provider.calls["POST /batches"] == 1


def test_a_second_process_is_refused_the_list_of_batches(provide, connect):
    provider = provide(script, batch_seconds=0.01)

    async def both() -> object:
        first, second = connect(provider), connect(provider)
        work = asyncio.create_task(first.complete(ask(1)))
        while not provider.answered("GET /batches/ID")():
            await asyncio.sleep(0.005)
        outcomes = await asyncio.gather(second.complete(ask(2)), return_exceptions=True)
        await work
        await first.aclose()
        await second.aclose()
        return outcomes[0]

    refusal = asyncio.run(both())
    assert isinstance(refusal, UserError)
    assert "is in use by another process" in str(refusal)
