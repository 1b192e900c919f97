from __future__ import annotations

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from engrain.mix.compose import Item
from engrain.mix.files import Pool, write_sequences
from engrain.mix.pack import Piece
from engrain.progress import Silent


@pytest.fixture
def pool(tmp_path):
    with Pool(tmp_path) as pool:
        yield pool


@pytest.fixture
def rows(tmp_path, pool):
    """Writes sequences of ten tokens and reads them back."""

    def write(*sequences: list[Piece]) -> list[dict]:
        path = tmp_path / "sequences.arrow"
        with Silent().bar("", 1, "") as bar:
            write_sequences(path, sequences, pool, sequence_length=10, pad=99, bar=bar)
        with pa.memory_map(str(path)) as file:
            return pa.ipc.open_stream(file).read_all().to_pylist()

    return write


def placed(pool: Pool, id: str, length: int, prompt: int = 0) -> Item:
    start = pool.add(np.arange(length, dtype=np.int32) + 10 * (ord(id) - ord("a")))
    return Item(id, "documents", "d", "m", start, length, prompt)


def whole(item: Item) -> Piece:
    return Piece(item, 0, item.length)


def test_a_pool_is_read_from_anywhere_while_it_grows(pool):
    starts = [pool.add(np.full(size, size, dtype=np.int32)) for size in (3, 5)]
    assert pool.read(starts[1], starts[1] + 5).tolist() == [5] * 5
    late = pool.add(np.array([7, 8], dtype=np.int32))
    assert pool.read(late - 1, late + 2).tolist() == [5, 7, 8]
    row = np.zeros(4, dtype=np.int32)
    pool.read_into(row[1:3], starts[0])
    assert row.tolist() == [0, 3, 3, 0]


def test_a_sequence_says_which_texts_it_holds_and_what_is_not_learned(pool, rows):
    first, second = placed(pool, "a", 4, prompt=2), placed(pool, "b", 3)
    (row,) = rows([whole(first), whole(second)])
    assert row == {
        "input_ids": [0, 1, 2, 3, 10, 11, 12, 99, 99, 99],
        "length": 7,
        "texts": ["a", "b"],
        "starts": [0, 4],
        "segments": [0, 4],
        "unlearned": [0, 2],
    }


def test_a_prompt_that_is_cut_is_unlearned_in_both_sequences(pool, rows):
    long, other = placed(pool, "a", 9, prompt=6), placed(pool, "b", 4)
    one, two = rows([whole(other), Piece(long, 0, 5)], [Piece(long, 5, 9)])
    assert (one["texts"], one["starts"], one["segments"]) == (["b", "a"], [0, 4], [0, 4])
    assert one["unlearned"] == [4, 9]
    assert (two["texts"], two["starts"], two["segments"]) == (["a"], [0], [0])
    assert two["unlearned"] == [0, 1]


def test_a_stitched_document_is_one_segment_of_several_texts(pool, rows):
    parts = tuple(placed(pool, id, 4, prompt=prompt) for id, prompt in (("a", 0), ("b", 3)))
    parts += (placed(pool, "c", 4),)
    stitched = Item("stitched/0", "stitched", "d", "stitched", 0, 12, parts=parts)
    other = placed(pool, "d", 3, prompt=1)
    one, two = rows([whole(other), Piece(stitched, 0, 6)], [Piece(stitched, 6, 12)])
    assert one["texts"] == ["d", "a", "b"]
    assert one["starts"] == [0, 3, 7]
    assert one["segments"] == [0, 3]
    assert one["unlearned"] == [0, 1, 7, 9]
    assert two["input_ids"] == [12, 13, 20, 21, 22, 23, 99, 99, 99, 99]
    assert two["texts"] == ["b", "c"]
    assert two["starts"] == [0, 2]
    assert two["segments"] == [0]
    assert two["unlearned"] == [0, 1]


PEAK = """
import resource, sys
from pathlib import Path
import numpy as np
from engrain.mix.compose import Item
from engrain.mix.files import Pool, write_sequences
from engrain.mix.pack import pack
from engrain.progress import Silent

def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

folder, million = Path(sys.argv[1]), int(sys.argv[2])
text = np.arange(1000, dtype=np.int32)
with Pool(folder) as pool, Silent().bar("", 1, "") as bar:
    items = [Item(f"t{n}", "d", "d", "m", pool.add(text), 1000) for n in range(1000 * million)]
    before = peak()
    packed = pack({"d": items}, 2048)
    write_sequences(folder / "s.arrow", packed, pool, sequence_length=2048, pad=0, bar=bar)
print(peak() - before)
"""


def test_writing_more_tokens_takes_no_more_memory(tmp_path):
    """What packing and writing add to the peak, of 4 and of 24 million tokens (96 MB)."""

    def added(million: int) -> int:
        run = subprocess.run(
            [sys.executable, "-c", PEAK, str(tmp_path), str(million)],
            capture_output=True,
            text=True,
            check=True,
        )
        return int(run.stdout)

    assert added(24) < added(4) + 20e6
