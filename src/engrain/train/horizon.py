"""How long a training is, in steps: so many epochs, or up to so many tokens. Pure."""

from __future__ import annotations

from bisect import bisect_left

import numpy as np
from numpy.typing import NDArray

from engrain.train.data import tokens_seen
from engrain.train.settings import TrainingSettings


def steps(settings: TrainingSettings, lengths: NDArray[np.int64]) -> int:
    """Optimiser steps over sequences with so many tokens each, in their order.

    The last batch of an epoch may be short; an epoch is never mixed with the next one.
    """
    batch = settings.batch_sequences
    in_epoch = -(-len(lengths) // batch)
    if settings.tokens is None:
        assert settings.epochs is not None
        return in_epoch * settings.epochs
    passes = -(-settings.tokens // int(lengths.sum()))
    return bisect_left(
        range(in_epoch * passes),
        settings.tokens,
        key=lambda step: tokens_seen(lengths, batch, step),
    )
