from __future__ import annotations

import numpy as np

from engrain.train.data import Sequences, tokens_seen


def test_padding_is_not_learned_but_every_end_token_is(mixture):
    sequences = Sequences(mixture.path)
    last = len(sequences) - 1
    length = int(sequences.lengths[last])
    assert length < 32, "the last sequence has padding, which is the end token here"
    example = sequences[last]
    assert (example["labels"][length:] == -100).all()
    assert (example["labels"][:length] == example["input_ids"][:length]).all()
    assert example["labels"][length - 1] == 1


def test_tokens_seen_counts_short_batches_and_epochs():
    lengths = np.array([10, 10, 10, 10, 4])
    seen = [tokens_seen(lengths, 2, step) for step in range(7)]
    assert seen == [0, 20, 40, 44, 64, 84, 88]
