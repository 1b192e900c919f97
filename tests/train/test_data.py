from __future__ import annotations

import numpy as np
import pyarrow as pa
import torch
from transformers import LlamaForCausalLM

from engrain.train.data import Sequences, stacked, tokens_seen


def test_padding_is_not_learned_but_every_end_token_is(mixture):
    sequences = Sequences(mixture.path)
    last = len(sequences) - 1
    length = int(sequences.lengths[last])
    assert length < 32, "the last sequence has padding, which is the end token here"
    example = sequences[last]
    assert (example["labels"][length:] == -100).all()
    assert (example["labels"][:length] == example["input_ids"][:length]).all()
    assert example["labels"][length - 1] == 1


def test_what_a_mixture_leaves_unlearned_has_no_label(tmp_path):
    numbers = pa.list_(pa.int32())
    schema = pa.schema(
        [("input_ids", pa.list_(pa.int32(), 6)), ("length", pa.int32()), ("unlearned", numbers)]
    )
    batches = [
        ([[1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12]], [6, 6], [[0, 2, 4, 5], []]),
        ([[13, 14, 15, 0, 0, 0]], [3], [[1, 2]]),
    ]
    with (
        pa.OSFile(str(tmp_path / "sequences.arrow"), "wb") as sink,
        pa.ipc.new_stream(sink, schema) as writer,
    ):
        for columns in batches:
            arrays = [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
    sequences = Sequences(tmp_path)
    assert [sequences[index]["labels"].tolist() for index in range(3)] == [
        [-100, -100, 3, 4, -100, 6],
        [7, 8, 9, 10, 11, 12],
        [13, -100, 15, -100, -100, -100],
    ]


def test_tokens_seen_counts_short_batches_and_epochs():
    lengths = np.array([10, 10, 10, 10, 4])
    seen = [tokens_seen(lengths, 2, step) for step in range(7)]
    assert seen == [0, 20, 40, 44, 64, 84, 88]


def test_the_loss_ignores_padding(mixture, student):
    sequences = Sequences(mixture.path)
    index = int(np.argmin(sequences.lengths))
    length = int(sequences.lengths[index])
    padded = stacked([sequences[index]])
    assert length < padded["input_ids"].shape[1]
    other = padded["input_ids"].clone()
    other[:, length:] = 7
    model = LlamaForCausalLM.from_pretrained(student).eval()
    with torch.no_grad():
        alone = model(**{name: values[:, :length] for name, values in padded.items()}).loss
        torch.testing.assert_close(model(**padded).loss, alone)
        torch.testing.assert_close(model(**{**padded, "input_ids": other}).loss, alone)
