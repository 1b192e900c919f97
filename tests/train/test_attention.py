"""Attention within texts: packed sequences are read as if every text stood alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from torch.nn import functional
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from engrain.errors import UserError
from engrain.progress import Silent
from engrain.train import kernels
from engrain.train.data import Sequences, flattened, stacked
from engrain.train.run import train
from engrain.train.settings import TrainingSettings


def lists(mixture, column: str) -> list[list[int]]:
    with pa.memory_map(str(mixture.path / "sequences.arrow")) as file:
        return pa.ipc.open_stream(file).read_all()[column].to_pylist()


def losses(model: PreTrainedModel, batch: dict[str, Any]) -> torch.Tensor:
    """The loss of every token that has a label, in the order of the batch."""
    labels = batch["labels"]
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    with torch.no_grad():
        logits = model(**inputs, use_cache=False).logits[:, :-1]
    each = functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), reduction="none")
    return each[labels[:, 1:].flatten() != -100]


def alone(model: PreTrainedModel, mixture, rows: range) -> torch.Tensor:
    """The same losses where each text is read by itself."""
    sequences, starts = Sequences(mixture.path), lists(mixture, "starts")
    found = []
    for index in rows:
        length = int(sequences.lengths[index])
        ids = sequences[index]["input_ids"]
        for start, stop in zip(starts[index], [*starts[index][1:], length], strict=True):
            text = ids[None, start:stop]
            found.append(losses(model, {"input_ids": text, "labels": text}))
    return torch.cat(found)


def models_of_several_kinds(student: str) -> list[PreTrainedModel]:
    torch.manual_seed(0)  # noqa: TID251 - transformers draws weights from the global generator
    small: dict[str, Any] = {"vocab_size": 45, "eos_token_id": 1, "bos_token_id": None}
    qwen = Qwen3Config(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        initializer_range=0.2,
        **small,
    )
    gpt = GPT2Config(n_embd=32, n_layer=2, n_head=2, n_positions=64, **small)
    llama = LlamaForCausalLM.from_pretrained(student)
    return [llama, Qwen3ForCausalLM(qwen).eval(), GPT2LMHeadModel(gpt).eval()]


@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
def test_packed_texts_have_the_losses_that_they_have_alone(mixture, student, kernel):
    sequences = Sequences(mixture.path, within_texts=True)
    rows = range(len(sequences) - 4, len(sequences))  # the last of them has padding
    batch = stacked([sequences[index] for index in rows])
    for model in models_of_several_kinds(student):
        model.set_attn_implementation(kernel)
        packed, unpacked = losses(model, batch), alone(model, mixture, rows)
        assert len(packed) == len(unpacked) > 90
        torch.testing.assert_close(packed, unpacked, atol=1e-5, rtol=0)


def test_across_texts_they_have_not(mixture, student):
    sequences = Sequences(mixture.path)
    batch = stacked([sequences[index] for index in range(4)])
    model = models_of_several_kinds(student)[1]
    starts = lists(mixture, "starts")
    firsts = sum(len(row) - 1 for row in starts[:4])
    across, unpacked = losses(model, batch), alone(model, mixture, range(4))
    assert len(across) == len(unpacked) + firsts, "the first token of a text is told from the last"
    assert (across[: starts[0][1] - 1] - unpacked[: starts[0][1] - 1]).abs().max() < 1e-5
    assert (across.mean() - unpacked.mean()).abs() > 1e-3


def test_a_flattened_micro_batch_has_the_losses_of_its_rows(mixture, student):
    sequences = Sequences(mixture.path, within_texts=True)
    examples = [sequences[index] for index in range(3)]
    flat = flattened(examples)
    bounds = [start + 32 * row for row in range(3) for start in lists(mixture, "starts")[row]]
    assert flat["cu_seq_lens_q"].tolist() == [*bounds, 96]
    assert flat["max_length_q"] == max(
        b - a for a, b in zip(bounds, [*bounds[1:], 96], strict=True)
    )
    model = LlamaForCausalLM.from_pretrained(student)
    one = {name: flat[name] for name in ("input_ids", "labels", "position_ids")}
    torch.testing.assert_close(losses(model, one), losses(model, stacked(examples)))


def test_a_column_of_segments_says_what_may_be_seen(mixture, tmp_path: Path):
    """A stitched document is several texts and one segment."""
    with pa.memory_map(str(mixture.path / "sequences.arrow")) as file:
        table = pa.ipc.open_stream(file).read_all()
    segments = pa.array([row[::2] for row in table["starts"].to_pylist()], pa.list_(pa.int32()))
    table = table.append_column("segments", segments)
    with (
        pa.OSFile(str(tmp_path / "sequences.arrow"), "wb") as sink,
        pa.ipc.new_stream(sink, table.schema) as writer,
    ):
        writer.write_table(table, max_chunksize=7)
    sequences = Sequences(tmp_path, within_texts=True)
    for index in (0, 6, 7, 20, len(sequences) - 1):
        example = sequences[index]
        starts = segments[index].as_py()
        assert (example["position_ids"] == 0).nonzero().flatten().tolist() == starts
        assert (example["labels"][starts] == -100).all()
        assert (example["position_ids"].diff()[example["position_ids"][1:] > 0] == 1).all()


def test_the_mean_of_the_tokens_that_are_seen_is_counted(mixture):
    within, across = Sequences(mixture.path, within_texts=True), Sequences(mixture.path)
    seen, tokens = 0, 0
    for index in range(len(within)):
        length = int(within.lengths[index])
        seen += int((within[index]["position_ids"][:length] + 1).sum())
        tokens += length
    assert within.attended() == pytest.approx(seen / tokens)
    assert across.attended() > within.attended()


def test_training_within_texts_learns_and_is_another_training(
    trained, mixture, student, settings, tmp_path
):
    within = settings.model_copy(update={"attention": "within_texts", "micro_batch": 4})
    done = train(mixture, student, within, tmp_path, seed=0, progress=Silent())
    assert done.fingerprint != trained.fingerprint
    found = [
        json.loads(row)["loss"] for row in (done.path / "metrics.jsonl").read_text().splitlines()
    ]
    assert found[-1] < found[0] - 0.3
    model = AutoModelForCausalLM.from_pretrained(done.path)
    assert model.config._attn_implementation == "sdpa"


def test_a_student_that_cannot_tell_texts_apart_is_refused():
    config = BloomConfig(vocab_size=45, hidden_size=32, n_layer=2, n_head=2)
    with pytest.raises(UserError, match=r"'b' cannot keep attention within texts.*bloom"):
        kernels.check_segments(BloomForCausalLM(config).eval(), "b")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"attention": "within_texts"}, "there is no CUDA GPU; set it to auto"),
        ({"attention": "across"}, "torch's own flash attention already"),
    ],
)
def test_flash_attention_is_refused_where_it_cannot_be_had(changes, said):
    settings = TrainingSettings(attention_kernel="flash", **changes)
    with pytest.raises(UserError, match=said):
        kernels.attention_kernel(settings, bf16=True)
