"""From a synthetic text back to how it came about, and from a document to all that was made of it.

Reads `kept/`, `rejected/` and `requests/` one group of rows at a time, so memory does not grow with
them; asks no model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyarrow.compute as pc
import pyarrow.parquet as pq

from engrain.artifacts import KEPT, REJECTED
from engrain.backends.base import Message
from engrain.backends.ledger import Ledger
from engrain.errors import UserError
from engrain.records import Rejected, SyntheticText
from engrain.store import Artifact, Row, read_rows
from engrain.synthesize.base import Asked
from engrain.synthesize.collect import LEDGER, REQUESTS
from engrain.synthesize.settings import DocumentSettings, QASettings, SynthesisSettings

_Made = TypeVar("_Made", SyntheticText, Rejected, Asked)

_SAMPLING = ("temperature", "top_p", "max_tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """How one synthetic text came about."""

    text: SyntheticText
    asked: Asked
    """The request: window, prompt, tokens."""
    model: str
    seed: int
    sampling: Mapping[str, float | int]
    siblings: tuple[SyntheticText, ...]
    """The other kept texts of the same reply."""
    rejected: tuple[Rejected, ...]
    """What of the same reply was not kept."""

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return dataclasses.asdict(self)


def requests(synthetic: Artifact) -> Iterator[Asked]:
    """Every request of a synthesis, in the order in which they were planned, in bounded memory."""
    for path in _parts(synthetic, REQUESTS):
        yield from read_rows(path, Asked)


def prompts(synthetic: Artifact) -> Callable[[Collection[str]], Mapping[str, Sequence[Message]]]:
    """Finds the messages of requests by their ids; ids that are not there are left out."""

    def find(request_ids: Collection[str]) -> Mapping[str, Sequence[Message]]:
        wanted = set(request_ids)
        return {
            asked.request_id: (Message("user", asked.prompt),)
            for asked in requests(synthetic)
            if asked.request_id in wanted
        }

    return find


def trace(synthetic: Artifact, text_id: str) -> Origin:
    """How the kept text with this id came about. Raises UserError where there is none."""
    found = next(_matching(synthetic, KEPT, SyntheticText, "id", text_id), None)
    if found is None:
        raise UserError(
            f"no kept text {text_id!r} in {str(synthetic.path)!r}; ids stand in the column `id` of "
            "kept/*.parquet, and with the samples in the report"
        )
    text: SyntheticText = found

    def same_reply(folder: str, kind: type[_Made]) -> Iterator[_Made]:
        # Documents with the same text share their requests.
        rows = _matching(synthetic, folder, kind, "request_id", text.request_id)
        return (row for row in rows if row.document_id == text.document_id)

    return Origin(
        text=text,
        asked=next(same_reply(REQUESTS, Asked)),
        model=str(synthetic.settings["generator"]),
        seed=int(synthetic.settings["seed"]),
        sampling=_sampling(synthetic, text),
        siblings=tuple(other for other in same_reply(KEPT, SyntheticText) if other.id != text_id),
        rejected=tuple(same_reply(REJECTED, Rejected)),
    )


def made_from(synthetic: Artifact, document_id: str) -> Iterator[SyntheticText | Rejected | Asked]:
    """Everything made from a document: kept texts, rejected ones, then the requests about it."""
    wanted = ("document_id", document_id)
    yield from _matching(synthetic, KEPT, SyntheticText, *wanted)
    yield from _matching(synthetic, REJECTED, Rejected, *wanted)
    yield from _matching(synthetic, REQUESTS, Asked, *wanted)


def prune(synthetic: Artifact) -> int:
    """Delete from the ledger what no request of the synthesis refers to; returns how many replies.

    The ledger keeps every reply that was paid for, also about documents that are gone: putting one
    back asks for nothing. After this it holds nothing of them. A later run asks again for what it
    needs.
    """
    with Ledger(synthetic.path / LEDGER) as ledger:
        return ledger.keep_only(_request_ids(synthetic))


def _request_ids(synthetic: Artifact) -> Iterator[str]:
    for path in _parts(synthetic, REQUESTS):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=["request_id"]):
                yield from batch["request_id"].to_pylist()


def _sampling(synthetic: Artifact, text: SyntheticText) -> dict[str, float | int]:
    settings = SynthesisSettings.model_validate(
        {k: v for k, v in synthetic.settings.items() if k in SynthesisSettings.model_fields}
    )
    found: QASettings | DocumentSettings = settings.qa
    if text.kind == "document":
        # A method's name begins with that of its settings (`spa_teacher`).
        found = next(own for own in settings.writers if text.method.startswith(own.method))
    return {name: getattr(found, name) for name in _SAMPLING}


def _matching(
    synthetic: Artifact, folder: str, kind: type[Row], column: str, value: str
) -> Iterator[Row]:
    """The rows with this value; of a group of rows without it, no other column is read."""
    for path in _parts(synthetic, folder):
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                found = pc.equal(file.read_row_group(group, [column])[column], value)
                if pc.any(found).as_py():
                    rows = file.read_row_group(group).filter(found).to_pylist()
                    yield from (kind(**row) for row in rows)


def _parts(synthetic: Artifact, folder: str) -> list[Path]:
    # What an interrupted write leaves starts with a dot.
    return sorted((synthetic.path / folder).glob("[!.]*.parquet"))
