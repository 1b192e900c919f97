"""Texts into sequences of one length: hardly any padding, no pair split, no tail dropped.

Pure: knows lengths only. A sequence is the next text of the stream and those after it that fill it
exactly (a subset sum over the shortest look-ahead that can), so texts keep their place in the
stream and are hardly ever cut, where concatenating and chunking cuts a text at each sequence's end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice, pairwise

from engrain.mix.compose import Item

_LOOK_AHEAD = 256
"""Texts looked at for an exact fill; where lengths vary, a dozen suffice."""
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


def pack(items: Iterable[Item], sequence_length: int) -> Iterator[list[Piece]]:
    """Sequences of at most `sequence_length` tokens; all tokens of all items, each once.

    Padding stays under a thousandth of the positions, but for the last sequence, and where pairs
    (`qa`) stand alone: they are cut only where one is longer than a sequence.
    """
    stream = _pieces(items, sequence_length)
    waiting: deque[Piece] = deque()
    spare = 0.0
    while True:
        waiting.extend(islice(stream, _LOOK_AHEAD - len(waiting)))
        if not waiting:
            return
        spare += sequence_length * _WASTE
        pieces = _sequence(waiting, sequence_length, spare)
        spare -= sequence_length - sum(piece.length for piece in pieces)
        yield pieces


def _pieces(items: Iterable[Item], longest: int) -> Iterator[Piece]:
    """Each item whole, or in equal pieces where it is too long for a sequence."""
    for item in items:
        count = -(-item.length // longest)
        for start, stop in pairwise(item.length * cut // count for cut in range(count + 1)):
            yield Piece(item, start, stop)


def _sequence(waiting: deque[Piece], length: int, spare: float) -> list[Piece]:
    """Take the next sequence's pieces out of `waiting`; its head is always among them.

    Cuts a document to fill a gap of more than `spare` tokens.
    """
    behind = (piece.length for piece in islice(waiting, 1, None))
    chosen = [0, *_fill(behind, length - waiting[0].length)]
    pieces = [waiting[index] for index in chosen]
    gap = length - sum(piece.length for piece in pieces)
    if gap > spare:
        taken = set(chosen)
        for index, piece in enumerate(waiting):
            if index not in taken and piece.item.component != "qa" and piece.length > gap:
                pieces.append(replace(piece, stop=piece.start + gap))
                waiting[index] = replace(piece, start=piece.start + gap)
                break
    for index in reversed(chosen):
        del waiting[index]
    return pieces


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
