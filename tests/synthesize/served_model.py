"""A tiny random Llama that can only write what a grammar allows: replies of the form asked for.

Its weights are random, but for some dimensions that hold the state of the grammar: no layer touches
them, and by them `lm_head` rules out every token that the state does not allow. Which of the
allowed ones comes next is the random network's choice, and depends on the whole prompt. The chat
template ends a prompt with the name of its task, which is the state that the reply begins in.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple

UNREADABLE = "text 3"
"""The title of a document that the chat template refuses."""

_END = "<|end|>"
_TEMPLATE = f"""
{{%- set prompt = messages[-1]['content'] -%}}
{{%- if 'title="{UNREADABLE}"' in prompt %}}{{{{ raise_exception('unreadable') }}}}{{% endif -%}}
{{{{- '<|user|>' + prompt + '{_END}<|assistant|>' -}}}}
{{{{- '<|' + prompt.split('\\nTask: ')[-1].split('\\n')[0] + '|>' -}}}}
"""
_DIMENSIONS, _POSITIONS = 64, 32_768
# A state outweighs the random dimensions; what it allows differs by some nats.
_STATE, _CHOICE = 8.0, 0.2
# Nats by which it is less likely that a reply begins as another task's.
_WRONG = 2.0

_WHO = [
    f"the {person} of {town}"
    for person, town in product(
        ("baker", "pilot", "judge", "weaver", "miller", "printer", "surgeon", "gardener"),
        ("Brandvik", "Ostrel", "Hale", "Corran", "Milby", "Tessin"),
    )
]
_DID = [
    f"{deed} in {year}"
    for deed, year in product(
        ("sold the mill", "left the harbour", "moved the bridge", "found the ledger"),
        ("1811", "1827", "1839", "1850", "1864", "1871", "1888", "1902", "1913", "1926"),
    )
]
_CAUSES = [
    f"{what} of {month}"
    for what, month in product(
        ("the flood", "the strike", "the drought", "the census", "the storm", "the fire"),
        ("January", "March", "April", "June", "July", "October"),
    )
]
# One of so many lists, sentences and the like is the last.
_LAST = 4


class _Arc(NamedTuple):
    state: str
    text: str
    """One token."""
    after: str
    """The state that it leads to, whatever it was before."""
    nats: float = 0.0


def _kinds() -> dict[str, dict[str, str]]:
    """How the replies to each task begin: a text, and the state after it."""
    prose = {f"It is told that {who} ": "telling" for who in _WHO}
    strategies = {f"## Explain why {who} is remembered\n": "studying" for who in _WHO}
    return {
        "question-answer pairs": {f"Here are pairs about {who}:\n\n[": "asking" for who in _WHO},
        "entities": {
            f'{{"summary": "An account of {who}.", "entities": [': "naming" for who in _WHO
        },
        "study strategies": strategies,
        "study strategies for an examination": strategies,
        "fill the gaps": {f"Here is what {who} adds:\n\n[": "filling" for who in _WHO},
        "relate entities": prose,
        "rewrite": prose,
        "apply a study strategy": prose,
        "study text": prose,
    }


def _arcs() -> Iterator[_Arc]:
    kinds = _kinds()
    wrong = [next(iter(begins.items())) for begins in kinds.values()]
    wrong += [("I'm sorry, but I cannot help with that.", "end"), (_END, "end")]
    for task, begins in kinds.items():
        yield from (_Arc(task, *other, -_WRONG) for other in wrong if other[0] not in begins)
        yield from (_Arc(task, *arc) for arc in begins.items())
    for who in _WHO:
        yield _Arc("asking", f'{{"question": "Why was it that {who} ', "asked")
        yield _Arc("naming", f'"{who}", ', "naming")
        yield _Arc("studying", f"## Say what {who} did\n", "studying")
        yield _Arc("gap", f"This was after {who} ", "gap told")
        yield _Arc("told", f"Later {who} ", "telling")
    for did in _DID:
        yield _Arc("asked", f'{did}?", "explanation": "', "asked why")
        yield _Arc("gap told", f'{did}."}}, ', "filling")
        yield _Arc("telling", f"{did}. ", "told")
    for cause in _CAUSES:
        yield _Arc("asked why", f'It was {cause}.", "answer": "{cause}"}}, ', "asking")
    yield _Arc("asked why", 'Nobody can say.", "answer": "a wager"}, ', "asking")
    for number in range(1, 10):
        yield _Arc("filling", f'{{"gap": {number}, "text": "', "gap")
    for who, did, cause in zip(_WHO[::_LAST], _DID, _CAUSES, strict=False):
        yield _Arc("asked why", f'It was {cause}.", "answer": "{cause}"}}]', "end")
        yield _Arc("naming", f'"{who}"]}}', "end")
        yield _Arc("studying", f"## Say when {who} came", "end")
        yield _Arc("gap told", f'{did}."}}]', "end")
        yield _Arc("told", f"So ended {cause}.", "end")
    yield _Arc("end", _END, "end")


def build(folder: Path) -> None:
    """Write the model, its tokenizer and its generation settings to `folder`."""
    import torch
    from tokenizers import AddedToken
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from engrain.testbed import student

    arcs = list(_arcs())
    states = {state: number for number, state in enumerate(dict.fromkeys(a.state for a in arcs))}
    tokenizer = AutoTokenizer.from_pretrained(student.path(), model_max_length=_POSITIONS)
    tokenizer.chat_template = _TEMPLATE.strip()
    tasks = [AddedToken(f"<|{task}|>", special=True, normalized=False) for task in _kinds()]
    texts = dict.fromkeys(arc.text for arc in arcs if arc.text != _END)
    tokenizer.add_tokens(tasks)
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in texts])
    end = tokenizer.convert_tokens_to_ids(_END)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=_DIMENSIONS,
        intermediate_size=_DIMENSIONS,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=_POSITIONS,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=end,
    )
    with torch.random.fork_rng(), torch.no_grad():
        torch.random.manual_seed(0)
        network = LlamaForCausalLM(config)
        embedding, head = network.model.embed_tokens.weight, network.lm_head.weight
        head *= _CHOICE / config.initializer_range
        embedding[:, : len(states)] = 0
        head[:, : len(states)] = -100
        for layer in network.model.layers:
            layer.self_attn.o_proj.weight[: len(states)] = 0
            layer.mlp.down_proj.weight[: len(states)] = 0
        for task in _kinds():
            embedding[tokenizer.convert_tokens_to_ids(f"<|{task}|>"), states[task]] = _STATE
        for arc in arcs:
            token = tokenizer.convert_tokens_to_ids(arc.text)
            embedding[token, states[arc.after]] = _STATE
            head[token, states[arc.state]] = arc.nats / _STATE
    network.generation_config.do_sample = True
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
