"""What `packing` compares: each makes packed sequences of 2,048 tokens out of a file of texts.

Each is a pair: `prepare` imports, loads the tokenizer and returns the work that is timed; `rows`
then reads what was made.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from engrain.models import load_tokenizer

LENGTH = 2048
ALONE = "tokenizer alone"

Work = Callable[[], None]
Rows = Callable[[], Iterator[Sequence[int]]]


def engrain(texts: Path, tokenizer: str, form: str, out: Path) -> tuple[Work, Rows]:
    """Tokens to a pool, a seeded order of the texts, sequences; as the stage `mix` does it."""
    from engrain import store
    from engrain.mix.compose import Item, seeded_order
    from engrain.mix.files import SEQUENCES, Pool, write_sequences
    from engrain.mix.pack import pack
    from engrain.mix.serialize import Serializer
    from engrain.mix.settings import SerializationSettings
    from engrain.progress import Silent
    from engrain.records import SyntheticText

    loaded = load_tokenizer(tokenizer)
    settings = SerializationSettings(pairs="chat" if form == "chat" else "plain")

    def work() -> None:
        serializer = Serializer(loaded, settings)
        components: dict[str, list[Item]] = {"qa": [], "document": []}
        with Pool(out) as pool, Silent().bar("", 1, "") as bar:
            for text, made in serializer.synthetic(store.read_rows(texts, SyntheticText)):
                item = Item(
                    text.id,
                    text.kind,
                    text.document_id,
                    text.method,
                    pool.add(made.tokens),
                    len(made.tokens),
                    whole=text.kind == "qa",
                )
                components[text.kind].append(item)
            ordered = {name: seeded_order(items, 0) for name, items in components.items()}
            write_sequences(
                out / SEQUENCES,
                pack(ordered, LENGTH),
                pool,
                sequence_length=LENGTH,
                pad=0,
                bar=bar,
            )

    def rows() -> Iterator[Sequence[int]]:
        with pa.memory_map(str(out / SEQUENCES)) as file:
            for batch in pa.ipc.open_stream(file):
                for ids, length in zip(batch["input_ids"], batch["length"], strict=True):
                    yield ids.values.to_numpy()[: length.as_py()]

    return work, rows


def alone(texts: Path, tokenizer: str, form: str, out: Path) -> tuple[Work, Rows]:
    """The tokenizer's own threads over the same strings and nothing else: what cannot be saved."""
    from engrain import store
    from engrain.mix.serialize import Serializer
    from engrain.mix.settings import SerializationSettings
    from engrain.records import SyntheticText

    loaded: Any = load_tokenizer(tokenizer)
    settings = SerializationSettings(pairs="chat" if form == "chat" else "plain")
    written = Serializer(loaded, settings).synthetic(store.read_rows(texts, SyntheticText))
    made: list[Any] = [one.tokens for _, one in written]
    strings = loaded.batch_decode(made)
    backend = loaded.backend_tokenizer
    batches = [strings[place : place + 512] for place in range(0, len(strings), 512)]

    def work() -> None:
        for batch in batches:
            backend.encode_batch_fast(batch, add_special_tokens=False)

    return work, lambda: iter(made)


def bfd(texts: Path, tokenizer: str, form: str, out: Path) -> tuple[Work, Rows]:
    """TRL's default: no text is cut, sequences are padded, what is too long is cut off."""
    return _trl("bfd", texts, tokenizer, form, out)


def wrapped(texts: Path, tokenizer: str, form: str, out: Path) -> tuple[Work, Rows]:
    """TRL's faster one: texts are cut wherever a sequence ends, batch after batch."""
    return _trl("wrapped", texts, tokenizer, form, out)


def chunks(texts: Path, tokenizer: str, form: str, out: Path) -> tuple[Work, Rows]:
    """Concatenated and cut in the same pass; what is left of a batch is dropped, as usual."""
    written = _written(tokenizer, form)

    def chunked(batch: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        ids = list(chain.from_iterable(written(batch)["input_ids"]))
        stop = len(ids) // LENGTH * LENGTH
        return {"input_ids": [ids[place : place + LENGTH] for place in range(0, stop, LENGTH)]}

    made: list[Any] = []
    return lambda: made.append(_mapped(texts, chunked, out)), lambda: _rows(made[0])


def _trl(strategy: str, texts: Path, tokenizer: str, form: str, out: Path) -> tuple[Work, Rows]:
    import trl

    untyped: Any = trl
    written = _written(tokenizer, form)
    made: list[Any] = []

    def work() -> None:
        tokens = _mapped(texts, written, out)
        made.append(untyped.pack_dataset(tokens, LENGTH, strategy, {"num_proc": os.cpu_count()}))

    return work, lambda: _rows(made[0])


def _mapped(texts: Path, function: Callable[..., Any], out: Path) -> Any:
    from datasets import Dataset

    columns = ["kind", "question", "text"]
    rows = Dataset.from_parquet(str(texts), columns=columns, cache_dir=str(out))
    return rows.map(function, batched=True, num_proc=os.cpu_count(), remove_columns=columns)


def _written(tokenizer: str, form: str) -> Callable[[dict[str, list[str]]], dict[str, Any]]:
    """A batch's token ids, the same as Engrain's."""
    import datasets

    datasets.disable_progress_bars()
    loaded = load_tokenizer(tokenizer)
    begin, end = loaded.bos_token, loaded.eos_token

    def pair(question: str, answer: str) -> str:
        if form == "plain":
            return f"{begin}Question: {question}\n{answer}{end}"
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        return str(loaded.apply_chat_template(turns, tokenize=False))

    def encode(batch: dict[str, list[str]]) -> dict[str, Any]:
        rows = zip(batch["kind"], batch["question"], batch["text"], strict=True)
        written = [
            pair(question, text) if kind == "qa" else f"{begin}{text}{end}"
            for kind, question, text in rows
        ]
        ids = loaded(written, add_special_tokens=False, return_attention_mask=False, verbose=False)
        return {"input_ids": ids["input_ids"]}

    return encode


def _rows(made: Any) -> Iterator[Sequence[int]]:
    for batch in made.with_format("numpy").iter(batch_size=100):
        yield from batch["input_ids"]


CONTENDERS: dict[str, Callable[[Path, str, str, Path], tuple[Work, Rows]]] = {
    "engrain": engrain,
    ALONE: alone,
    "bfd": bfd,
    "wrapped": wrapped,
    "chunks": chunks,
}
