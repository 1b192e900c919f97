"""From a synthetic text back to its prompt. Reads `requests/*.parquet`; asks no model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from engrain.backends.base import Message
from engrain.store import Artifact, read_rows
from engrain.synthesize.base import Asked
from engrain.synthesize.collect import REQUESTS


def requests(synthetic: Artifact) -> Iterator[Asked]:
    """Every request of a synthesis, in the order in which they were planned, in bounded memory."""
    for path in sorted((synthetic.path / REQUESTS).glob("[!.]*.parquet")):
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
