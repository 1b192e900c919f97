"""The stage `mix`: synthetic texts and replay, in exact shares of tokens, packed for training.

Tokenises the kept texts once into a pool on disk, chooses and orders them by length alone
(`compose`, `pack`), and writes `sequences.arrow` (an Arrow stream, which `datasets` opens as it is)
and `composition.json`. Memory holds a small entry for each text, never all tokens.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow.parquet as pq

from engrain import artifacts, models, store
from engrain.errors import UserError
from engrain.mix.compose import Item, prefix, tokens_of
from engrain.mix.composition import describe
from engrain.mix.files import COMPOSITION, SEQUENCES, Pool, write_sequences
from engrain.mix.megadocs import STITCHED, joined, stitch
from engrain.mix.pack import Piece, pack
from engrain.mix.replay import Replay
from engrain.mix.serialize import Serialized, Serializer
from engrain.mix.settings import REPLAY, ComponentSettings, MixtureSettings
from engrain.mix.shares import choose, unused
from engrain.progress import Progress
from engrain.records import Document, SyntheticText
from engrain.store import Artifact

Row = TypeVar("Row")

SOURCE = "source"
"""The method of a source document that is trained on itself."""

_WORTH_TELLING = 0.05
"""Share of a component that the ratio leaves unused, from which on the user is told."""


@dataclass(frozen=True, slots=True)
class Others:
    """Texts of other runs."""

    runs: Mapping[Path, Artifact]
    """By the folder that the components name."""
    leaks: Callable[[SyntheticText], bool]
    """Whether a text holds one of this run's evaluation questions, and so is left out."""


