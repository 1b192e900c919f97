"""Pre-trains the small student to read and to remember, by a curriculum that waits for it.

What made reading take off, by pilots (docs/notebook.md): Muon on the matrices, initialisation by
fan-in, small batches, first more passages and then more facts in each as the student masters them,
several questions per lesson, loss on the answers. Knows nothing of Engrain's stages: it is how the
shipped student was made, not how users train.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from torch import Tensor, distributed
from torch.multiprocessing.spawn import spawn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from engrain.muon import Muon, grouped
from engrain.testbed.lessons import Lesson, Level, Memory, reading_lessons
from engrain.testbed.planting import plant_induction
from engrain.testbed.tokenizer import train_tokenizer
from engrain.testbed.world import World, build

IGNORE = -100
"""The label of a position without loss, as in PyTorch's cross entropy."""
_ROPE_THETA = 1e6
"""Leaves half of a head's 32 rotary pairs slow enough to match content over a whole prompt."""
_OUTPUT_NORM = 0.1
"""Of the norm before the output, at the start."""
CONTEXT = 2048
"""Tokens that the student may see at once."""
MEMORY_WORLD_SEED = 20_260_320
"""Any number, fixed: the benchmark builds the world anew to ask about it."""
_EASIER_SHARE = 0.1
"""Share of reading lessons that are of an easier level."""
_PROBE_LESSONS = 24
_PROBE_FACTS = 64


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of the curriculum."""

    level: Level
    repeating: float
    """Share of passages that are also to be repeated word for word: it trains copying densely."""
    rows: int
    """Rows in the batch of a process."""
    row_length: int
    """Tokens in a row."""


STAGES = (
    Stage(Level(facts=2, passages=1), 0.4, 3, 384),
    Stage(Level(facts=2, passages=2), 0.4, 3, 384),
    Stage(Level(facts=2, passages=4), 0.2, 3, 448),
    Stage(Level(facts=4, passages=4), 0.1, 3, 512),
    Stage(Level(facts=8, passages=4), 0.1, 2, 768),
    Stage(Level(facts=24, passages=4), 0.1, 2, 832),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainSettings:
    """The recipe of the shipped student."""

    seed: int = 0
    steps: int = 6_500
    processes: int = 2
    """Data-parallel processes of one thread each, one a core."""
    hidden: int = 160
    layers: int = 4
    heads: int = 4
    head_size: int = 64
    feed_forward: int = 448
    plant: bool = True
    """Start from a planted induction circuit (`planting.py`)."""
    muon_rate: float = 0.0027
    adam_rate: float = 0.005
    mastered: float = 0.75
    """Share of answers right (teacher-forced) at which the next level starts."""
    patience: int = 400
    """Steps after which the next level starts all the same."""
    reading_share: float = 0.7
    """Share of a row in reading lessons; the rest is memory."""
    memory_rows: float = 0.2
    """Share of rows that are all memory once the last level is reached: remembering takes more
    repetition than reading."""
    memory_documents: int = 60
    unasked_share: float = 0.2
    warmup: int = 100
    probe_every: int = 100
    save_every: int = 500


def memory_world(settings: PretrainSettings) -> World:
    """The fixed pre-training world that the student remembers."""
    return build(seed=MEMORY_WORLD_SEED, split="pretraining", documents=settings.memory_documents)


def new_model(settings: PretrainSettings, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A Llama with untrained weights, initialised by fan-in, its embeddings by 1.

    Muon's steps are as long for small weights as for large ones: where embeddings of 0.1 made all
    writes to the residual stream as small, it wore the planted circuit away (docs/notebook.md).
    """
    # The weights are drawn from the global generator: transformers takes no other.
    torch.manual_seed(settings.seed)  # noqa: TID251
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.hidden,
        intermediate_size=settings.feed_forward,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        head_dim=settings.head_size,
        max_position_embeddings=CONTEXT,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": _ROPE_THETA},
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        attn_implementation="sdpa",  # type: ignore[call-arg]  # the base class takes it
    )
    model = LlamaForCausalLM(config)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            deviation = 1.0 if "embed" in name else parameter.shape[1] ** -0.5
            torch.nn.init.normal_(parameter, std=deviation)
    # The embeddings, of deviation 1, are also the output's weights: the first logits stay small.
    torch.nn.init.constant_(model.model.norm.weight, _OUTPUT_NORM)
    if settings.plant:
        plant_induction(model, settings.seed)
    return model


