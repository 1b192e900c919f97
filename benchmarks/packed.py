"""A finished mixture of given token ids, as the benchmarks of training read it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engrain import models, store
from engrain.train.data import SEQUENCES


def mixture(rows: NDArray[np.int32], student: str, out: Path) -> store.Artifact:
    """The artifact whose sequences are the rows, each one text without padding."""
    count, length = rows.shape

    def build(directory: Path) -> dict[str, Any]:
        table = pa.table(
            {
                "input_ids": pa.FixedSizeListArray.from_arrays(rows.ravel(), length),
                "length": pa.array([length] * count, pa.int32()),
                "texts": pa.array([[str(row)] for row in range(count)]),
                "starts": pa.array([[0]] * count, pa.list_(pa.int32())),
                "segments": pa.array([[0]] * count, pa.list_(pa.int32())),
                "unlearned": pa.array([[]] * count, pa.list_(pa.int32())),
            }
        )
        with (
            pa.OSFile(str(directory / SEQUENCES), "wb") as sink,
            pa.ipc.new_stream(sink, table.schema) as writer,
        ):
            writer.write_table(table)
        return {"sequence_length": length, "sequences": count, "tokens": rows.size}

    return store.run_stage(
        out,
        stage="mix",
        settings={"tokenizer": models.tokenizer_identity(student)},
        inputs={},
        build=build,
        say=lambda line: None,
    )
