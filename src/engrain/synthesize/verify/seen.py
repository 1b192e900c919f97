"""What came before, in bounded memory. Knows numbers, nothing of texts."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

# Tables grow one at a time, so no single text waits long for it.
_TABLES = 256


class Seen:
    """A set of 64-bit keys of the last items, at most `most` and at least half as many of them.

    An item has one or several keys. Two generations: when the newer one holds half of `most`, the
    older is forgotten.
    """

    def __init__(self, most: int) -> None:
        self._half = max(1, most // 2)
        self._items = 0
        self._now = _empty()
        self._before: list[_Table] = []

    def any(self, keys: Sequence[int]) -> bool:
        """Whether one of the keys was added and is not forgotten."""
        for key in keys:
            table = key % _TABLES
            if key in self._now[table] or (self._before and key in self._before[table]):
                return True
        return False

    def add(self, keys: Sequence[int]) -> None:
        """Remember an item by its keys."""
        if self._items == self._half:
            self._before, self._now, self._items = self._now, _empty(), 0
        for key in keys:
            self._now[key % _TABLES].add(key)
        self._items += 1


def _empty() -> list[_Table]:
    return [_Table() for _ in range(_TABLES)]


class _Table:
    """Open addressing over one array: 11 to 22 bytes a key, where a Python set takes some 75."""

    __slots__ = ("_count", "_slots")

    def __init__(self) -> None:
        self._slots = _slots(16)
        self._count = 0

    def __contains__(self, key: int) -> bool:
        return self._slots[self._place(key)] != 0

    def add(self, key: int) -> None:
        place = self._place(key)
        if self._slots[place]:
            return
        self._slots[place] = key
        self._count += 1
        if 4 * self._count > 3 * len(self._slots):
            old, self._slots = self._slots, _slots(2 * len(self._slots))
            for kept in filter(None, old):
                self._slots[self._place(kept)] = kept

    def _place(self, key: int) -> int:
        """Where the key stands or would stand; an empty slot is 0, so no key may be."""
        slots, last = self._slots, len(self._slots) - 1
        # The lowest bits chose the table.
        place = (key // _TABLES) & last
        while (found := slots[place]) and found != key:
            place = (place + 1) & last
        return place


def _slots(count: int) -> array[int]:
    return array("Q", bytes(8 * count))
