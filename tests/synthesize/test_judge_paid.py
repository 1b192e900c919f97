"""What judging pays for: within the caps, through the ledger, and once, also when interrupted."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys

import pytest

from engrain.backends.base import Reply, Request, Usage
from engrain.backends.ledger import Ledger
from engrain.backends.settings import Price
from engrain.progress import Silent
from engrain.store import Artifact, write_rows
from engrain.synthesize.judge import answerability, faithfulness
from engrain.synthesize.plan import estimate
from engrain.synthesize.trace import requests
from engrain.testbed.writer import Strength, Writer

FAITHFUL, ANSWERS = faithfulness.NAME, answerability.NAME
PRICE = Price(prompt=1.0, completion=4.0)
ERRING = Strength(coverage=1.0, error_rate=0.1, phrasings=4, styles=3)
EVERYTHING = {
    "faithfulness": {"share": 1.0, "at_most": None, "reject": True},
    "answerability": {"per_document": 5, "at_most": 60},
}


class Heard(Silent):
    """Remembers what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


class Counting(Writer):
    """Counts what it is asked, and can end the run from inside."""

    def __init__(self, *, until: int | None = None, **dials: object) -> None:
        super().__init__(**dials)  # type: ignore[arg-type]
        self.asked: list[str] = []
        self._until = until

    async def complete(self, request: Request) -> Reply:
        if self._until is not None and len(self.asked) >= self._until:
            raise Interrupted
        self.asked.append(request.identity(self.model))
        return await super().complete(request)


class Interrupted(BaseException):
    """Ends a run from inside, as Ctrl-C does."""


def files(made: Artifact) -> dict[str, bytes]:
    names = ["judged.json", "coverage.parquet"]
    paths = [made.path / name for name in names]
    for folder in ("kept", "rejected", "requests"):
        paths += sorted((made.path / folder).iterdir())
    return {str(path.relative_to(made.path)): path.read_bytes() for path in paths}


def test_judging_is_off_by_default_and_later_pays_for_itself_alone(judging, library, tmp_path):
    out = tmp_path / "out"
    first = Counting()
    plain = judging.make(library, first, out, judging.settings(None))
    assert not (out / "judged.json").exists() and "judged" not in plain.counts
    second = Counting()
    made = judging.make(library, second, out, judging.settings({}))
    usage = json.loads((out / "usage.json").read_text())
    own = {name: usage["methods"][name] for name in (FAITHFUL, ANSWERS)}
    assert not set(first.asked) & set(second.asked)
    assert len(second.asked) == len(set(second.asked))
    assert len(second.asked) == sum(one["requests"] for one in own.values())
    assert all(one["kept_tokens"] == 0 < one["prompt_tokens"] for one in own.values())
    assert usage["requests"] == made.counts["requests"] == len(first.asked) + len(second.asked)
    assert made.counts["judged"]["faithfulness"]["asked"] == own[FAITHFUL]["requests"]
    with Ledger(out / "ledger.sqlite") as ledger:
        assert len(ledger) == usage["requests"]
    judging.make(library, Counting(until=0), out, judging.settings(None))
    assert not (out / "judged.json").exists()


