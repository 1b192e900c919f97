"""What became of the requests: texts kept, texts rejected, tokens spent; and their files.

Takes results in the order of the requests, so its files depend on requests and replies alone. Rows
go to disk as they come; only sums stay in memory. Knows nothing of what is asked next.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Self

from engrain import artifacts
from engrain.backends.base import Reply, Request, Usage
from engrain.backends.run import Result
from engrain.errors import ItemError, UserError
from engrain.records import Rejected, SyntheticText, TextKind
from engrain.store import RowWriter, fingerprint, read_rows, write_rows
from engrain.synthesize.base import Asked, Fault, Method, Parsed, Piece, Preparation, Window
from engrain.synthesize.budget import Spent
from engrain.synthesize.verify import Verifier, reply_fault
from engrain.synthesize.windows import estimated_tokens

REQUESTS = "requests"
LEDGER = "ledger.sqlite"
JUDGED = "judged.json"

_ALL_REQUESTS = "00000"
# A leak rate of fewer texts is looked at only when all is written.
_LEAKS_FROM = 200


class Collector:
    """Everything that came back so far.

    A context: its files are there after `write`, and where the block ends without it, none is.
    """

    def __init__(self, out: Path, *, model: str, verifier: Verifier, leak_limit: float) -> None:
        self._out = out
        self._model = model
        self._verifier = verifier
        self._leak_limit = leak_limit
        self._kept: dict[str, RowWriter[SyntheticText]] = {}
        self._rejected: dict[str, RowWriter[Rejected]] = {}
        self._asked = RowWriter(out / REQUESTS / f"{_ALL_REQUESTS}.parquet", Asked)
        self._request_id = ""
        self._withdrawn: Counter[str] = Counter()
        self.spent: dict[str, Spent] = defaultdict(Spent)
        self.unused = Spent()
        """On replies that were in flight when a cap was reached."""
        self.kinds: Counter[TextKind] = Counter()
        """Tokens kept of each kind."""
        self.reasons: dict[str, Counter[str]] = defaultdict(Counter)
        """Of each method: how many replies or texts were rejected for which reason."""

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Discard what was not written."""
        for writer in self._writers():
            writer.discard()

    @property
    def kept(self) -> dict[str, int]:
        """How many texts each method has brought."""
        return {
            name: writer.count - self._withdrawn[name]
            for name, writer in sorted(self._kept.items())
        }

    def rejections(self) -> Counter[str]:
        """How many replies or texts were rejected for which reason, all methods together."""
        return sum(self.reasons.values(), Counter())

    def texts(
        self, method: Method, window: Window, request: Request, result: Result
    ) -> list[SyntheticText]:
        """Take the result of a request for texts; returns what is kept of it."""
        reply = self._count(window, request, result)
        if reply is None:
            return []
        fault = reply_fault(reply)
        parsed = Parsed(faults=[fault]) if fault else method.parse(reply, window)
        parts: list[Piece | Fault] = [*parsed.pieces, *parsed.faults]
        kept = []
        for number, (part, tokens) in enumerate(zip(parts, _shares(reply, parts), strict=True)):
            fault = (
                part if isinstance(part, Fault) else self._verifier.fault(part, method.kind, window)
            )
            if fault is not None:
                self._reject(request, fault)
            elif not isinstance(part, Fault):
                kept.append(_synthetic(method, request, self._request_id, number, part, tokens))
        if kept:
            self._keep(method, kept)
        return kept

    def notes(
        self, preparation: Preparation, window: Window, request: Request, result: Result
    ) -> tuple[str, ...]:
        """Take the result of a method's preparation; returns its list, empty where there is none.

        Lines that hold an evaluation question are left out, because the list goes into prompts.
        """
        reply = self._count(window, request, result)
        if reply is None:
            return ()
        fault = reply_fault(reply)
        lines = () if fault else preparation.parse(reply)
        if not lines:
            self._reject(
                request,
                fault or Fault(reason="unparsable", detail="no list in the reply", text=reply.text),
            )
        clean = []
        for line in lines:
            leak = self._verifier.leak(line)
            if leak is None:
                clean.append(line)
            else:
                self._reject(request, leak)
        return tuple(clean)

    def leave_out(self, request: Request, result: Result) -> None:
        """Count what was paid for when the caps had been reached already."""
        result = counted(request, result)
        self.unused.count(result if isinstance(result, Reply) else None)

    def check_leaks(self, *, last: bool) -> None:
        """Stop the run where too many texts hold evaluation questions."""
        rejected = self.rejections()
        seen = sum(self.kept.values()) + rejected.total()
        leaks = rejected["leak"]
        if leaks > self._leak_limit * seen and (last or seen >= _LEAKS_FROM):
            raise UserError(
                f"synthesize: {leaks} of {seen} synthetic texts contain an evaluation question, "
                f"more than synthesis.leak_limit {self._leak_limit!r}; take the questions out of "
                "the corpus, or ask a generator that does not know the benchmark"
            )

    def write(self) -> None:
        """Publish the files of everything taken."""
        for writer in self._writers():
            writer.publish()

    def withdraw(self, details: Mapping[str, str], *, reason: str) -> None:
        """Move published texts to the rejected ones, by their ids, each with its detail.

        Files are written anew, and each is whole before and after. A kill between two of them
        leaves an artifact without a record, which is built again.
        """
        for name in self._kept if details else ():
            path = self._out / artifacts.KEPT / f"{name}.parquet"
            if not any(text.id in details for text in read_rows(path, SyntheticText)):
                continue
            rejected = self._out / artifacts.REJECTED / f"{name}.parquet"
            before = read_rows(rejected, Rejected) if rejected.exists() else ()
            gone = (text for text in read_rows(path, SyntheticText) if text.id in details)
            moved = (self._withdrawn_row(text, reason, details[text.id]) for text in gone)
            write_rows(rejected, Rejected, chain(before, moved))
            left = (text for text in read_rows(path, SyntheticText) if text.id not in details)
            write_rows(path, SyntheticText, left)

    def _withdrawn_row(self, text: SyntheticText, reason: str, detail: str) -> Rejected:
        """A text as rejected, taken out of the sums."""
        self._withdrawn[text.method] += 1
        self.reasons[text.method][reason] += 1
        self.spent[text.method].kept_tokens -= text.tokens
        self.kinds[text.kind] -= text.tokens
        whole = f"{text.question}\n{text.text}" if text.question else text.text
        fault = Fault(reason=reason, detail=detail, text=whole)
        return _rejected(text.document_id, text.method, text.request_id, fault)

    def _writers(self) -> list[RowWriter[Any]]:
        return [self._asked, *self._kept.values(), *self._rejected.values()]

    def _count(self, window: Window, request: Request, result: Result) -> Reply | None:
        result = counted(request, result)
        reply = result if isinstance(result, Reply) else None
        self.spent[request.lineage.method].count(reply)
        self._request_id = request.identity(self._model)
        self._asked.append(
            asked(
                request,
                result,
                request_id=self._request_id,
                document_id=window.document_id,
                window=window.number,
            )
        )
        if reply is None:
            self._reject(request, Fault(reason="failed", detail=str(result), text=""))
        return reply

    def _keep(self, method: Method, texts: Sequence[SyntheticText]) -> None:
        path = self._out / artifacts.KEPT / f"{method.name}.parquet"
        if method.name not in self._kept:
            self._kept[method.name] = RowWriter(path, SyntheticText)
        for text in texts:
            self._kept[method.name].append(text)
        tokens = sum(text.tokens for text in texts)
        self.spent[method.name].kept_tokens += tokens
        self.kinds[method.kind] += tokens

    def _reject(self, request: Request, fault: Fault) -> None:
        method = request.lineage.method
        self.reasons[method][fault.reason] += 1
        path = self._out / artifacts.REJECTED / f"{method}.parquet"
        if method not in self._rejected:
            self._rejected[method] = RowWriter(path, Rejected)
        document_id = request.lineage.document_id
        self._rejected[method].append(_rejected(document_id, method, self._request_id, fault))


