from __future__ import annotations

import json

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM

from engrain.train.throughput import Meter, Peak, flops_per_token, named_peak, peak


def llama(**changes) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=1000,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        **changes,
    )
    with torch.device("meta"):
        return LlamaForCausalLM(config)


def test_full_weights_take_six_flops_each_and_attention_its_own():
    model = llama(tie_word_embeddings=True)
    expected = 6 * model.num_parameters() + 12 * 3 * 64 * 100
    assert flops_per_token(model, attended=100) == expected


def test_a_table_that_is_only_looked_up_takes_none():
    model = llama(tie_word_embeddings=False)
    expected = 6 * (model.num_parameters() - 1000 * 64)
    assert flops_per_token(model, attended=0) == expected


def test_frozen_weights_take_four():
    model = llama(tie_word_embeddings=True)
    for parameter in model.model.layers.parameters():
        parameter.requires_grad_(False)
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    expected = 6 * model.num_parameters() - 2 * frozen
    assert flops_per_token(model, attended=0) == expected


def test_the_matrix_products_of_a_forward_pass_are_what_is_counted():
    """Against torch's own counter, which counts all of the square that attention needs half of."""
    from torch.utils.flop_counter import FlopCounterMode

    model = llama(tie_word_embeddings=False, attn_implementation="eager").to_empty(device="cpu")
    ids = torch.zeros(1, 256, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        model(ids, use_cache=False)
    ours = flops_per_token(model, attended=256)
    assert ours is not None
    assert ours * 256 / 3 == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_a_mixture_of_experts_is_not_guessed_at():
    config = MixtralConfig(
        vocab_size=99,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    with torch.device("meta"):
        assert flops_per_token(MixtralForCausalLM(config), attended=1) is None


@pytest.mark.parametrize(
    ("name", "flops"),
    [
        ("NVIDIA H200", 989e12),
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA GB200", 2500e12),
    ],
)
def test_a_gpu_is_known_by_its_name(name: str, flops: float):
    assert named_peak(name).flops == flops


def test_a_device_without_a_known_peak_has_no_share_and_says_why():
    assert named_peak("Potato 9000") == Peak(None, "no peak is known for 'Potato 9000'")
    meter = Meter(lambda step: step * 100, flops=1e9, peak=peak(torch.device("cpu"), bf16=True))
    meter.start(0, 0.0)
    meter.read(1)
    assert meter.last["mfu"] is None
    assert meter.last["mfu_reason"] == "no peak is known for the device 'cpu'"
    assert set(meter.numbers) == {"tokens", "tokens_per_second", "seconds"}


def test_the_share_is_of_all_devices_together():
    for devices in (1, 4):
        meter = Meter(lambda step: step * 100, flops=2e9, peak=Peak(1e12, None), devices=devices)
        meter.start(0, 5.0)
        meter.read(1)
        share = meter.last["tokens_per_second"] * 2e9 / (1e12 * devices)
        assert meter.last["mfu"] == pytest.approx(share, rel=0.01)
        assert meter.last["seconds"] >= 5


def test_a_training_on_a_cpu_writes_no_share_and_the_reason(trained):
    if trained.counts["device"] != "cpu":
        pytest.skip("there is a GPU here")
    rows = [json.loads(row) for row in (trained.path / "metrics.jsonl").read_text().splitlines()]
    assert all(row["mfu"] is None and "'cpu'" in row["mfu_reason"] for row in rows)
    assert trained.counts["mfu"] is None and "'cpu'" in trained.counts["mfu_reason"]
    assert trained.counts["tokens_per_second"] > 0
