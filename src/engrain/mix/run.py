"""The stage `mix`: synthetic texts and replay, in exact shares of tokens, packed for training.

Tokenises the kept texts once into a pool on disk, chooses and orders them by length alone
(`compose`, `pack`), and writes `sequences.arrow` (an Arrow stream, which `datasets` opens as it is)
and `composition.json`. Memory holds a small entry for each text, never all tokens.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, TypeVar

import pyarrow.parquet as pq

from engrain import artifacts, models, store
from engrain.errors import UserError
from engrain.mix.compose import Component, Item, prefix, seeded_order
from engrain.mix.composition import describe
from engrain.mix.files import COMPOSITION, SEQUENCES, Pool, write_sequences
from engrain.mix.pack import pack
from engrain.mix.replay import Replay
from engrain.mix.serialize import Serializer
from engrain.mix.settings import MixtureSettings
from engrain.progress import Progress
from engrain.records import Document
from engrain.store import Artifact

Row = TypeVar("Row")

_WORTH_TELLING = 0.05
"""Share of a component that the ratio leaves unused, from which on the user is told."""


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
) -> Artifact:
    """Mix and pack the budget that is `share` of all the synthetic tokens which the ratio allows.

    The texts of a smaller share are among those of a larger one. `tokenizer` is the student's
    folder or hub name. `counts["synthetic_tokens"]` is the budget, in the student's tokens.
    Raises UserError where a component has no text, or replay too little.
    """
    if not 0 < share <= 1:
        raise UserError(f"budget {share!r} is no share of the synthetic tokens; give one up to 1")
    wanted = settings.replay
    replay = Replay(wanted) if wanted is not None and wanted.source is not None else None
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
            available = _tokenized(synthetic, serializer, pool, progress)
            chosen = _within_budget(available, settings, share, seed, progress)
            if replay is not None:
                needed = replay.share / (1 - replay.share) * _tokens(*chosen.values())
                pieces = _replay_items(replay, serializer, pool, sequence_length, seed)
                chosen["replay"] = _enough(replay, pieces, needed)
            expected = -(-_tokens(*chosen.values()) // sequence_length)
            with progress.bar("mix: packing", expected, "sequences") as bar:
                written = write_sequences(
                    directory / SEQUENCES,
                    pack(chosen, sequence_length),
                    pool,
                    sequence_length=sequence_length,
                    pad=own.eos_token_id if own.pad_token_id is None else own.pad_token_id,
                    bar=bar,
                )
        source = _source(corpus, serializer)
        composition = describe(available, chosen, written, source)
        store.write_json(directory / COMPOSITION, composition)
        return _counts(composition, sequence_length)

    return store.run_stage(
        out,
        stage="mix",
        settings=identity,
        # Not their whole fingerprints: other questions with the same texts need no new training.
        inputs={
            "texts": artifacts.texts_fingerprint(synthetic),
            "documents": artifacts.documents_fingerprint(corpus),
        },
        build=build,
        say=progress.say,
    )


def _tokenized(
    synthetic: Artifact, serializer: Serializer, pool: Pool, progress: Progress
) -> list[Item]:
    """All kept texts, their tokens in the pool."""
    kept = (synthetic.path / artifacts.KEPT).glob("[!.]*.parquet")
    total = sum(pq.read_metadata(file).num_rows for file in kept)
    items: list[Item] = []
    with progress.bar("mix: tokenising", total, "texts") as bar:
        for text, written in serializer.synthetic(artifacts.texts(synthetic)):
            pair = text.kind == "qa"
            item = Item(
                text.id,
                "qa" if pair else "documents",
                sys.intern(text.document_id),  # one string for all texts of a document
                sys.intern(text.method),
                pool.add(written.tokens),
                len(written.tokens),
                prompt=written.prompt,
                whole=pair,
            )
            items.append(item)
            bar.advance(1)
    return items


def _within_budget(
    available: Sequence[Item],
    settings: MixtureSettings,
    share: float,
    seed: int,
    progress: Progress,
) -> dict[Component, Sequence[Item]]:
    """Of each component the first texts in its seeded order: as many as ratio and share allow."""
    if not available:
        raise UserError(
            "there is no synthetic text to mix; look at the reasons in the rejected texts"
        )
    names: tuple[Component, ...] = ("qa", "documents")
    weights = {name: w for name, w in zip(names, settings.weights, strict=True) if w > 0}
    texts = {name: [item for item in available if item.component == name] for name in weights}
    for name, items in texts.items():
        if not items:
            raise UserError(
                f"the mixture of {settings.qa_to_documents!r} needs {name}, and the synthetic text "
                "has none; generate some, or set mixture.qa_to_documents to '1:0' or '0:1'"
            )
    allowed = min(_tokens(texts[name]) / weight for name, weight in weights.items())
    chosen: dict[Component, Sequence[Item]] = {}
    for name, weight in weights.items():
        ordered = seeded_order(texts[name], seed)
        chosen[name] = prefix(ordered, allowed * weight * share)
        if not chosen[name]:
            raise UserError(
                f"budget {share!r} leaves no text of {name}; give a larger share, or more text"
            )
        unused = 1 - allowed * weight / _tokens(ordered)
        if unused > _WORTH_TELLING:
            progress.say(
                f"mix: the ratio {settings.qa_to_documents} leaves {unused:.0%} of the tokens of "
                f"{name} unused; generate more of the other"
            )
    return chosen


def _replay_items(
    replay: Replay, serializer: Serializer, pool: Pool, sequence_length: int, seed: int
) -> Iterator[Item]:
    """Replay without end but the source's own, in pieces of at most a sequence."""
    for number, written in enumerate(serializer.raw(replay.texts(seed))):
        start, length = pool.add(written.tokens), len(written.tokens)
        pieces = -(-length // sequence_length)
        cuts = [start + length * cut // pieces for cut in range(pieces + 1)]
        for begin, end in pairwise(cuts):
            yield Item(f"replay/{number}", "replay", "", "replay", begin, end - begin)


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
        "source_tokens": composition["source_tokens"],
        "tokens": composition["tokens"],
        "texts": sum(component["texts"] for component in components.values()),
        "sequences": composition["sequences"],
        "sequence_length": sequence_length,
        "padding_tokens": composition["padding"]["tokens"],
        **{f"{name}_tokens": component["tokens"] for name, component in components.items()},
    }


def _tokens(*groups: Iterable[Item]) -> int:
    return sum(item.length for group in groups for item in group)


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
