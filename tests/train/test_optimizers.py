from __future__ import annotations

import json

import pytest

from engrain.errors import MissingExtra, UserError
from engrain.progress import Silent
from engrain.train import optimizers
from engrain.train.run import train


def test_eight_bit_states_train_as_well(trained, mixture, student, settings, tmp_path):
    pytest.importorskip("bitsandbytes", reason="needs the extra bitsandbytes")
    small = settings.model_copy(update={"optimizer": "adamw_8bit"})
    done = train(mixture, student, small, tmp_path, seed=0, progress=Silent())
    last = [
        json.loads((run.path / "metrics.jsonl").read_text().splitlines()[-1])["loss"]
        for run in (done, trained)
    ]
    assert last[0] == pytest.approx(last[1], abs=0.05)


def test_without_bitsandbytes_the_extra_is_named(mixture, student, settings, tmp_path, monkeypatch):
    monkeypatch.setattr(optimizers, "find_spec", lambda name: None)
    small = settings.model_copy(update={"optimizer": "adamw_8bit"})
    with pytest.raises(MissingExtra, match=r"optimizer: adamw_8bit .*engrain\[bitsandbytes\]"):
        train(mixture, student, small, tmp_path, seed=0, progress=Silent())


def test_offloading_is_refused_without_a_gpu(mixture, student, settings, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    offload = settings.model_copy(update={"offload_optimizer": True})
    with pytest.raises(UserError, match="offload_optimizer is true, and there is no CUDA GPU"):
        train(mixture, student, offload, tmp_path, seed=0, progress=Silent())
