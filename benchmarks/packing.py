"""Text in, packed sequences on disk out: tokens a second, waste and memory, against others.

The same pairs and documents, the same tokenizer, sequences of 2,048 tokens, on all cores, for
Engrain, TRL's `pack_dataset` (`bfd` and `wrapped`) and a plain concatenate-and-chunk, the latter
three with `datasets` and one process for each core. Every run is a process of its own, timed after
imports and the loading of the tokenizer; the contenders take turns, and ratios are of one round.
Words are drawn by Zipf's law; with a FOLDER of txt and md files they are those of real text.
Usage: make bench NAME=packing [ARGS='FOLDER'] (needs the extra `bench`; without it the others are
left out, and said so)
"""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from packing_contenders import ALONE, CONTENDERS, LENGTH
from recording import Figure, report

from engrain import store
from engrain.models import load_tokenizer
from engrain.records import SyntheticText
from engrain.testbed import student

ROUNDS = 3
TEXTS = 15_000
"""Of a timed run: ten million tokens of the small tokenizer, less than three of the large one."""
MANY = 100_000_000
"""Tokens of the run whose memory is measured."""
VOCABULARY = 128_000
CASES = (("student", "plain"), ("large", "plain"), ("large", "chat"))


def main() -> int:
    """Measure all of it."""
    others = all(importlib.util.find_spec(name) for name in ("datasets", "trl"))
    names = list(CONTENDERS) if others else ["engrain", ALONE]
    if not others:
        print("only Engrain is measured: install the extra 'bench' for the others (datasets, trl)")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        words = real(Path(sys.argv[1])) if len(sys.argv) > 1 else drawn()
        write(folder / "texts.parquet", words, TEXTS)
        tokenizers = {"student": str(student.path()), "large": large(folder, words)}
        figures = []
        for which, form in CASES:
            rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
            for number in range(ROUNDS):
                turn = names[number % len(names) :] + names[: number % len(names)]
                for name in turn:
                    rounds[name].append(run(name, folder, tokenizers[which], form))
            figures += compared(f"{which} tokenizer, {form}", rounds)
        figures += memory(folder, words, tokenizers["large"])
    return report("packing", figures)


def run(name: str, folder: Path, tokenizer: str, form: str) -> dict[str, Any]:
    """One contender once, in a process of its own."""
    with tempfile.TemporaryDirectory(dir=folder) as out:
        done = subprocess.run(
            [sys.executable, __file__, "--one", name, str(folder), tokenizer, form, out],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env={**os.environ, "HF_HOME": out, "HF_HUB_OFFLINE": "1"},
        )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"{name:8s} {form:6s} {result}", file=sys.stderr)
    return result