def mix(
    synthetic: Artifact,
    corpus: Artifact,
    settings: MixtureSettings,
    tokenizer: str,
    out: Path,
    *,
    share: float,
    sequence_length: int,
    seed: int,
    progress: Progress,
    others: Others | None = None,
) -> Artifact:
    """Mix and pack the budget that is `share` of all the tokens which the components allow.

    The texts of a smaller share are among those of a larger one. `tokenizer` is the student's
    folder or hub name; `others` is needed where components take another run's texts.
    `counts["component_tokens"]` is the budget, in the student's tokens. Raises UserError where a
    component has no text or too little, or replay too little.
    """
    if not 0 < share <= 1:
        raise UserError(f"budget {share!r} is no share of the synthetic tokens; give one up to 1")
    others = others or Others({}, lambda text: False)
    replay = None if settings.replay is None else Replay(settings.replay)
    identity = {
        **settings.identity(),
        "replay": None if replay is None else replay.identity(),
        "tokenizer": models.tokenizer_identity(tokenizer),
        "share": share,
        "sequence_length": sequence_length,
        "seed": seed,
    }

    def build(directory: Path) -> Mapping[str, Any]:
        own = models.load_tokenizer(tokenizer)
        serializer = Serializer(own, settings.serialization)
        with _disk(directory), Pool(directory) as pool:
            filling = _Filling(settings, serializer, pool, progress)
            filling.texts(artifacts.texts(synthetic), None, _count(synthetic))
            for run, other in others.runs.items():
                kept = (text for text in artifacts.texts(other) if not others.leaks(text))
                filling.texts(kept, run, _count(other))
            filling.source(corpus)
            chosen = choose(settings, filling.available, budget=share, seed=seed)
            _tell(settings, filling, progress)
            if replay is not None:
                needed = replay.share / (1 - replay.share) * tokens_of(chain(*chosen.values()))
                pieces = _replay_items(replay, serializer, pool, sequence_length, seed)
                chosen[REPLAY] = _enough(replay, pieces, needed)
            expected = -(-tokens_of(chain(*chosen.values())) // sequence_length)
            with progress.bar("mix: packing", expected, "sequences") as bar:
                written = write_sequences(
                    directory / SEQUENCES,
                    _packed(settings, chosen, pool, sequence_length, seed),
                    pool,
                    sequence_length=sequence_length,
                    pad=own.eos_token_id if own.pad_token_id is None else own.pad_token_id,
                    bar=bar,
                )
        source = _source(corpus, serializer)
        composition = describe(settings, filling.available, chosen, written, source)
        composition["left_out"] = filling.left_out
        composition["replay"] = None if replay is None else replay.identity()
        store.write_json(directory / COMPOSITION, composition)
        return _counts(composition, sequence_length)

    return store.run_stage(
        out,
        stage="mix",
        settings=identity,
        inputs=_inputs(synthetic, corpus, others),
        build=build,
        say=progress.say,
    )


def _inputs(synthetic: Artifact, corpus: Artifact, others: Others) -> dict[str, str]:
    # Not their whole fingerprints: other questions with the same texts need no new training.
    inputs = {
        "texts": artifacts.texts_fingerprint(synthetic),
        "documents": artifacts.documents_fingerprint(corpus),
    }
    for number, other in enumerate(others.runs.values()):
        inputs[f"texts.{number}"] = artifacts.texts_fingerprint(other)
    if others.runs:  # Their texts are looked through for this run's questions.
        asked = [question.text for question in artifacts.questions(corpus)]
        inputs["questions"] = store.fingerprint(asked)
    return inputs


class _Filling:
    """Puts texts into the pool, each for the component that takes it."""

    def __init__(
        self, settings: MixtureSettings, serializer: Serializer, pool: Pool, progress: Progress
    ) -> None:
        self._parts, self._serializer = settings.parts, serializer
        self._pool, self._progress = pool, progress
        self.available: dict[str, list[Item]] = {part.name: [] for part in self._parts}
        self.left_out: dict[str, int] = {}
        """Texts that no component takes, by method."""

    def texts(self, texts: Iterator[SyntheticText], run: Path | None, total: int) -> None:
        """The kept texts of this run, or of another."""
        parts = [part for part in self._parts if part.texts != SOURCE and part.run == run]
        with self._progress.bar("mix: tokenising", total, "texts") as bar:

            def taken() -> Iterator[SyntheticText]:
                for text in texts:
                    bar.advance(1)
                    if _owner(parts, text) is not None:
                        yield text
                    elif run is None:
                        self.left_out[text.method] = self.left_out.get(text.method, 0) + 1

            for text, written in self._serializer.synthetic(taken()):
                part = _owner(parts, text)
                assert part is not None
                # Ids of another run may be those of this one.
                id = text.id if part.run is None else f"{part.name}/{text.id}"
                self._add(part, id, text.document_id, text.method, written, text.kind == "qa")

    def source(self, corpus: Artifact) -> None:
        """The source documents, where a component asks for them."""
        for part in (part for part in self._parts if part.texts == SOURCE):
            ids = (document.id for document in artifacts.documents(corpus))
            texts = (document.text for document in artifacts.documents(corpus))
            for id, written in zip(ids, self._serializer.raw(texts), strict=True):
                self._add(part, f"{SOURCE}/{id}", id, SOURCE, written, False)

    def _add(
        self,
        part: ComponentSettings,
        id: str,
        document_id: str,
        method: str,
        written: Serialized,
        whole: bool,
    ) -> None:
        item = Item(
            id,
            part.name,
            sys.intern(document_id),  # one string for all texts of a document
            sys.intern(method),
            self._pool.add(written.tokens),
            len(written.tokens),
            prompt=written.prompt,
            whole=whole,
        )
        self.available[part.name].append(item)


def _owner(parts: Sequence[ComponentSettings], text: SyntheticText) -> ComponentSettings | None:
    """The component that names the text's method; else the one that takes what no other names."""
    kind = "qa" if text.kind == "qa" else "documents"
    fitting = [part for part in parts if part.texts == kind]
    named = (part for part in fitting if text.method in part.methods)
    return next(named, None) or next((part for part in fitting if not part.methods), None)


def _count(synthetic: Artifact) -> int:
    kept = (synthetic.path / artifacts.KEPT).glob("[!.]*.parquet")
    return sum(pq.read_metadata(file).num_rows for file in kept)


def _tell(settings: MixtureSettings, filling: _Filling, progress: Progress) -> None:
    """What of the texts written for this run is in no mixture."""
    own = {part.name for part in settings.parts if part.own}
    for name, left in unused(settings, filling.available).items():
        if name in own and left > _WORTH_TELLING:
            which = settings.qa_to_documents
            reason = "the shares leave" if which is None else f"the ratio {which} leaves"
            if settings.tokens is not None:
                reason = f"mixture.tokens {settings.tokens:,} leaves"
            progress.say(
                f"mix: {reason} {left:.0%} of the tokens of {name} unused; "
                "generate more of the other"
            )
    if settings.components and filling.left_out:
        said = ", ".join(f"{count:,} of {name!r}" for name, count in filling.left_out.items())
        progress.say(f"mix: no component takes these texts: {said}")


def _packed(
    settings: MixtureSettings,
    chosen: Mapping[str, Sequence[Item]],
    pool: Pool,
    sequence_length: int,
    seed: int,
) -> Iterator[list[Piece]]:
    """The sequences, in the order of the settings; replay has its share in every phase."""
    replay = list(chosen.get(REPLAY, ()))
    phases = _phases(settings, chosen, pool, seed)
    left = sum(tokens_of(chain(*phase.values())) for phase in phases)
    for phase in phases:
        tokens = tokens_of(chain(*phase.values()))
        own = replay if tokens == left else prefix(replay, tokens_of(replay) * tokens / left)
        replay, left = replay[len(own) :], left - tokens
        yield from pack({**phase, REPLAY: own}, sequence_length)


def _phases(
    settings: MixtureSettings, chosen: Mapping[str, Sequence[Item]], pool: Pool, seed: int
) -> list[dict[str, Sequence[Item]]]:
    """What is packed one after the other, without replay."""
    mixed = {part.name: chosen[part.name] for part in settings.parts}
    if settings.order == "mixed":
        return [mixed]
    if settings.order == "stitched":
        apart = {part.name: mixed[part.name] for part in settings.parts if part.run is not None}
        sources = {part.name for part in settings.parts if part.texts == SOURCE}
        texts = (item for name in mixed if name not in {*apart, *sources} for item in mixed[name])
        megadocs = stitch(texts, chain(*(mixed[name] for name in sources)), seed)
        return [{STITCHED: _contiguous(megadocs, pool), **apart}]
    pairs = {part.name: mixed[part.name] for part in settings.parts if part.texts == "qa"}
    rest = {name: items for name, items in mixed.items() if name not in pairs}
    return [pairs, rest] if settings.order == "qa_first" else [rest, pairs]


def _contiguous(megadocs: Sequence[Sequence[Item]], pool: Pool) -> list[Item]:
    """The megadocs as one text each, their tokens put together at the end of the pool."""
    items = []
    for number, parts in enumerate(megadocs):
        stretches = [pool.read(part.start, part.start + part.length) for part in parts]
        items.append(joined(parts, number, pool.add(np.concatenate(stretches))))
    return items


def _replay_items(
    replay: Replay, serializer: Serializer, pool: Pool, sequence_length: int, seed: int
) -> Iterator[Item]:
    """Replay without end but the source's own, in pieces of at most a sequence."""
    for number, written in enumerate(serializer.raw(replay.texts(seed), markup=True)):
        start, length = pool.add(written.tokens), len(written.tokens)
        pieces = -(-length // sequence_length)
        cuts = [start + length * cut // pieces for cut in range(pieces + 1)]
        for begin, end in pairwise(cuts):
            yield Item(f"{REPLAY}/{number}", REPLAY, "", REPLAY, begin, end - begin)


def _enough(replay: Replay, pieces: Iterable[Item], needed: float) -> list[Item]:
    taken: list[Item] = []
    total = 0
    for item in pieces:
        taken.append(item)
        total += item.length
        if total >= needed:
            return prefix(taken, needed)
    raise UserError(
        f"replay source {replay.source!r} holds {total:,} tokens, {needed - total:,.0f} too few "
        f"for a share of {replay.share:g}; give more general text, or lower replay.share"
    )


def _source(corpus: Artifact, serializer: Serializer) -> Iterator[tuple[Document, int]]:
    """The source documents, each with its tokens."""
    for documents in _batches(artifacts.documents(corpus), 16):
        counts = serializer.count([document.text for document in documents])
        yield from zip(documents, counts, strict=True)


def _counts(composition: Mapping[str, Any], sequence_length: int) -> dict[str, Any]:
    components = composition["components"]
    return {
        "synthetic_tokens": composition["synthetic_tokens"],
        "component_tokens": composition["component_tokens"],
        "source_tokens": composition["source_tokens"],
        "tokens": composition["tokens"],
        "texts": sum(component["texts"] for component in components.values()),
        "sequences": composition["sequences"],
        "sequence_length": sequence_length,
        "padding_tokens": composition["padding"]["tokens"],
        "components": {name: component["tokens"] for name, component in components.items()},
    }


def _batches(rows: Iterator[Row], size: int) -> Iterator[list[Row]]:
    while batch := list(islice(rows, size)):
        yield batch


@contextmanager
def _disk(directory: Path) -> Iterator[None]:
    """A disk that is full or closed to us is the user's to mend."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES):
            raise
        raise UserError(
            f"cannot write the mixture to {str(directory)!r} ({error.strerror or error}); "
            "free some space or choose another folder"
        ) from error
