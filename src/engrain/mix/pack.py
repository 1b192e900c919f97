"""Texts into sequences of one length: shares even, hardly any padding, no pair split, no tail.

Pure: knows lengths only. The next text is always one of the component that is furthest behind, and
a sequence is the next text and those after it that fill it exactly (a subset sum over the shortest
look-ahead that can). So texts keep their order and are hardly ever cut, where concatenating and
chunking cuts a text at the end of each sequence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise

from engrain.mix.compose import Component, Item

_LOOK_AHEAD = 256
"""Texts looked at for an exact fill; where lengths vary, a dozen suffice."""
_AHEAD = 4, 16_384
"""Sequences, and tokens: the larger is the most that a component may be ahead of its share. Where
lengths vary a sequence is filled long before; where not, shares go before a better fill."""
_WASTE = 1 / 1000
"""Share of all positions that may be padding before a document is cut instead."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of one text: `start` to `stop` among its tokens; all of it, but for cut texts."""

    item: Item
    start: int
    stop: int

    @property
    def length(self) -> int:
        """Tokens."""
        return self.stop - self.start


def pack(
    components: Mapping[Component, Sequence[Item]], sequence_length: int
) -> Iterator[list[Piece]]:
    """Sequences of at most `sequence_length` tokens; all tokens of all items, each once.

    Every stretch of them holds the components in their overall shares. Padding stays under a
    thousandth of the positions, but at the very end, and where texts that stay `whole` stand alone:
    they are cut only where one is longer than a sequence.
    """
    queues = [_Queue(items, sequence_length) for items in components.values() if items]
    spare = 0.0
    while any(queue.waiting for queue in queues):
        spare += sequence_length * _WASTE
        pieces = _sequence(queues, sequence_length, spare)
        spare -= sequence_length - sum(piece.length for piece in pieces)
        yield pieces


class _Queue:
    """What is left of one component: the next pieces, and how far it has come."""

    def __init__(self, items: Sequence[Item], longest: int) -> None:
        self._rest = _pieces(items, longest)
        self.waiting = list(islice(self._rest, _LOOK_AHEAD))
        self.total = sum(item.length for item in items)
        self.done = 0

    def take(self, places: list[int]) -> None:
        """Remove the waiting pieces at `places`, in ascending order."""
        for place in reversed(places):
            self.done += self.waiting.pop(place).length
        self.waiting.extend(islice(self._rest, _LOOK_AHEAD - len(self.waiting)))

    def cut(self, place: int, length: int) -> Piece:
        """Take the first `length` tokens of the waiting piece at `place`."""
        piece = self.waiting[place]
        self.waiting[place] = replace(piece, start=piece.start + length)
        self.done += length
        return replace(piece, stop=piece.start + length)


def _pieces(items: Iterable[Item], longest: int) -> Iterator[Piece]:
    """Each item whole, or in equal pieces where it is too long for a sequence."""
    for item in items:
        count = -(-item.length // longest)
        for start, stop in pairwise(item.length * cut // count for cut in range(count + 1)):
            yield Piece(item, start, stop)


def _sequence(queues: list[_Queue], length: int, spare: float) -> list[Piece]:
    """Take the next sequence's pieces out of the queues; the very next one is always among them.

    Cuts a document to fill a gap of more than `spare` tokens.
    """
    seen: list[tuple[_Queue, int]] = []
    sequences, tokens = _AHEAD
    ahead = max(sequences * length, tokens)

    def look_ahead() -> Iterator[int]:
        for queue, place in islice(_order(queues, ahead), _LOOK_AHEAD):
            seen.append((queue, place))
            yield queue.waiting[place].length

    lengths = look_ahead()
    first = next(lengths)
    chosen = [seen[index] for index in [0, *_fill(lengths, length - first)]]
    pieces = [queue.waiting[place] for queue, place in chosen]
    gap = length - sum(piece.length for piece in pieces)
    if gap > spare:
        for queue, place in seen:
            piece = queue.waiting[place]
            if not piece.item.whole and piece.length > gap and (queue, place) not in chosen:
                pieces.append(queue.cut(place, gap))
                break
    for queue in queues:
        queue.take([place for owner, place in chosen if owner is queue])
    return pieces


def _order(queues: list[_Queue], ahead: int) -> Iterator[tuple[_Queue, int]]:
    """The waiting pieces, next the one whose component is furthest behind in its own tokens.

    Those that lie more than `ahead` tokens further on in the stream are left for later.
    """
    places = [0] * len(queues)
    done = [queue.done for queue in queues]
    furthest = (sum(done) + ahead) / sum(queue.total for queue in queues)

    def behind(index: int) -> float:
        # The middle of the coming piece decides, so that a long one neither leads nor lags.
        coming = queues[index].waiting[places[index]].length
        return (done[index] + coming / 2) / queues[index].total

    while left := [i for i, queue in enumerate(queues) if places[i] < len(queue.waiting)]:
        index = min(left, key=behind)
        if behind(index) > furthest and any(places):
            return
        yield queues[index], places[index]
        done[index] += queues[index].waiting[places[index]].length
        places[index] += 1


def _fill(lengths: Iterator[int], room: int) -> list[int]:
    """Indices (from 1) of the texts that fill `room` exactly, early ones first; else nearly."""
    mask = (1 << (room + 1)) - 1
    sizes: list[int] = []
    reachable = [1]  # bit n of reachable[k]: n tokens are the sum of some of the first k lengths
    while not reachable[-1] >> room & 1 and (size := next(lengths, None)) is not None:
        sizes.append(size)
        reachable.append((reachable[-1] | reachable[-1] << size) & mask)
    rest = reachable[-1].bit_length() - 1
    found = []
    for index in range(len(sizes), 0, -1):
        if not reachable[index - 1] >> rest & 1:
            found.append(index)
            rest -= sizes[index - 1]
    return found[::-1]
