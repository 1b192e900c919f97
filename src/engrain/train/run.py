"""The stage `train`: continued pre-training of the student on a packed mixture.

Full weights or low-rank adapters, through transformers' Trainer. The directory holds the checkpoint
as Hugging Face writes it, adapters merged (and by themselves in `adapter/`), `metrics.jsonl` (a
line for each step), `tensorboard/` (the same), and `first_batch.txt` (what the student read first);
while training is unfinished also `checkpoint-N/`, from which it goes on exactly.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import TrainingArguments

from engrain import models, store
from engrain.errors import UserError
from engrain.progress import Progress
from engrain.store import Artifact
from engrain.train import adapter, checkpoints, first_batch, horizon, kernels, memory
from engrain.train.alarms import Alarms
from engrain.train.arguments import arguments
from engrain.train.chunked_loss import chunk_loss
from engrain.train.data import Sequences, flattened, stacked, tokens_seen
from engrain.train.loop import METRICS, SealingTrainer, Watch, rows
from engrain.train.optimizers import muon
from engrain.train.settings import TrainingSettings
from engrain.train.student import Student, load_config, load_student, save_student
from engrain.train.throughput import Meter, flops_per_token, peak
from engrain.train.trackers import TENSORBOARD, Board


def train(
    mixture: Artifact,
    student: str,
    settings: TrainingSettings,
    out: Path,
    *,
    seed: int,
    progress: Progress,
) -> Artifact:
    """Train `student` (a folder or hub name) on the mixture; `out` becomes its checkpoint.

    An interrupted training goes on from its last checkpoint, and ends as if it had not been
    interrupted. Raises UserError where student, mixture, settings and machine do not fit, where it
    shows early that nothing can be learned, and where memory or the disk is full.
    """
    _fits(mixture, student, settings)
    kernels.check(settings)
    identity = {**settings.identity(), "seed": seed}
    inputs = {"mixture": mixture.fingerprint, "student": models.model_identity(student)}

    def build(directory: Path) -> Mapping[str, Any]:
        training = store.fingerprint({"settings": identity, "inputs": inputs})
        sequences = Sequences(mixture.path, within_texts=settings.attention == "within_texts")
        args = arguments(
            settings, directory, seed=seed, steps=horizon.steps(settings, sequences.lengths)
        )
        with models.quiet():
            loaded = _loaded(student, settings, args, progress.say)
            show = directory / first_batch.FIRST_BATCH
            first_batch.show(show, sequences, loaded.tokenizer, progress.say)
            counts = _trained(args, loaded, sequences, settings, directory, training, progress)
            _save(loaded, directory)
        checkpoints.clear(directory)
        return counts

    return store.run_stage(
        out, stage="train", settings=identity, inputs=inputs, build=build, say=progress.say
    )


def _fits(mixture: Artifact, student: str, settings: TrainingSettings) -> None:
    packed = mixture.counts["sequence_length"]
    if packed != settings.sequence_length:
        raise UserError(
            f"the mixture {str(mixture.path)!r} is packed in sequences of {packed} tokens; "
            f"set training.sequence_length to {packed}, or mix again"
        )
    if mixture.settings["tokenizer"] != models.tokenizer_identity(student):
        raise UserError(
            f"the mixture {str(mixture.path)!r} was made with another tokenizer than that of "
            f"student {student!r}; mix again with this student"
        )


def _loaded(
    name: str, settings: TrainingSettings, args: TrainingArguments, say: Callable[[str], None]
) -> Student:
    """The student, ready to compute; what was chosen for it is said."""
    memory.check(load_config(name), name, settings)
    with memory.explained(f"to load student {name!r}", memory.WHAT_TO_DO):
        student = load_student(name, settings.sequence_length)
    first_batch.check_markers(student.tokenizer, name, say)
    if settings.attention == "within_texts":
        kernels.check_segments(student.model, name)
    kernel = kernels.attention_kernel(settings, bf16=args.bf16)
    if kernel in kernels.FLASH:
        say(f"train: attention runs in {kernel}")
        student.model.set_attn_implementation(kernel)
    if settings.loss_in_chunks:
        chunk_loss(student.model, name)
    return student


def _trained(
    args: TrainingArguments,
    student: Student,
    sequences: Sequences,
    settings: TrainingSettings,
    directory: Path,
    training: str,
    progress: Progress,
) -> Mapping[str, Any]:
    """Train to the end; return what was counted."""
    tokens_at = partial(tokens_seen, sequences.lengths, settings.batch_sequences)
    total = tokens_at(args.max_steps)
    resume = checkpoints.latest(directory, training)
    if resume is not None:
        progress.say(f"train: going on from {resume.name}")
    adapted = settings.lora and adapter.attach(student.model, settings.lora, seed=args.seed)
    meter = Meter(
        tokens_at,
        flops=flops_per_token(student.model, attended=sequences.attended()),
        peak=peak(args.device, bf16=args.bf16),
        devices=args.world_size,
    )
    where = (
        f"on {args.device} for {args.per_device_train_batch_size} sequences of "
        f"{settings.sequence_length} tokens at once"
    )
    with (
        memory.explained(where, memory.advice(settings, args.per_device_train_batch_size)),
        progress.bar("train", total, "tokens") as bar,
    ):
        watch = Watch(directory / METRICS, bar, save_every=settings.save_every, meter=meter)
        board = Board(directory / "tensorboard") if TENSORBOARD in settings.report_to else None
        # A lost training is stopped before its step is written down.
        alarms = Alarms(learning_rate=settings.learning_rate, lora=settings.lora is not None)
        trainer = SealingTrainer(
            identity=training,
            meter=meter,
            model=adapted or student.model,
            args=args,
            train_dataset=sequences,
            data_collator=_collator(student),
            callbacks=[alarms, watch, *([board] if board else [])],
            optimizers=(muon(student.model, settings, products=_products(args)), None),
        )
        try:
            result = trainer.train(resume_from_checkpoint=None if resume is None else str(resume))
        finally:
            watch.close()
            if board:
                board.close()
    if adapted:
        adapter.merge(adapted, directory)
    return {
        "steps": result.global_step,
        "tokens": total,
        "parameters": student.model.num_parameters(),
        "precision": "bf16" if args.bf16 else "fp32",
        "device": args.device.type,
        **_speed(directory / METRICS),
    }


def _collator(student: Student) -> Callable[[list[dict[str, torch.Tensor]]], dict[str, Any]]:
    flash = student.model.config._attn_implementation in kernels.FLASH
    return flattened if flash else stacked


def _products(args: TrainingArguments) -> torch.dtype:
    return torch.bfloat16 if args.bf16 else torch.float32


def _speed(metrics: Path) -> dict[str, Any]:
    """The median step's speed: the first ones wait for the data, a compiler, a cold device."""
    read = rows(metrics)
    speed = statistics.median(row["tokens_per_second"] for row in read)
    shares = [row["mfu"] for row in read if row["mfu"] is not None]
    if shares:
        return {"tokens_per_second": speed, "mfu": statistics.median(shares)}
    return {"tokens_per_second": speed, "mfu": None, "mfu_reason": read[-1]["mfu_reason"]}


def _save(student: Student, directory: Path) -> None:
    try:
        save_student(student, str(directory))
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"cannot write the trained student to {str(directory)!r} ({models.first_line(error)}); "
            "free some space and run again: training goes on from its last checkpoint"
        ) from error
