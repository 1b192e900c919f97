"""What training processes tell one another besides tensors: jobs one way, news the other.

Over torch's TCPStore: torchrun's own, or one that `launch` opens for the workers of this machine.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from functools import cache
from typing import Any

from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from engrain.progress import Bar, Progress
from engrain.train import ranks
from engrain.train.job import Job

# A worker waits for its next job as long as the stages before it take.
_PATIENCE = timedelta(days=365)


class Channel:
    """Numbered messages under the keys of a store."""

    def __init__(self, store: Store) -> None:
        """Speak through `store`, under keys of one's own."""
        self._store = PrefixStore("engrain", store)
        self._jobs = 0
        self._told = 0
        self._heard: dict[int, int] = {}

    def order(self, job: Job | None) -> None:
        """Give every worker the next job; None: there will be no other."""
        self._store.set(f"job/{self._jobs}", "" if job is None else job.model_dump_json())
        self._jobs += 1

    def ordered(self) -> Job | None:
        """Wait for the next job; None where there is no other."""
        key = f"job/{self._jobs}"
        self._store.wait([key], _PATIENCE)
        self._jobs += 1
        text = self._store.get(key).decode()
        return Job.model_validate_json(text) if text else None

    def tell(self, **news: Any) -> None:
        """Send news to the process that started the workers."""
        self._store.set(f"news/{ranks.rank()}/{self._told}", json.dumps(news))
        self._told += 1

    def news(self, rank: int) -> Iterator[dict[str, Any]]:
        """What a worker has told since the last call."""
        while self._store.check([key := f"news/{rank}/{self._heard.get(rank, 0)}"]):
            yield json.loads(self._store.get(key))
            self._store.delete_key(key)
            self._heard[rank] = self._heard.get(rank, 0) + 1


@cache
def joined() -> Channel:
    """The channel that this process's environment names."""
    store, _, _ = next(rendezvous("env://"))
    return Channel(store)


class Told:
    """A worker's progress: whoever started it shows it."""

    def __init__(self, channel: Channel) -> None:
        """Tell it through `channel`."""
        self._channel = channel

    def say(self, line: str) -> None:
        """Have one line shown."""
        self._channel.tell(say=line)

    @contextmanager
    def bar(self, label: str, total: int, unit: str) -> Iterator[Bar]:
        """Have a bar shown."""
        self._channel.tell(bar=[label, total, unit])
        yield self
        self._channel.tell(ended=True)

    def advance(self, amount: int = 1, *, note: str = "") -> None:
        """Have the bar moved."""
        self._channel.tell(advance=amount, note=note)


class Shown:
    """What a worker told of its progress, shown."""

    def __init__(self, progress: Progress, bars: ExitStack) -> None:
        """Show it on `progress`; a bar that is open when the training fails closes with `bars`."""
        self._progress, self._bars = progress, bars
        self._bar: Bar | None = None

    def show(self, news: dict[str, Any]) -> None:
        """Show one piece of news."""
        if "say" in news:
            self._progress.say(news["say"])
        elif "bar" in news:
            self._bar = self._bars.enter_context(self._progress.bar(*news["bar"]))
        elif "advance" in news:
            assert self._bar is not None
            self._bar.advance(news["advance"], note=news["note"])
        elif "ended" in news:
            self._bars.close()
