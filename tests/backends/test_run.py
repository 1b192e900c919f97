from __future__ import annotations

import asyncio
import random

import pytest

from engrain.backends import base
from engrain.backends.base import Message, Reply, Request, Sampling, Usage
from engrain.backends.ledger import Ledger
from engrain.backends.run import Tally, complete_all
from engrain.backends.scripted import ScriptedBackend
from engrain.errors import EndpointError, RequestError, UserError
from engrain.store import fingerprint


def ask(number: int) -> Request:
    return Request(messages=(Message("user", f"request {number}"),), sampling=Sampling())


def number_of(request: Request) -> int:
    return int(request.messages[0].content.split()[1])


class Slow(ScriptedBackend):
    """Answers after waits of random length; counts how many wait at a time."""

    def __init__(self) -> None:
        super().__init__(lambda request: f"reply {number_of(request)}")
        self.waiting = self.most = 0
        self._waits = random.Random(1)

    async def complete(self, request: Request) -> Reply:
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        await asyncio.sleep(self._waits.uniform(0, 0.01))
        self.waiting -= 1
        return await super().complete(request)


def run(backend, requests, ledger=None, concurrency=8):
    seen = []
    tally = asyncio.run(
        complete_all(
            backend,
            requests,
            ledger=ledger,
            concurrency=concurrency,
            on_done=lambda *pair: seen.append(pair),
        )
    )
    return tally, seen


def test_results_come_in_the_order_of_the_requests_whatever_the_timing():
    backend = Slow()
    tally, seen = run(backend, map(ask, range(100)))
    assert [reply.text for _, reply in seen] == [f"reply {number}" for number in range(100)]
    assert [number_of(request) for request in backend.requests] != list(range(100))
    assert tally == Tally(asked=100)


def test_no_more_requests_are_in_flight_than_allowed():
    backend = Slow()
    run(backend, map(ask, range(60)), concurrency=5)
    assert backend.most == 5


def test_a_second_run_asks_only_for_what_the_ledger_lacks(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        run(Slow(), map(ask, range(0, 40, 2)), ledger)
        backend = Slow()
        tally, seen = run(backend, map(ask, range(40)), ledger)
    assert sorted(map(number_of, backend.requests)) == list(range(1, 40, 2))
    assert [reply.text for _, reply in seen] == [f"reply {number}" for number in range(40)]
    assert tally == Tally(asked=20, from_ledger=20)


def test_a_reply_is_in_the_ledger_before_it_counts(tmp_path):
    backend = Slow()
    with Ledger(tmp_path / "ledger.sqlite") as ledger:

        def check(request, reply):
            assert ledger.get(request.identity(backend.model)) == reply

        asyncio.run(
            complete_all(backend, map(ask, range(30)), ledger=ledger, concurrency=4, on_done=check)
        )


def test_equal_requests_are_asked_once():
    backend = Slow()
    _, seen = run(backend, [ask(1)] * 5 + [ask(2)])
    assert len(backend.requests) == 2
    assert [reply.text for _, reply in seen] == ["reply 1"] * 5 + ["reply 2"]


def fails_for(numbers):
    def script(request: Request) -> str:
        if number_of(request) in numbers:
            raise RequestError("status 500")
        return "fine"

    return ScriptedBackend(script)


def test_a_failed_item_is_recorded_and_the_others_go_on(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        tally, seen = run(fails_for({3}), map(ask, range(100)), ledger)
        assert [reason for _, reason, _ in ledger.failures()] == ["status 500"]
    assert len(seen) == 100
    assert isinstance(seen[3][1], RequestError)
    assert tally == Tally(asked=100, failed=1)


def test_past_a_fifth_of_failures_the_run_stops_and_says_why(tmp_path):
    backend = fails_for(range(0, 1000, 4))
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        with pytest.raises(UserError, match=r"14 of 53 .*status 500"):
            run(backend, map(ask, range(1000)), ledger, concurrency=1)
        assert len(ledger) >= 37
    assert len(backend.requests) < 1000


def test_a_few_failures_at_the_start_do_not_stop_a_run():
    tally, _ = run(fails_for(range(9)), map(ask, range(60)))
    assert tally.failed == 9


def test_an_endpoint_that_refuses_everything_stops_the_run_at_once(tmp_path):
    def script(request: Request) -> str:
        if number_of(request) == 20:
            raise EndpointError("the key was refused")
        return "fine"

    backend = ScriptedBackend(script)
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        with pytest.raises(EndpointError, match="refused"):
            run(backend, map(ask, range(10_000)), ledger)
        assert len(ledger) == len(backend.requests) - 1
    assert len(backend.requests) < 40


def test_requests_are_taken_as_they_are_needed():
    taken = []

    def stream():
        for number in range(100_000):
            taken.append(number)
            yield ask(number)

    def script(request: Request) -> str:
        if number_of(request) == 5000:
            raise EndpointError("enough")
        return "fine"

    with pytest.raises(EndpointError):
        run(ScriptedBackend(script), stream())
    assert len(taken) < 7000


def test_a_reply_with_half_a_character_is_mended_the_same_way_fresh_and_stored(tmp_path):
    backend = ScriptedBackend(
        lambda _: Reply(text="half \ud800", finish_reason="stop", usage=Usage())
    )
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        texts = [run(backend, [ask(1)], ledger)[1][0][1].text for _ in range(2)]
    assert texts == ["half ?", "half ?"]


def test_no_more_workers_are_hired_than_there_is_work_for():
    tasks = 0

    class Counting(Slow):
        async def complete(self, request: Request) -> Reply:
            nonlocal tasks
            tasks = max(tasks, len(asyncio.all_tasks()))
            return await super().complete(request)

    backend = Counting()
    run(backend, map(ask, range(20)), concurrency=10_000)
    assert backend.most == 20
    assert tasks < 100


def test_ten_thousand_requests_are_in_flight_at_once_where_that_is_allowed():
    class Waiting(ScriptedBackend):
        """Answers once all of them have come."""

        async def complete(self, request: Request) -> Reply:
            reply = await super().complete(request)
            while len(self.requests) < 10_000:
                await asyncio.sleep(0.05)
            return reply

    backend = Waiting(lambda request: f"reply {number_of(request)}")
    tally, seen = run(backend, map(ask, range(10_000)), concurrency=10_000)
    assert tally == Tally(asked=10_000)
    assert [reply.text for _, reply in seen] == [f"reply {number}" for number in range(10_000)]


def test_a_request_is_hashed_once_for_all_who_ask_for_its_identity(tmp_path, monkeypatch):
    hashed: list[object] = []

    def counting(value: object) -> str:
        hashed.append(value)
        return fingerprint(value)

    monkeypatch.setattr(base, "fingerprint", counting)
    backend = ScriptedBackend(lambda request: f"reply {number_of(request)}")
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        _, seen = run(backend, map(ask, range(20)), ledger)
        assert all(ledger.get(request.identity(backend.model)) == reply for request, reply in seen)
    assert len(hashed) == 20
    request = ask(1)
    assert request.identity("one") != request.identity("another")
    assert request.identity("one") == ask(1).identity("one")
    assert request == ask(1) and hash(request) == hash(ask(1))