def test_interrupted_anywhere_and_run_again_it_is_as_if_it_never_was(judging, library, tmp_path):
    wanted = judging.settings(EVERYTHING)
    whole = Counting(strength=ERRING)
    first = judging.make(library, whole, tmp_path / "whole", wanted)
    assert first.counts["rejected"]["unfaithful"] > 0
    replies = len(judging.asked(first, FAITHFUL)) + len(judging.asked(first, ANSWERS))
    asked: list[str] = []
    left = len(whole.asked)
    for until in (left - replies + 7, replies // 3, replies // 3):
        backend = Counting(strength=ERRING, until=until)
        with pytest.raises(Interrupted):
            judging.make(library, backend, tmp_path / "out", wanted, concurrency=8)
        assert not (tmp_path / "out" / "record.json").exists()
        asked += backend.asked
    last = Counting(strength=ERRING)
    made = judging.make(library, last, tmp_path / "out", wanted, concurrency=2)
    assert sorted(asked + last.asked) == sorted(whole.asked)
    assert len(set(whole.asked)) == len(whole.asked)
    assert files(made) == files(first)
    assert made.counts == first.counts


def test_interrupted_between_two_files_of_a_rejection_it_is_begun_again(
    judging, library, tmp_path, monkeypatch
):
    wanted = judging.settings(EVERYTHING)
    whole = judging.make(library, Writer(strength=ERRING), tmp_path / "whole", wanted)
    written = []

    def stopping(path, kind, rows):
        written.append(path)
        if len(written) % 2 == 0:
            raise Interrupted
        return write_rows(path, kind, rows)

    with monkeypatch.context() as patch:
        patch.setattr("engrain.synthesize.collect.write_rows", stopping)
        with pytest.raises(Interrupted):
            judging.make(library, Writer(strength=ERRING), tmp_path / "out", wanted)
    assert [path.parent.name for path in written] == ["rejected", "kept"]
    # Only the questions are still to be paid for.
    last = Counting(strength=ERRING)
    made = judging.make(library, last, tmp_path / "out", wanted)
    assert len(last.asked) == len(judging.asked(whole, ANSWERS))
    assert files(made) == files(whole)


KILLED = """
import os, signal, sys
from pathlib import Path
from engrain import store
from engrain.progress import Silent
from engrain.synthesize.run import synthesize
from engrain.synthesize.settings import SynthesisSettings
from engrain.testbed.writer import Strength, Writer

corpus, out, settings, strength, left = sys.argv[1:]

class Dying(Writer):
    verdicts = 0

    async def complete(self, request):
        Dying.verdicts += "Task: judge a text" in request.messages[0].content
        if Dying.verdicts > int(left):
            os.kill(os.getpid(), signal.SIGKILL)
        return await super().complete(request)

synthesize(
    store.load(Path(corpus)), Dying(strength=eval(strength)),
    SynthesisSettings.model_validate_json(settings), Path(out),
    seed=0, concurrency=4, progress=Silent(),
)
"""


def test_killed_in_the_middle_nothing_is_judged_twice(judging, library, tmp_path):
    wanted = judging.settings(EVERYTHING)
    whole = Counting(strength=ERRING)
    first = judging.make(library, whole, tmp_path / "whole", wanted)
    arguments = [library.path, tmp_path / "out", wanted.model_dump_json(), repr(ERRING), 50]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *map(str, arguments)], capture_output=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    with Ledger(tmp_path / "out" / "ledger.sqlite") as ledger:
        stored = len(ledger)
    last = Counting(strength=ERRING)
    made = judging.make(library, last, tmp_path / "out", wanted)
    assert stored > len(whole.asked) - len(judging.asked(first, FAITHFUL)) - len(
        judging.asked(first, ANSWERS)
    )
    assert len(last.asked) == len(whole.asked) - stored
    assert files(made) == files(first)


