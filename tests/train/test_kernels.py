from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers import Gemma2Config, Gemma2ForCausalLM, LlamaForCausalLM

from engrain.errors import MissingExtra, UserError
from engrain.progress import Silent
from engrain.train import kernels
from engrain.train.chunked_loss import chunk_loss, summed_loss
from engrain.train.run import train


def losses(done) -> list[float]:
    return [
        json.loads(row)["loss"] for row in (done.path / "metrics.jsonl").read_text().splitlines()
    ]


@pytest.mark.parametrize("rows", [1, 7, 64])
def test_a_loss_in_chunks_has_the_value_and_the_gradients_of_the_whole(rows: int):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(64, 16, generator=generator, requires_grad=True)
    head = nn.Linear(16, 100)
    targets = torch.randint(0, 100, (64,), generator=generator)
    targets[:5] = -100
    whole = functional.cross_entropy(head(hidden), targets, reduction="sum")
    expected = torch.autograd.grad(whole, [hidden, *head.parameters()])
    found = summed_loss(hidden, head, targets, rows)
    torch.testing.assert_close(found, whole)
    for one, other in zip(
        torch.autograd.grad(found, [hidden, *head.parameters()]), expected, strict=True
    ):
        torch.testing.assert_close(one, other)


def test_training_with_a_loss_in_chunks_is_the_same_training(mixture, student, settings, tmp_path):
    for update in ({}, {"attention": "within_texts", "gradient_checkpointing": True}):
        exact = settings.model_copy(update={"precision": "fp32", **update})
        chunked = exact.model_copy(update={"loss_in_chunks": True, "micro_batch": 2})
        name = "-".join(update)
        whole = train(mixture, student, exact, tmp_path / f"w{name}", seed=0, progress=Silent())
        done = train(mixture, student, chunked, tmp_path / f"c{name}", seed=0, progress=Silent())
        assert done.fingerprint == whole.fingerprint
        assert losses(done) == pytest.approx(losses(whole), abs=1e-3)


def test_a_chunked_student_still_gives_logits(student):
    model = LlamaForCausalLM.from_pretrained(student)
    ids = torch.arange(10)[None]
    before = model(ids).logits
    chunk_loss(model, "s")
    assert torch.equal(model(input_ids=ids).logits, before)
    assert model(input_ids=ids, labels=ids).logits is None


def test_a_student_that_does_more_with_its_logits_is_refused():
    config = Gemma2Config(
        vocab_size=45,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        final_logit_softcapping=0.5,
        initializer_range=0.5,
    )
    with pytest.raises(UserError, match=r"'g' cannot compute its loss in chunks.*gemma2"):
        chunk_loss(Gemma2ForCausalLM(config).eval(), "g")


def test_liger_is_refused_where_it_is_missing_and_where_there_is_no_gpu(
    mixture, student, settings, tmp_path, monkeypatch
):
    liger = settings.model_copy(update={"liger": True})
    monkeypatch.setattr(kernels, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"engrain\[liger\]"):
        train(mixture, student, liger, tmp_path, seed=0, progress=Silent())
    monkeypatch.setattr(kernels, "find_spec", lambda name: name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="there is no GPU; set it to false"):
        train(mixture, student, liger, tmp_path, seed=0, progress=Silent())


COMPILED = """
import sys
from pathlib import Path
from engrain import store
from engrain.progress import Silent
from engrain.train.run import train
from engrain.train.settings import TrainingSettings

mixture, student, out, settings = sys.argv[1:]
settings = TrainingSettings.model_validate_json(settings)
train(store.load(Path(mixture)), student, settings, Path(out), seed=0, progress=Silent())
"""


def compiled(mixture, student, settings, folder, **environment: str):
    arguments = [str(mixture.path), student, str(folder), settings.model_dump_json()]
    return subprocess.run(
        [sys.executable, "-c", COMPILED, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_a_compiled_training_is_the_same_but_for_rounding(mixture, student, settings, tmp_path):
    exact = settings.model_copy(update={"precision": "fp32"})
    whole = train(mixture, student, exact, tmp_path / "whole", seed=0, progress=Silent())
    fast = exact.model_copy(update={"compile": True})
    done = compiled(mixture, student, fast, tmp_path / "fast")
    assert done.returncode == 0, done.stderr
    again = train(mixture, student, exact, tmp_path / "fast", seed=0, progress=Silent())
    assert again.fingerprint == whole.fingerprint
    assert losses(again) == pytest.approx(losses(whole), abs=1e-3)


def test_compiling_is_refused_without_a_compiler(mixture, student, settings, tmp_path):
    fast = settings.model_copy(update={"compile": True})
    done = compiled(
        mixture, student, fast, tmp_path, CXX="no-such-compiler", CUDA_VISIBLE_DEVICES=""
    )
    assert "torch.compile finds no C++ compiler here; install it" in done.stderr