class Batches:
    """Rows of lessons with their loss masks, and where the answers' values stand."""

    def __init__(
        self, settings: PretrainSettings, tokenizer: PreTrainedTokenizerFast, rank: int
    ) -> None:
        """Start both streams at the first level."""
        self._settings, self._tokenizer = settings, tokenizer
        self._rng = Random(f"lessons/{settings.seed}/{rank}")
        self._assistant = tokenizer.convert_tokens_to_ids("<|assistant|>")
        memory = Memory(
            memory_world(settings), unasked_share=settings.unasked_share, seed=settings.seed
        )
        self._memory = memory.lessons(self._rng)
        self._held: tuple[list[int], list[int]] | None = None
        self.level = 0
        self._reading = self._at_level()

    def harder(self) -> None:
        """Go on to the next level."""
        self.level += 1
        self._reading = self._at_level()

    def _at_level(self) -> Iterator[Lesson]:
        streams = [
            reading_lessons(self._rng, stage.level, repeating=stage.repeating)
            for stage in STAGES[: self.level + 1]
        ]
        while True:
            easier = self.level and self._rng.random() < _EASIER_SHARE
            yield next(streams[self._rng.randrange(self.level)] if easier else streams[self.level])

    def next(self) -> tuple[Tensor, Tensor]:
        """Token ids and labels, both (rows, row_length) of the current stage."""
        stage = STAGES[self.level]
        rows = [self._row(stage.row_length) for _ in range(stage.rows)]
        return torch.tensor([ids for ids, _ in rows]), torch.tensor([labels for _, labels in rows])

    def _row(self, size: int) -> tuple[list[int], list[int]]:
        ids: list[int] = []
        labels: list[int] = []
        last = self.level + 1 == len(STAGES)
        all_memory = last and self._rng.random() < self._settings.memory_rows
        while not all_memory and len(ids) < self._settings.reading_share * size:
            lesson = self._held or self.encode(next(self._reading))
            self._held = None
            if len(ids) + len(lesson[0]) > size:
                self._held = lesson if len(lesson[0]) <= size else None
                break
            ids += lesson[0]
            labels += lesson[1]
        while len(ids) < size:
            more, targets = self.encode(next(self._memory))
            ids += more
            labels += targets
        return ids[:size], labels[:size]

    def encode(self, lesson: Lesson) -> tuple[list[int], list[int]]:
        """Token ids of a lesson, and labels: IGNORE where there is no loss."""
        if lesson.turns[0][0] == "text":
            ids = self._tokenizer(lesson.turns[0][1])["input_ids"] + [self._tokenizer.eos_token_id]
            return ids, [IGNORE, *ids[1:]]
        text = _as_chat(self._tokenizer, lesson)
        ids = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        labels, learning = [], False
        for token in ids:
            labels.append(token if learning or lesson.learn_all else IGNORE)
            if token == self._assistant:
                learning = True
            elif token == self._tokenizer.eos_token_id:
                learning = False
        labels[0] = IGNORE
        return ids, labels


def _as_chat(tokenizer: PreTrainedTokenizerFast, lesson: Lesson) -> str:
    messages = [{"role": role, "content": content} for role, content in lesson.turns]
    return str(tokenizer.apply_chat_template(messages, tokenize=False))


def optimizer(model: LlamaForCausalLM, settings: PretrainSettings) -> Muon:
    """Muon for the matrices inside the layers, AdamW for embeddings and norms."""
    matrices, others = grouped(model)
    groups = [
        {**matrices, "lr": settings.muon_rate},
        {**others, "lr": settings.adam_rate},
    ]
    return Muon(groups, lr=settings.muon_rate, betas=(0.9, 0.98))