def test_the_cap_on_requests_holds_and_the_judge_says_so(judging, library, tmp_path):
    free = judging.make(library, Writer(), tmp_path / "free", judging.settings(None)).counts[
        "requests"
    ]
    judge = {"faithfulness": {"share": 1.0}, "answerability": {"per_document": 3}}
    rooms = []
    for requests_ in (free // 2, free + 10):
        heard, backend = Heard(), Counting()
        made = judging.make(
            library, backend, tmp_path / str(requests_),
            judging.settings(judge, budget={"requests": requests_}), progress=heard,
        )  # fmt: skip
        writing = sum(not row.method.startswith("judge") for row in requests(made))
        rooms.append(requests_ - writing)
        assert len(backend.asked) == made.counts["requests"] == requests_
        found = judging.found(made)
        assert found["faithfulness"]["asked"] == rooms[-1] == len(judging.asked(made, FAITHFUL))
        assert found["answerability"]["asked"] == 0 == len(judging.asked(made, ANSWERS))
        for part in found.values():
            assert part["stopped"] == "the limit on requests was reached"
            assert part["drawn"] > part["asked"]
        drawn = found["faithfulness"]["drawn"]
        said = f"{rooms[-1]} of {drawn} asked: the limit on requests was reached"
        assert any(said in line for line in heard.lines)
        rows = judging.asked(made, FAITHFUL)
    assert {row.strategy for row in rows} == set(made.counts["texts"])
    # Where the texts took all of it, nothing is asked, and nothing is measured.
    assert rooms[0] == 0 < rooms[1]
    nothing = json.loads((tmp_path / str(free // 2) / "judged.json").read_text())
    for tally in nothing["faithfulness"]["methods"].values():
        assert (tally["n"], tally["faithful"], tally["low"]) == (0, None, None)


def test_under_a_cap_questions_are_drawn_as_by_a_smaller_number_of_them(judging, library, tmp_path):
    def asked(name: str, questions: int, budget: dict[str, int]) -> list[str]:
        judge = {"faithfulness": None, "answerability": {"at_most": questions}}
        made = judging.make(
            library, Writer(), tmp_path / name, judging.settings(judge, budget=budget)
        )
        found = judging.found(made)["answerability"]
        ids = [row.request_id for row in judging.asked(made, ANSWERS)]
        # One without texts, and one with those of the only method.
        assert {one["n"] for one in found["methods"].values()} == {found["asked"]}
        assert len(set(ids)) == len(ids) == 2 * found["asked"]
        return ids

    free = judging.make(library, Writer(), tmp_path / "free", judging.settings(None)).counts[
        "requests"
    ]
    capped = asked("capped", 24, {"requests": free + 9})
    assert 8 <= len(capped) < 48
    assert capped == asked("few", len(capped) // 2, {})


def test_the_cap_on_money_holds_for_the_judge(judging, library, tmp_path):
    def paid(made: Artifact) -> float:
        found: float = json.loads((made.path / "usage.json").read_text())["usd"]
        return found

    wanted = judging.settings(None)
    free = paid(judging.make(library, Writer(), tmp_path / "free", wanted, price=PRICE))
    judge = {"faithfulness": {"share": 1.0}, "answerability": {"per_document": 3}, "max_tokens": 50}
    # What the methods may spend follows their shares; they need less than the cap.
    whole = judging.make(
        library, Writer(), tmp_path / "whole", judging.settings(judge), price=PRICE
    )
    cap = (free + paid(whole)) / 2
    backend = Counting()
    made = judging.make(
        library,
        backend,
        tmp_path / "out",
        judging.settings(judge, budget={"usd": cap}),
        price=PRICE,
    )
    assert free < paid(made) <= cap + 0.002
    found = judging.found(made)
    assert found["faithfulness"]["asked"] + found["answerability"]["asked"] > 0
    assert "the limit on money was reached" in {part["stopped"] for part in found.values()}
    assert len(backend.asked) == made.counts["requests"] < whole.counts["requests"]


class Dear(Counting):
    """Thinks at length before each verdict, which no estimate expects."""

    async def complete(self, request: Request) -> Reply:
        reply = await super().complete(request)
        if "Task: judge a text" not in request.messages[0].content:
            return reply
        usage = dataclasses.replace(reply.usage, completion_tokens=request.sampling.max_tokens)
        return dataclasses.replace(reply, usage=usage)


def test_verdicts_dearer_than_expected_do_not_pass_the_cap_on_money(judging, library, tmp_path):
    judge = {"faithfulness": {"share": 1.0}, "answerability": {}, "max_tokens": 4000}
    one_reply = PRICE.cost(Usage(prompt_tokens=1500, completion_tokens=4000))
    wanted = judging.settings(judge, budget={"usd": 0.5})
    backend = Dear()
    made = judging.make(library, backend, tmp_path / "out", wanted, price=PRICE, concurrency=32)
    paid = json.loads((made.path / "usage.json").read_text())["usd"]
    assert 0.5 - one_reply < paid <= 0.5 + one_reply
    found = judging.found(made)
    assert 0 < found["faithfulness"]["asked"] < found["faithfulness"]["drawn"]
    assert found["answerability"]["asked"] == 0
    assert len(backend.asked) == made.counts["requests"]
    again = judging.make(library, Dear(), tmp_path / "again", wanted, price=PRICE, concurrency=1)
    assert files(again) == files(made)


def test_a_plan_counts_the_judges_requests(judging, library, tmp_path):
    judge = {"faithfulness": {"share": 1.0, "at_most": 40}, "answerability": {"per_document": 2}}
    without, planned = (
        estimate(library, judging.settings(None)),
        estimate(library, judging.settings(judge)),
    )
    made = judging.make(library, Writer(), tmp_path / "out", judging.settings(judge))
    asked = len(judging.asked(made, FAITHFUL)) + len(judging.asked(made, ANSWERS))
    assert planned.judging == asked == 40 + 2 * 2 * 12
    assert planned.requests == without.requests + asked
    assert planned.prompt_tokens > without.prompt_tokens + 40 * 100
    assert without.judging == 0
    capped = estimate(library, judging.settings(judge, budget={"requests": without.requests + 5}))
    assert (capped.judging, capped.requests) == (5, without.requests + 5)