def one(name: str, folder: Path, tokenizer: str, form: str, out: Path) -> None:
    """Run one contender and print what it took and what it made."""
    work, rows = CONTENDERS[name](folder / "texts.parquet", tokenizer, form, out)
    started, used = time.perf_counter(), cpu()
    work()
    seconds, spent = time.perf_counter() - started, cpu() - used
    peak = sum(
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    loaded = load_tokenizer(tokenizer)
    begins = "Question:" if form == "plain" else "<|start|>user"
    first = loaded(begins)["input_ids"]
    result = {"seconds": seconds, "cpu": spent, "peak_mb": peak * 1024 / 1e6}
    print(json.dumps(result | waste(rows(), first, loaded.eos_token_id)))


def cpu() -> float:
    """Seconds of this process, its threads and its ended children."""
    return sum(os.times()[:4])


def waste(rows: Iterable[Sequence[int]], begins: list[int], end: int) -> dict[str, int]:
    """What is in the sequences: every text ends with `end`, and pairs alone begin so."""
    tokens = sequences = cut = pairs = 0
    for row in rows:
        ids = np.asarray(row)
        stops = np.flatnonzero(ids == end)
        tokens, sequences = tokens + len(ids), sequences + 1
        if ids[-1] != end:
            last = ids[stops[-1] + 1 if len(stops) else 0 :].tolist()
            cut += 1
            pairs += last[: len(begins)] == begins[: len(last)]
    return {"tokens": tokens, "sequences": sequences, "cut": cut, "cut_pairs": pairs}


def compared(case: str, rounds: dict[str, list[dict[str, Any]]]) -> list[Figure]:
    """Speed and waste of each, and the ratio to the fastest of the others."""
    figures = []
    everything = max(one["tokens"] for results in rounds.values() for one in results)
    speeds = {
        name: [result["tokens"] / result["seconds"] / 1e6 for result in results]
        for name, results in rounds.items()
    }
    for name, results in rounds.items():
        figures.append(figure(f"{case}: {name}", speeds[name], "Mtokens/s"))
        spent = [1e6 * result["cpu"] / result["tokens"] for result in results]
        figures.append(figure(f"{case}: {name}, CPU time", spent, "s/Mtoken"))
        if name != ALONE:
            figures += wasted(f"{case}: {name}", results[0], everything, held=name == "engrain")
    others = [values for name, values in speeds.items() if name not in ("engrain", ALONE)]
    if others:
        fastest = max(others, key=statistics.median)
        ratios = [ours / theirs for ours, theirs in zip(speeds["engrain"], fastest, strict=True)]
        figures.append(figure(f"{case}: Engrain over the fastest other", ratios, "x", bar=1.5))
    return figures


def wasted(name: str, result: dict[str, Any], everything: int, *, held: bool) -> list[Figure]:
    """Padding, tokens that are in no sequence, and texts that are cut; `held`: to their bars."""
    positions = result["sequences"] * LENGTH
    return [
        Figure(
            name=f"{name}, {what}",
            value=float(value),
            unit=unit,
            n=result["sequences"],
            bar=bar if held else None,
            at_most=True,
        )
        for what, value, unit, bar in (
            ("padding", 1 - result["tokens"] / positions, "of positions", 0.001),
            ("dropped", 1 - result["tokens"] / everything, "of tokens", 0),
            ("pairs cut", result["cut_pairs"], "pairs", 0),
            ("texts cut", result["cut"], "texts", None),
        )
    ]


def memory(folder: Path, words: Callable[[int, int], str], tokenizer: str) -> list[Figure]:
    """Peak of Engrain over a hundred million tokens, interpreter and libraries included."""
    probe = run("engrain", folder, tokenizer, "chat")
    write(folder / "texts.parquet", words, -(-TEXTS * MANY // probe["tokens"]))
    result = run("engrain", folder, tokenizer, "chat")
    million = result["tokens"] / 1e6
    return [
        Figure(
            name=f"peak memory, {million:.0f}M tokens",
            value=result["peak_mb"],
            unit="MB",
            n=1,
            bar=2000,
            at_most=True,
        ),
        Figure(
            name=f"peak memory, {probe['tokens'] / 1e6:.0f}M tokens",
            value=probe["peak_mb"],
            unit="MB",
            n=1,
        ),
        figure(f"speed, {million:.0f}M tokens", [million / result["seconds"]], "Mtokens/s"),
    ]


def figure(name: str, values: Sequence[float], unit: str, bar: float | None = None) -> Figure:
    """The median of the rounds, with their range."""
    return Figure(
        name=name,
        value=statistics.median(values),
        unit=unit,
        n=len(values),
        low=min(values),
        high=max(values),
        bar=bar,
    )


def write(path: Path, words: Callable[[int, int], str], count: int) -> None:
    """Five pairs to a document, as many tokens of the one as of the other."""
    lengths = np.random.default_rng(0).integers(0, 1 << 30, size=(count, 2))

    def rows() -> Iterator[SyntheticText]:
        place = 0
        for number, (first, second) in enumerate(lengths.tolist()):
            common: dict[str, Any] = {
                "id": f"t{number}",
                "document_id": f"d{number % 200}",
                "request_id": "r",
                "tokens": 1,
            }
            if number % 6:
                asked, told = 8 + first % 20, 30 + second % 90
                yield SyntheticText(
                    kind="qa",
                    method="qa",
                    question=words(place, asked) + "?",
                    text=words(place + asked, told),
                    **common,
                )
                place += asked + told
            else:
                size = 150 + first % 560
                yield SyntheticText(
                    kind="document", method="rewrite", text=words(place, size), **common
                )
                place += size

    store.write_rows(path, SyntheticText, rows())


def drawn() -> Callable[[int, int], str]:
    """Some four million invented words, of which few are frequent and most are rare."""
    generator = np.random.default_rng(0)
    syllables = [a + b + c for a in "bdfgklmnprstvz" for b in "aeiou" for c in ("", "n", "r", "s")]
    sizes = generator.integers(1, 5, 200_000).tolist()
    parts = generator.integers(0, len(syllables), (len(sizes), 4)).tolist()
    known = [
        "".join(syllables[n] for n in picked[:size])
        for picked, size in zip(parts, sizes, strict=True)
    ]
    weights = np.cumsum(1 / (np.arange(len(known)) + 10))
    ranks = np.searchsorted(weights, generator.random(4_000_000) * weights[-1])
    stops = generator.random(len(ranks)) < 0.07
    ended = zip(ranks.tolist(), stops.tolist(), strict=True)
    return taken([f"{known[rank]}." if stop else known[rank] for rank, stop in ended])


def real(folder: Path) -> Callable[[int, int], str]:
    """The words of all files, in their order."""
    files = [file for file in sorted(folder.rglob("*")) if file.suffix in (".txt", ".md")]
    return taken([word for file in files for word in file.read_text("utf-8").split(" ")])


def taken(words: list[str]) -> Callable[[int, int], str]:
    """`count` words from `place` on; from the beginning again where they end, a little shifted."""

    def take(place: int, count: int) -> str:
        round_, place = divmod(place, len(words) - 1000)
        return " ".join(words[place + round_ % 500 : place + round_ % 500 + count])

    return take


def large(folder: Path, words: Callable[[int, int], str]) -> str:
    """A byte-level BPE with as many tokens as Llama 3 has, split as it splits, with a template."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    ends = ["<|begin|>", "<|end|>", "<|start|>", "<|stop|>"]
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    pattern = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=ends,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((words(n * 1000, 1000) for n in range(4000)), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin|> $A", special_tokens=[("<|begin|>", 0)]
    )
    untyped: Any = PreTrainedTokenizerFast
    made = untyped(tokenizer_object=tokenizer, bos_token="<|begin|>", eos_token="<|end|>")
    made.chat_template = (
        "{{ bos_token }}{% for message in messages %}{{ '<|start|>' + message['role'] + "
        "'<|stop|>\\n\\n' + message['content'] | trim }}"
        "{% if message['role'] == 'assistant' %}<|end|>{% endif %}{% endfor %}"
    )
    made.save_pretrained(folder / "large")
    print(f"a tokenizer of {len(made):,} tokens", file=sys.stderr)
    return str(folder / "large")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        name, folder, tokenizer, form, out = sys.argv[2:]
        one(name, Path(folder), tokenizer, form, Path(out))
    else:
        sys.exit(main())