def asked(
    request: Request, result: Result, *, request_id: str, document_id: str, window: int
) -> Asked:
    """The row of a request and what came of it."""
    usage = result.usage if isinstance(result, Reply) else Usage()
    return Asked(
        request_id=request_id,
        document_id=document_id,
        window=window,
        method=request.lineage.method,
        strategy=request.lineage.strategy,
        focus=request.lineage.focus,
        sample=request.sample,
        prompt=request.messages[-1].content,
        prompt_tokens=usage.prompt_tokens,
        cached_prompt_tokens=usage.cached_prompt_tokens,
        completion_tokens=usage.completion_tokens,
        failure="" if isinstance(result, Reply) else str(result),
    )


def counted(request: Request, result: Result) -> Result:
    """With estimated tokens where the server reports none: a budget must be used up."""
    if isinstance(result, ItemError) or result.usage.completion_tokens or not result.text:
        return result
    prompt = sum(estimated_tokens(message.content) for message in request.messages)
    usage = Usage(prompt_tokens=prompt, completion_tokens=estimated_tokens(result.text))
    return dataclasses.replace(result, usage=usage)


def clear(out: Path) -> None:
    """Remove what an earlier build left: its files would be read as this one's."""
    (out / JUDGED).unlink(missing_ok=True)
    for folder in (artifacts.KEPT, artifacts.REJECTED, REQUESTS):
        for path in (out / folder).glob("*.parquet"):
            path.unlink()


def _rejected(document_id: str, method: str, request_id: str, fault: Fault) -> Rejected:
    return Rejected(
        document_id=document_id,
        method=method,
        request_id=request_id,
        reason=fault.reason,
        detail=fault.detail,
        text=fault.text,
    )


def _synthetic(
    method: Method, request: Request, request_id: str, number: int, piece: Piece, tokens: int
) -> SyntheticText:
    return SyntheticText(
        id=fingerprint([request_id, number]),
        document_id=request.lineage.document_id,
        kind=method.kind,
        method=method.name,
        text=piece.text,
        question=piece.question,
        answer=piece.answer,
        strategy=request.lineage.strategy,
        focus=request.lineage.focus,
        request_id=request_id,
        tokens=tokens,
    )


def _shares(reply: Reply, parts: Sequence[Piece | Fault]) -> list[int]:
    """The reply's completion tokens, shared among its parts by length; they add up exactly."""
    sizes = [
        1 + len(part.text) + (len(part.question) if isinstance(part, Piece) else 0)
        for part in parts
    ]
    whole, shares, before = sum(sizes), [], 0
    for size in sizes:
        after = before + size
        tokens = reply.usage.completion_tokens
        shares.append(tokens * after // whole - tokens * before // whole)
        before = after
    return shares
