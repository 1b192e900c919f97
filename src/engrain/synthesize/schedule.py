"""Which window is written about next. Pure: depends on the windows and the budget, never on timing.

Every window gets tokens in proportion to its length. The sequence is the same for every budget, so
what a small budget asks for, a larger one asks for first.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence


class Allotment:
    """An endless sequence of windows; each next one is that which is furthest behind its share.

    `weights` are the windows' shares of the tokens, `sizes` the expected tokens of one text about
    each. The next text goes where (texts + 1/2) x size / weight is smallest (Sainte-Lague), ties to
    the earlier window.
    """

    def __init__(self, weights: Sequence[float], sizes: Sequence[float]) -> None:
        self.asked = [0] * len(weights)
        """Texts allotted so far, for each window."""
        self._sizes = sizes
        self._step = [size / weight for size, weight in zip(sizes, weights, strict=True)]
        self._queue = [(step / 2, window) for window, step in enumerate(self._step)]
        heapq.heapify(self._queue)

    def take(self, tokens: float, *, scale: float, at_least: int, at_most: int | None) -> list[int]:
        """Allot the next texts: while they are expected to fit `tokens`, within the two counts.

        Returns the windows, those about one window side by side, so that a server's prefix cache
        serves them. `scale` corrects all expected sizes by what was seen.
        """
        taken: list[int] = []
        while self._queue and (at_most is None or len(taken) < at_most):
            behind, window = self._queue[0]
            tokens -= self._sizes[window] * scale
            if tokens < 0 and len(taken) >= at_least:
                break
            heapq.heapreplace(self._queue, (behind + self._step[window], window))
            self.asked[window] += 1
            taken.append(window)
        return sorted(taken)

    def give_up(self, windows: set[int]) -> None:
        """Allot nothing more to these windows."""
        self._queue = [entry for entry in self._queue if entry[1] not in windows]
        heapq.heapify(self._queue)