def loss_and_hits(
    model: LlamaForCausalLM, ids: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean loss over the labelled positions, which of them are right, and their targets."""
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    wanted = labels[:, 1:]
    chosen = wanted != IGNORE
    logits = model.lm_head(hidden[chosen]).float()
    targets = wanted[chosen]
    return torch.nn.functional.cross_entropy(logits, targets), logits.argmax(-1) == targets, targets


def pretrain(out: Path, settings: PretrainSettings, say: Callable[[str], None]) -> None:
    """Train tokenizer and model from a seed.

    Writes a Hugging Face checkpoint to `out`, and its log, `pretraining.jsonl`.
    """
    out.mkdir(parents=True, exist_ok=True)
    train_tokenizer(settings.seed, max_length=CONTEXT).save_pretrained(out)
    with tempfile.TemporaryDirectory() as folder:
        rendezvous = f"file://{folder}/rendezvous"
        spawn(  # type: ignore[no-untyped-call]
            _process, (out, settings, rendezvous, say), nprocs=settings.processes
        )


def _process(
    rank: int, out: Path, settings: PretrainSettings, rendezvous: str, say: Callable[[str], None]
) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=rendezvous, rank=rank, world_size=settings.processes
    )
    tokenizer = PreTrainedTokenizerFast.from_pretrained(out)
    model = new_model(settings, tokenizer)
    run = _Run(rank, settings, tokenizer, model)
    if rank == 0:
        parameters = sum(p.numel() for p in model.parameters())
        say(f"{parameters:,} parameters, {len(tokenizer)} tokens")
    for step in range(1, settings.steps + 1):
        run.step()
        if step % settings.probe_every == 0:
            row = run.probe(step)
            if rank == 0:
                with open(out / "pretraining.jsonl", "a", encoding="utf-8") as log:
                    log.write(json.dumps(row) + "\n")
                say("  ".join(f"{key} {value}" for key, value in row.items()))
        if rank == 0 and step % settings.save_every == 0:
            save(model, tokenizer, out)
    if rank == 0:
        save(model, tokenizer, out)
    distributed.destroy_process_group()


class _Run:
    """The state of one process: all processes hold the same weights and different lessons."""

    def __init__(
        self,
        rank: int,
        settings: PretrainSettings,
        tokenizer: PreTrainedTokenizerFast,
        model: LlamaForCausalLM,
    ) -> None:
        self._settings, self._model = settings, model
        self._batches = Batches(settings, tokenizer, rank)
        self._probe = Probe(settings, tokenizer)
        self._optimizer = optimizer(model, settings)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda step: _rate(step, settings)
        )
        self._recent: deque[float] = deque(maxlen=50)
        self._tokens = 0
        self._entered = 0
        self._started = time.perf_counter()

    def step(self) -> None:
        """One update on every process's lessons."""
        ids, labels = self._batches.next()
        loss, _, _ = loss_and_hits(self._model, ids, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = [p.grad for p in self._model.parameters() if p.grad is not None]
        flat = torch.cat([g.flatten() for g in gradients])
        distributed.all_reduce(flat)
        flat /= self._settings.processes
        parts = flat.split_with_sizes([g.numel() for g in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
        self._optimizer.step()
        self._schedule.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._recent.append(loss.item())
        self._tokens += ids.numel() * self._settings.processes

    def probe(self, step: int) -> dict[str, float]:
        """Measure, and go on to the next level where this one is mastered.

        Every process does it for itself: all have the same weights, so all go on together.
        """
        level = self._batches.level
        reading, memory = self._probe.accuracy(self._model, level)
        waited = step - self._entered >= self._settings.patience
        if (reading >= self._settings.mastered or waited) and level + 1 < len(STAGES):
            self._batches.harder()
            self._entered = step
        return {
            "step": step,
            "tokens": self._tokens,
            "loss": round(sum(self._recent) / len(self._recent), 4),
            "level": level,
            "reading": round(reading, 3),
            "memory": round(memory, 3),
            "seconds": round(time.perf_counter() - self._started, 1),
        }


def _rate(step: int, settings: PretrainSettings) -> float:
    """Linear warm-up, then linear decay to a twentieth."""
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    return max(0.05, 1 - (step - settings.warmup) / (settings.steps - settings.warmup))


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write the checkpoint in bf16."""
    weights = {name: tensor.to(torch.bfloat16) for name, tensor in model.state_dict().items()}
    model.generation_config.do_sample = False
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(out, state_dict=weights)
    tokenizer.save_pretrained(out)


class Probe:
    """Teacher-forced accuracy of whole answers: quick enough to steer the curriculum by.

    An answer is right when every token of the value's *first* statement, in the explanation, is the
    model's first choice. After the explanation the value is only copied.
    """

    def __init__(self, settings: PretrainSettings, tokenizer: PreTrainedTokenizerFast) -> None:
        """Draw fixed lessons: reading on the target split, unasked facts of the memory world."""
        self._tokenizer = tokenizer
        rng = Random("probe")
        self._reading: list[list[Lesson]] = []
        for stage in STAGES:
            stream = reading_lessons(rng, stage.level, repeating=0.0, split="target")
            self._reading.append([next(stream) for _ in range(_PROBE_LESSONS)])
        memory = Memory(
            memory_world(settings), unasked_share=settings.unasked_share, seed=settings.seed
        )
        facts = sorted(memory.unasked, key=repr)[:_PROBE_FACTS]
        self._memory = [memory.question(fact, rng) for fact in facts]

    @torch.no_grad()
    def accuracy(self, model: LlamaForCausalLM, level: int) -> tuple[float, float]:
        """Share right in reading at this level, and on unasked facts of the memory world."""
        return self.share_right(model, self._reading[level]), self.share_right(model, self._memory)

    def share_right(self, model: LlamaForCausalLM, lessons: list[Lesson]) -> float:
        """Share of the lessons' answers that are right."""
        right = total = 0
        for lesson in lessons:
            ids, spans = self._spans(lesson)
            best = (
                model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].argmax(-1).tolist()
            )
            for start, stop in spans:
                right += best[start - 1 : stop - 1] == ids[start:stop]
                total += 1
        return right / total if total else math.nan

    def _spans(self, lesson: Lesson) -> tuple[list[int], list[tuple[int, int]]]:
        text = _as_chat(self._tokenizer, lesson)
        encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        spans, position = [], 0
        for role, content in lesson.turns:
            position = text.index(content, position)
            if role == "assistant":
                explanation, answer = content.rsplit("\nAnswer: ", 1)
                begin = position + explanation.rindex(answer)
                inside = [
                    i
                    for i, (a, b) in enumerate(encoded["offset_mapping"])
                    if b > begin and a < begin + len(answer)
                ]
                spans.append((inside[0], inside[-1] + 1))
            position += len(content)
        return encoded["input_ids"], spans
