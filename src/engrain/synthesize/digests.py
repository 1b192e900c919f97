"""A set of digests that only grows: 16 to 32 bytes an entry, where a Python set takes a hundred."""

from __future__ import annotations

from array import array

_SMALLEST = 1 << 12
# A slot that is free; a digest of this value is stored as the next one.
_FREE = 0


class Digests:
    """Remembers the first eight bytes of each digest.

    Two of ten million texts share those by chance with a probability of 3 in a million, and of a
    hundred million of 3 in ten thousand; then one text too many counts as seen.
    """

    def __init__(self) -> None:
        """Empty."""
        self._slots = array("Q", bytes(8 * _SMALLEST))
        self._used = 0

    def __len__(self) -> int:
        """How many there are."""
        return self._used

    def add(self, digest: bytes) -> bool:
        """Take a digest; returns whether it was new."""
        if 3 * self._used >= 2 * len(self._slots):
            self._grow()
        key = int.from_bytes(digest[:8], "little") or _FREE + 1
        slot = _find(self._slots, key)
        if self._slots[slot] == key:
            return False
        self._slots[slot] = key
        self._used += 1
        return True

    def _grow(self) -> None:
        larger = array("Q", bytes(16 * len(self._slots)))
        for key in self._slots:
            if key != _FREE:
                larger[_find(larger, key)] = key
        self._slots = larger


def _find(slots: array[int], key: int) -> int:
    """The slot that holds `key`, or the free one where it belongs."""
    mask = len(slots) - 1
    slot = key & mask
    while slots[slot] not in (_FREE, key):
        slot = (slot + 1) & mask
    return slot
