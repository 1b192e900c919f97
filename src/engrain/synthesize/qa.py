"""Question-answer pairs: open questions, each with an explanation that leads to a short answer."""

from __future__ import annotations

from typing import Any

from engrain.backends.base import Lineage, Reply, Request, Sampling
from engrain.records import TextKind
from engrain.synthesize.base import Fault, Known, Parsed, Piece, Preparation, Window
from engrain.synthesize.parsing import Broken, json_objects
from engrain.synthesize.prompts import one_line, user_message
from engrain.synthesize.settings import QASettings

# Question, explanation, answer and their JSON: a guess that only sizes the first round.
_TOKENS_PER_PAIR = 90


class QuestionAnswer:
    """Several pairs a call; calls about one window differ only in their sample index."""

    name = "qa"
    kind: TextKind = "qa"
    preparation: Preparation | None = None

    def __init__(self, settings: QASettings, *, seed: int) -> None:
        self._pairs = settings.pairs_per_call
        self._sampling = Sampling(
            temperature=settings.temperature, top_p=settings.top_p, max_tokens=settings.max_tokens
        )
        self._seed = seed

    def expected_tokens(self, window: Window) -> int:
        """So much a pair, whatever the window's length."""
        return min(self._sampling.max_tokens, self._pairs * _TOKENS_PER_PAIR)

    def plan(self, window: Window, known: Known, number: int) -> Request:
        """The same prompt, another draw."""
        return Request(
            messages=user_message("qa", window, n=self._pairs),
            sampling=self._sampling,
            sample=self._seed + number,
            lineage=Lineage(document_id=window.document_id, method=self.name),
        )

    def parse(self, reply: Reply) -> Parsed:
        """Every whole pair; the broken end of a reply that hit its limit was `truncated`."""
        pieces: list[Piece] = []
        faults: list[Fault] = []
        truncated = reply.finish_reason == "length"
        rows = list(json_objects(reply.text))
        for row in rows:
            if isinstance(row, Broken):
                cut = truncated and row is rows[-1]
                reason, detail = (
                    ("truncated", "cut off by max_tokens")
                    if cut
                    else ("unparsable", "not a JSON object")
                )
                faults.append(Fault(reason=reason, detail=detail, text=row.text))
            else:
                found = _pair(row)
                if isinstance(found, Piece):
                    pieces.append(found)
                else:
                    faults.append(found)
        if not rows:
            reason = "truncated" if truncated else "unparsable"
            faults.append(
                Fault(reason=reason, detail="no JSON object in the reply", text=reply.text)
            )
        return Parsed(pieces, faults)


def _pair(row: dict[str, Any]) -> Piece | Fault:
    values = {name: _words(row.get(name)) for name in ("question", "explanation", "answer")}
    missing = [name for name, value in values.items() if not value]
    if missing:
        return Fault(
            reason=f"{missing[0]}_missing", detail=f"no {' and no '.join(missing)}", text=repr(row)
        )
    question, answer = one_line(values["question"]), one_line(values["answer"])
    return Piece(
        text=f"{values['explanation']}\nAnswer: {answer}", question=question, answer=answer
    )


def _words(value: object) -> str:
    """A string or a number as text; anything else is no answer."""
    return str(value).strip() if isinstance(value, (str, int, float)) else ""
