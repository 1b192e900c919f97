"""How many requests are in flight, against simulated servers with a clock of the test's own."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

import pytest

from engrain.backends.pace import Pace, Turn


class Server:
    """Answers each request after `latency(in flight)` seconds, with a callable's verdict."""

    def __init__(
        self,
        pace: Pace,
        latency: Callable[[int], float],
        refuses: Callable[[float, int], float | bool | None] = lambda now, in_flight: False,
        *,
        waits: int = 10**9,
    ) -> None:
        self.pace = pace
        self.latency = latency
        self.refuses = refuses
        self.waits = waits
        self.now = 0.0
        self.flying: list[tuple[float, int, Turn, bool, float | None]] = []
        self.answered = self.refused = 0
        self.limits: list[int] = []

    def run(self, seconds: float) -> Server:
        number, end = 0, self.now + seconds
        while self.now < end:
            while (
                len(self.flying) < self.waits
                and (at := self.pace.opens_at(1, self.now)) <= self.now
            ):
                number += 1
                turn = self.pace.enter(1, self.now)
                verdict = self.refuses(self.now, len(self.flying) + 1)
                bad = verdict is not False
                after = verdict if isinstance(verdict, float) else None
                due = self.now + (0.001 if bad else self.latency(len(self.flying) + 1))
                heapq.heappush(self.flying, (due, number, turn, bad, after))
            if not self.flying or (len(self.flying) < self.waits and at < self.flying[0][0]):
                self.now = at
                continue
            self.now, _, turn, bad, after = heapq.heappop(self.flying)
            if bad:
                self.refused += 1
                self.pace.refused(turn, after, self.now)
            else:
                self.answered += 1
                self.pace.answered(turn, 1, self.now)
            self.limits.append(self.pace.limit)
        return self


def test_a_healthy_server_is_used_in_full_within_a_few_round_trips():
    server = Server(Pace(most=256), lambda n: 0.05).run(0.26)
    assert server.limits[-1] == 256
    server.answered = 0
    assert server.run(10.0).answered > 0.97 * 256 * 10.0 / 0.05


def test_it_starts_with_few_requests_and_never_passes_the_most():
    server = Server(Pace(most=100), lambda n: 1.0)
    assert server.pace.limit == 32
    assert max(server.run(30.0).limits) == 100
    assert Pace(most=4).limit == 4


def test_a_server_that_only_queues_is_not_sent_much_more_than_it_works_on():
    # Forty at a time: more only wait.
    rng = random.Random(1)
    server = Server(Pace(most=1000), lambda n: max(1.0, n / 40) * rng.uniform(0.8, 1.2)).run(60.0)
    late = server.limits[len(server.limits) // 2 :]
    assert min(late) >= 40
    assert max(late) <= 130
    assert server.answered > 0.9 * 40 * 60


def test_a_server_whose_throughput_still_rises_is_given_more_although_it_slows_down():
    # As servers that compute in batches do: twice the batch takes 1.3 times as long.
    server = Server(Pace(most=512), lambda n: 0.5 * n**0.38).run(120.0)
    assert server.limits[-1] == 512


def test_a_refusal_halves_the_limit_once_for_all_that_were_in_flight():
    pace = Pace(most=32)
    turns = [pace.enter(1, 0.0) for _ in range(32)]
    for turn in turns:
        pace.refused(turn, None, 1.0)
    assert pace.limit == 16
    assert pace.in_flight == 0
    later = pace.enter(1, 2.0)
    pace.refused(later, None, 3.0)
    assert pace.limit == 8


def test_retry_after_pauses_the_whole_endpoint():
    pace = Pace(most=32)
    first, second = pace.enter(1, 0.0), pace.enter(1, 0.0)
    pace.refused(first, 7.0, 1.0)
    assert pace.opens_at(1, 1.0) == 8.0
    # A second refusal in the same storm that asks for less does not shorten it.
    pace.refused(second, 2.0, 1.5)
    assert pace.opens_at(1, 1.5) == 8.0


def test_refusals_without_a_reply_between_them_pause_for_longer_and_longer():
    pace, now, waits = Pace(most=64, first_wait=0.5), 0.0, []
    for _ in range(5):
        now = max(now, pace.opens_at(1, now))
        turn = pace.enter(1, now)
        now += 0.01
        pace.refused(turn, None, now)
        waits.append(max(0.0, pace.opens_at(1, now) - now))
    assert waits == pytest.approx([0.0, 0.5, 1.0, 2.0, 4.0])


def test_after_a_storm_the_endpoint_is_soon_as_busy_as_before():
    server = Server(Pace(most=256), lambda n: 0.05, lambda now, n: 5.0 <= now < 8.0).run(5.0)
    server.run(4.0)
    server.answered = 0
    server.run(10.0)
    assert server.answered > 0.85 * 10.0 * 256 / 0.05


def test_a_server_with_a_hard_limit_is_used_nearly_in_full():
    server = Server(Pace(most=256), lambda n: 0.05, lambda now, n: n > 60).run(1.0)
    server.answered = server.refused = 0
    server.run(20.0)
    assert server.answered > 0.7 * 20.0 * 60 / 0.05
    assert server.refused < 0.1 * server.answered


def test_an_endpoint_that_is_lost_is_tried_with_one_request_after_longer_and_longer_pauses():
    pace, now = Pace(most=64, first_wait=0.5), 10.0
    turns = [pace.enter(1, 0.0) for _ in range(32)]
    for turn in turns:
        pace.lost(turn, now)
    assert (pace.losses, pace.limit) == (1, 1)
    pauses = []
    for _ in range(8):
        opens = pace.opens_at(1, now)
        pauses.append(opens - now)
        pace.lost(pace.enter(1, opens), opens)
        now = opens
    assert pauses == pytest.approx([0.5, 1, 2, 4, 8, 16, 30, 30])
    now = pace.opens_at(1, now)
    pace.answered(pace.enter(1, now), 1, now + 0.1)
    assert pace.losses == 0


def test_few_waiting_requests_do_not_raise_the_limit():
    server = Server(Pace(most=256), lambda n: 1.0, waits=5).run(100.0)
    assert server.limits[-1] == 32


def test_limits_a_minute_hold_back_what_the_limit_in_flight_would_let_go():
    pace = Pace(most=100, requests_per_minute=60, tokens_per_minute=1200)
    pace.enter(300, 0.0)
    assert pace.opens_at(10, 0.0) == pytest.approx(14.0)
    pace = Pace(most=100, requests_per_minute=60, tokens_per_minute=1200)
    turn = pace.enter(300, 0.0)
    pace.answered(turn, 20, 0.5)
    assert pace.opens_at(10, 0.5) <= 0.5
