"""The stage `train`: continued pre-training of the student on a packed mixture.

Full weights, through transformers' Trainer. The directory holds the checkpoint as Hugging Face
writes it, `metrics.jsonl` (a line for each step) and `first_batch.txt` (what the student read
first); while training is unfinished also `checkpoint-N/`, from which it goes on exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import TrainingArguments, default_data_collator

from engrain import models, store
from engrain.errors import UserError
from engrain.muon import Muon, grouped
from engrain.progress import Progress
from engrain.store import Artifact
from engrain.train import checkpoints
from engrain.train.data import Sequences, tokens_seen
from engrain.train.loop import METRICS, SealingTrainer, Watch
from engrain.train.settings import TrainingSettings
from engrain.train.student import Student, load_student, save_student

FIRST_BATCH = "first_batch.txt"
_SHOWN = 4
"""Sequences in `first_batch.txt`."""
_CPU_TOKENS, _GPU_TOKENS = 2048, 8192
"""On a device at once. More were no faster on a CPU; on a GPU the logits of 8K tokens over a
vocabulary of 128K already take 4 GB."""


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
    interrupted. Raises UserError where student, mixture and settings do not fit, where the loss
    becomes infinite, and where the disk is full.
    """
    _fits(mixture, student, settings)
    identity = {**settings.identity(), "seed": seed}
    inputs = {"mixture": mixture.fingerprint, "student": models.model_identity(student)}

    def build(directory: Path) -> Mapping[str, Any]:
        training = store.fingerprint({"settings": identity, "inputs": inputs})
        with models.quiet():
            loaded = load_student(student, settings.sequence_length)
            sequences = Sequences(mixture.path)
            _show_first_batch(directory / FIRST_BATCH, sequences, loaded)
            args = _arguments(settings, directory, seed)
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
    total = int(sequences.lengths.sum()) * settings.epochs
    resume = checkpoints.latest(directory, training)
    if resume is not None:
        progress.say(f"train: going on from {resume.name}")
    with progress.bar("train", total, "tokens") as bar:
        watch = Watch(
            directory / METRICS,
            bar,
            save_every=settings.save_every,
            tokens_at=partial(tokens_seen, sequences.lengths, settings.batch_sequences),
        )
        trainer = SealingTrainer(
            identity=training,
            model=student.model,
            args=args,
            train_dataset=sequences,
            data_collator=default_data_collator,
            callbacks=[watch],
            optimizers=(_muon(student, settings), None),
        )
        try:
            result = trainer.train(resume_from_checkpoint=None if resume is None else str(resume))
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"too little memory on {args.device} for {args.per_device_train_batch_size} "
                f"sequences of {settings.sequence_length} tokens at once; "
                "lower training.micro_batch, or set training.gradient_checkpointing to true"
            ) from error
        finally:
            watch.close()
    return {
        "steps": result.global_step,
        "tokens": total,
        "parameters": student.model.num_parameters(),
        "precision": "bf16" if args.bf16 else "fp32",
        "device": args.device.type,
    }


def _arguments(settings: TrainingSettings, directory: Path, seed: int) -> TrainingArguments:
    micro = _micro_batch(settings)
    beta1, beta2 = settings.betas
    args = TrainingArguments(
        output_dir=str(directory),
        seed=seed,
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=settings.batch_sequences // micro,
        # The mixture's order is the order of training: shares are even in every stretch of it.
        train_sampling_strategy="sequential",
        remove_unused_columns=False,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule,
        warmup_steps=settings.warmup,  # below 1: a share of the steps
        optim="adafactor" if settings.optimizer == "adafactor" else "adamw_torch_fused",
        weight_decay=settings.weight_decay,
        adam_beta1=beta1,
        adam_beta2=beta2,
        max_grad_norm=settings.max_gradient_norm,
        bf16=_computes_in_bf16(settings),
        use_cpu=not torch.accelerator.is_available(),
        activation_checkpointing=settings.gradient_checkpointing,
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,  # it would hide the loss that `Watch` stops at
        save_strategy="no",  # `Watch` asks for checkpoints, by the clock
        disable_tqdm=True,
        report_to=list(settings.report_to) or "none",
    )
    args._n_gpu = min(args.n_gpu, 1)  # several GPUs are used through torchrun, never DataParallel
    return args


def _muon(student: Student, settings: TrainingSettings) -> Muon | None:
    """The optimizer that Trainer does not bring; None where it brings the one that is wanted."""
    if settings.optimizer != "muon":
        return None
    return Muon(
        grouped(student.model),
        lr=settings.learning_rate,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
        products=torch.bfloat16 if _computes_in_bf16(settings) else torch.float32,
    )


def _micro_batch(settings: TrainingSettings) -> int:
    batch = settings.batch_sequences
    if settings.micro_batch is not None:
        if batch % settings.micro_batch:
            raise UserError(
                f"training.micro_batch is {settings.micro_batch}, which does not divide "
                f"training.batch_sequences {batch}; give a divisor of it"
            )
        return settings.micro_batch
    limit = _GPU_TOKENS if torch.accelerator.is_available() else _CPU_TOKENS
    fitting = [
        size
        for size in range(1, batch + 1)
        if batch % size == 0 and size * settings.sequence_length <= limit
    ]
    return max(fitting, default=1)


def _computes_in_bf16(settings: TrainingSettings) -> bool:
    """Whether products are computed in bf16; `auto`: where the device has instructions for it.

    A CPU without them emulates bf16: 3 times slower than fp32 where it was measured.
    """
    if settings.precision != "auto":
        return settings.precision == "bf16"
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if torch.accelerator.is_available():
        return False
    can = torch.cpu.get_capabilities()
    return bool(can.get("avx512_bf16")) or bool(can.get("amx_bf16"))


def _show_first_batch(path: Path, sequences: Sequences, student: Student) -> None:
    """What the student reads first, special tokens and all: a bad template shows here."""
    shown = []
    for index in range(min(_SHOWN, len(sequences))):
        ids = sequences[index]["input_ids"][: int(sequences.lengths[index])]
        shown.append(f"--- sequence {index} ---\n{student.tokenizer.decode(ids)}\n")
    store.write_text(path, "\n".join(shown))


def _save(student: Student, directory: Path) -> None:
    try:
        save_student(student, str(directory))
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"cannot write the trained student to {str(directory)!r} ({models.first_line(error)}); "
            "free some space and run again: training goes on from its last checkpoint"
        ) from error
