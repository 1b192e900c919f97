"""Tiny tokenizers built in the test, synthetic texts, and what reads a mixture back."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from engrain import store
from engrain.artifacts import DOCUMENTS, KEPT
from engrain.records import Document, SyntheticText
from engrain.store import Artifact

WORDS = [
    f"{a}{b}" for a in ("ka", "lo", "mi", "ru", "te") for b in ("na", "so", "vi", "der", "lun")
]

# ChatML, as Qwen's tokenizers have it: no beginning, the end token, then a line break.
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# As Llama's: the beginning is part of the template.
LLAMA = (
    "{{ bos_token }}{% for m in messages %}<|start|>{{ m.role }}<|stop|>\n\n"
    "{{ m.content }}<|end|>{% endfor %}"
)


def words(draw: Random, count: int) -> str:
    return " ".join(draw.choice(WORDS) for _ in range(count))


def written_tokenizer(
    folder: Path, *, template: str | None, eos: str, bos: str | None = None
) -> str:
    """A byte-level BPE tokenizer; with `bos`, it adds one to every text, as Llama's do."""
    specials = ["<unk>", "<pad>", "<|im_start|>", "<|im_end|>", "<|begin|>", "<|end|>"]
    specials += ["<|start|>", "<|stop|>", "<|endoftext|>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator([" ".join(WORDS)], trainer)
    if bos is not None:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, tokenizer.token_to_id(bos))]
        )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=eos, bos_token=bos, pad_token=eos
    )
    fast.chat_template = template
    folder.mkdir(parents=True, exist_ok=True)
    fast.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def save_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    return lambda **kind: written_tokenizer(tmp_path_factory.mktemp("tokenizer"), **kind)


@pytest.fixture
def chatml_template() -> str:
    return CHATML


@pytest.fixture
def llama_template() -> str:
    return LLAMA


@pytest.fixture(scope="session")
def chatml(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("chatml")
    return written_tokenizer(folder, template=CHATML, eos="<|im_end|>")


@pytest.fixture
def corpus(tmp_path: Path) -> Artifact:
    def build(folder: Path) -> dict[str, int]:
        documents = []
        for number in range(6):
            text = words(Random(number), 200)
            digest = hashlib.sha256(text.encode()).hexdigest()
            documents.append(
                Document(id=f"d{number}", title=f"T{number}", source="x", text=text, sha256=digest)
            )
        return {"documents": store.write_rows(folder / DOCUMENTS, Document, documents)}

    return store.run_stage(
        tmp_path / "corpus", stage="corpus", settings={}, inputs={}, build=build, say=lambda _: None
    )


@pytest.fixture
def synthetic(tmp_path: Path) -> Callable[..., Artifact]:
    """Makes a synthetic artifact of `pairs` and `rewrites` of varied length, six documents."""

    def make(name: str = "synthetic", *, pairs: int = 300, rewrites: int = 120) -> Artifact:
        draw = Random(1)

        def text(kind: str, number: int) -> SyntheticText:
            common: dict[str, Any] = {
                "document_id": f"d{number % 6}",
                "request_id": f"r{number}",
                "tokens": 9,
            }
            if kind == "qa":
                question, answer = words(draw, draw.randint(4, 9)) + "?", words(draw, 2)
                body = f"{words(draw, draw.randint(5, 15))}\nAnswer: {answer}"
                return SyntheticText(
                    id=f"qa{number}", kind="qa", method="qa", text=body, question=question,
                    answer=answer, **common,
                )  # fmt: skip
            body = words(draw, draw.randint(20, 60))
            return SyntheticText(
                id=f"rw{number}", kind="document", method="rewrite", text=body, **common
            )

        def build(folder: Path) -> dict[str, int]:
            rows = [text("qa", number) for number in range(pairs)]
            store.write_rows(folder / KEPT / "qa.parquet", SyntheticText, rows)
            rows = [text("document", number) for number in range(rewrites)]
            store.write_rows(folder / KEPT / "rewrite.parquet", SyntheticText, rows)
            return {"texts": pairs + rewrites}

        return store.run_stage(
            tmp_path / name,
            stage="synthesize",
            settings={"pairs": pairs, "rewrites": rewrites},
            inputs={},
            build=build,
            say=lambda _: None,
        )

    return make


@pytest.fixture
def sequences() -> Callable[[Artifact], list[dict]]:
    """Reads a mixture's rows back."""

    def read(mixture: Artifact) -> list[dict]:
        with pa.memory_map(str(mixture.path / "sequences.arrow")) as file:
            return pa.ipc.open_stream(file).read_all().to_pylist()

    return read
