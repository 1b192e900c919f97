"""The in-process backend on a tiny random model."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from engrain.backends.base import Message, Request, Sampling
from engrain.errors import RequestError, UserError

torch = pytest.importorskip("torch")

from engrain.backends.transformers import TransformersBackend  # noqa: E402


def ask(text: str, sample: int = 0, **sampling) -> Request:
    return Request(
        messages=(Message("user", text),),
        sampling=Sampling(**{"temperature": 0.0, "max_tokens": 4} | sampling),
        sample=sample,
    )


def answer(backend, *requests):
    async def run():
        return await asyncio.gather(*map(backend.complete, requests), return_exceptions=True)

    return asyncio.run(run())


def next_word_probabilities(folder, text: str, temperature: float):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": text}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=False,
    )
    with torch.inference_mode():
        logits = AutoModelForCausalLM.from_pretrained(folder)(prompt).logits[0, -1]
    return tokenizer, torch.softmax(logits / temperature, dim=-1)


def test_samples_follow_the_models_probabilities(tiny_model):
    tokenizer, wanted = next_word_probabilities(tiny_model, "red cat", 0.7)
    draws = 3000
    requests = [ask("red cat", sample, temperature=0.7, max_tokens=1) for sample in range(draws)]
    texts = Counter(
        reply.text for reply in answer(TransformersBackend(model=tiny_model, rows=500), *requests)
    )
    assert sum(texts.values()) == draws
    expected: Counter[str] = Counter()
    for token, probability in enumerate(wanted.tolist()):
        # Several tokens may have the same text: halves of characters, white space, control tokens.
        expected[tokenizer.decode([token], skip_special_tokens=True).strip()] += probability
    assert set(texts) <= set(expected)
    assert len([probability for probability in expected.values() if probability > 0.01]) > 5
    for text, probability in expected.items():
        # Five standard errors, as there are some hundred texts.
        allowed = 5 * (probability * (1 - probability) / draws) ** 0.5 + 1e-3
        assert abs(texts[text] / draws - probability) < allowed


def test_a_draw_does_not_depend_on_the_batch(tiny_model):
    requests = [ask("dog " * (1 + n % 9), n, temperature=1.0, max_tokens=12) for n in range(30)]
    alone = answer(TransformersBackend(model=tiny_model, rows=1), *requests)
    together = answer(TransformersBackend(model=tiny_model, rows=16), *requests)
    small = answer(TransformersBackend(model=tiny_model, positions=60), *requests)
    assert (
        [reply.text for reply in alone]
        == [reply.text for reply in together]
        == [reply.text for reply in small]
    )


def test_a_prompt_that_leaves_no_room_fails_with_the_numbers_and_the_others_go_on(tiny_model):
    long, short = answer(TransformersBackend(model=tiny_model), ask("cat " * 70), ask("cat"))
    assert isinstance(long, RequestError)
    assert (
        str(long) == "the prompt has 75 tokens and max_tokens is 4, but the model has 64 positions"
    )
    assert short.usage.completion_tokens == 4


def test_a_reply_ends_at_the_end_of_the_turn(tiny_model, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    network = AutoModelForCausalLM.from_pretrained(tiny_model)
    # All scores are equal, so the first word wins, which is <end>: known only from the chat
    # template.
    torch.nn.init.zeros_(network.lm_head.weight)
    network.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path)
    (reply,) = answer(TransformersBackend(model=tmp_path), ask("red cat", max_tokens=9))
    assert (reply.text, reply.finish_reason, reply.usage.completion_tokens) == ("", "stop", 1)


def test_a_tokenizer_without_chat_template_is_given_a_plain_form(tiny_model, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = None
    tokenizer.eos_token = "<end>"
    tokenizer.save_pretrained(tmp_path)
    AutoModelForCausalLM.from_pretrained(tiny_model).save_pretrained(tmp_path)
    (reply,) = answer(TransformersBackend(model=tmp_path), ask("red cat"))
    assert reply.usage.prompt_tokens == len(tokenizer("User: red cat\nAssistant:")["input_ids"])


def test_a_control_token_in_a_document_stays_text(tiny_model):
    plain, marked = answer(
        TransformersBackend(model=tiny_model), ask("red cat"), ask("red <end> cat")
    )
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    from engrain.backends.transformers import prompt_tokens

    end = tokenizer.convert_tokens_to_ids("<end>")
    ids = prompt_tokens(tokenizer, (Message("user", "red <end> cat"),))
    assert sum(token == end for token in ids) == 1
    assert plain.usage.prompt_tokens < marked.usage.prompt_tokens


def test_a_folder_without_a_model_is_the_users_error(tmp_path):
    for missing in (str(tmp_path / "nowhere"), "nobody/no-such-model"):
        backend = TransformersBackend(model=missing)
        with pytest.raises(UserError, match="cannot load model"):
            asyncio.run(backend.check())
        (error,) = answer(backend, ask("hello"))
        assert isinstance(error, UserError)


def test_nobody_waits_for_ever_when_generation_breaks(tiny_model, monkeypatch):
    from engrain.backends import transformers as module

    def broken(self, batch):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(module._Loaded, "generate", broken)
    (error,) = answer(TransformersBackend(model=tiny_model), ask("hello"))
    assert isinstance(error, ZeroDivisionError)
