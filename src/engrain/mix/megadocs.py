"""Stitched megadocs (arXiv 2603.18534): the texts of a source document in a row, the document last.

Pure: orders texts; knows nothing of tokens. No new text: the same texts in the order `mixed` are
the control. How far attention reaches across them is the packer's and the training's.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from engrain.mix.compose import Item, tokens_of, uniform

STITCHED = "stitched"
"""The method of a megadoc, and the component of all of them where they are packed."""


def stitch(texts: Iterable[Item], sources: Iterable[Item], seed: int) -> list[tuple[Item, ...]]:
    """The megadocs in the order of the stream, each as its texts in order.

    A document has as many as its most repeated text stands times: no megadoc holds a text twice,
    the repetitions of a text are spread over them evenly, and so are the texts that stand once.
    Documents are shuffled; the megadocs of one are as far apart as can be. A document whose source
    is not in this budget goes without.
    """
    standing: dict[str, Counter[Item]] = defaultdict(Counter)
    for item in texts:
        standing[item.document_id][item] += 1
    last: dict[str, Counter[Item]] = defaultdict(Counter)
    for item in sources:
        last[item.document_id][item] += 1
    placed = []
    for document in {**standing, **last}:
        megadocs = _of_document(standing[document], last[document], seed)
        start = uniform(seed, "megadoc", document)
        for number, megadoc in enumerate(megadocs):
            placed.append(((number + start) / len(megadocs), document, megadoc))
    return [megadoc for _, _, megadoc in sorted(placed, key=lambda entry: entry[:2])]


def joined(parts: Sequence[Item], number: int, start: int) -> Item:
    """The megadoc as one text for the packer, its parts' tokens from `start` on in the pool."""
    moved = []
    place = start
    for part in parts:
        moved.append(replace(part, start=place))
        place += part.length
    return Item(
        f"{STITCHED}/{number}",
        STITCHED,
        parts[0].document_id,
        STITCHED,
        start,
        tokens_of(parts),
        parts=tuple(moved),
    )


def _of_document(texts: Counter[Item], sources: Counter[Item], seed: int) -> list[tuple[Item, ...]]:
    count = max([*texts.values(), *sources.values()])
    megadocs: list[list[Item]] = [[] for _ in range(count)]
    shuffled = sorted(texts, key=lambda item: (uniform(seed, STITCHED, item.id), item.id))
    for ordered, turns in ((shuffled, 1), (list(sources), 0)):
        for rank, item in enumerate(ordered):
            times = texts[item] or sources[item]
            for number in range(times):
                megadocs[(number * count // times + turns * rank) % count].append(item)
    return [tuple(megadoc) for megadoc in megadocs]
