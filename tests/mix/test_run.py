from __future__ import annotations

import json
import shutil
from collections import defaultdict
from pathlib import Path

import pytest

from engrain.artifacts import texts
from engrain.errors import UserError
from engrain.mix.run import mix
from engrain.mix.settings import MixtureSettings, ReplaySettings, SerializationSettings
from engrain.models import load_tokenizer
from engrain.progress import Silent
from engrain.store import Artifact

LENGTH = 128


class Listening(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def mixed(synthetic, corpus, chatml, tmp_path):
    """Mixes 300 pairs and 350 rewrites, unless told otherwise."""
    made = synthetic(pairs=300, rewrites=350)

    def run(name: str = "mixture", **changes: object) -> Artifact:
        arguments = {
            "synthetic": made,
            "corpus": corpus,
            "settings": MixtureSettings(replay=None),
            "tokenizer": chatml,
            "out": tmp_path / name,
            "share": 1.0,
            "sequence_length": LENGTH,
            "seed": 0,
            "progress": Silent(),
            **changes,
        }
        return mix(**arguments)

    return run


@pytest.fixture
def general(tmp_path) -> Path:
    file = tmp_path / "general.txt"
    file.write_text("\n\n".join(f"A general text, number {n}. " * 12 for n in range(900)))
    return file


def ids_of(rows: list[dict]) -> set[str]:
    return {text for row in rows for text in row["texts"]}


def composition(mixture: Artifact) -> dict:
    return json.loads((mixture.path / "composition.json").read_text())


def test_realised_shares_are_those_asked_for(mixed, general):
    replay = ReplaySettings(share=0.2, source=str(general))
    for ratio, qa in (("1:1", 0.5), ("1:3", 0.25), ("2:1", 2 / 3)):
        settings = MixtureSettings(qa_to_documents=ratio, replay=replay)
        parts = composition(mixed(ratio.replace(":", ""), settings=settings))["components"]
        assert parts["replay"]["share"] == pytest.approx(0.2, abs=0.02)
        assert parts["qa"]["share"] == pytest.approx(0.8 * qa, abs=0.015)
        assert parts["documents"]["share"] == pytest.approx(0.8 * (1 - qa), abs=0.015)


def test_every_stretch_has_the_shares_too(mixed, sequences):
    rows = sequences(mixed())
    for start in range(0, len(rows) - 32, 16):
        tokens: dict[str, int] = defaultdict(int)
        for row in rows[start : start + 32]:
            stops = [*row["starts"][1:], row["length"]]
            for text, begin, stop in zip(row["texts"], row["starts"], stops, strict=True):
                tokens[text[:2]] += stop - begin
        assert tokens["qa"] / sum(tokens.values()) == pytest.approx(0.5, abs=0.1)


def test_smaller_budgets_are_parts_of_larger_ones(mixed, sequences, general):
    settings = MixtureSettings(replay=ReplaySettings(share=0.2, source=str(general)))
    shares = (0.25, 0.5, 1.0)
    mixtures = [mixed(f"{share}", share=share, settings=settings) for share in shares]
    quarter, half, whole = (ids_of(sequences(mixture)) for mixture in mixtures)
    assert quarter < half < whole
    tokens = [mixture.counts["synthetic_tokens"] for mixture in mixtures]
    assert tokens[0] == pytest.approx(tokens[2] / 4, rel=0.02)
    assert tokens[1] == pytest.approx(tokens[2] / 2, rel=0.02)


def test_each_sequence_can_be_traced_to_its_texts(mixed, sequences, synthetic, chatml):
    made = mixed()
    source = {text.id: text for text in texts(synthetic(pairs=300, rewrites=350))}
    tokenizer = load_tokenizer(chatml)
    whole = 0
    for row in sequences(made):
        stops = [*row["starts"][1:], row["length"]]
        for text, begin, stop in zip(row["texts"], row["starts"], stops, strict=True):
            ids = row["input_ids"][begin:stop]
            piece = str(tokenizer.decode(ids, skip_special_tokens=True))
            if source[text].kind == "qa":  # never split
                assert source[text].question in piece
                assert source[text].text in piece
                whole += 1
            else:
                assert piece in source[text].text
    assert whole == composition(made)["components"]["qa"]["texts"]


@pytest.mark.parametrize("pairs", ["chat", "plain"])
def test_with_loss_on_answers_all_of_a_text_is_learned_but_its_question(
    mixed, sequences, synthetic, chatml, pairs
):
    tokenizer = load_tokenizer(chatml)
    made = synthetic("other", pairs=60, rewrites=60)
    source = {text.id: text for text in texts(made)}
    serialization = SerializationSettings(pairs=pairs, loss="answers")
    settings = MixtureSettings(replay=None, serialization=serialization)
    unlearned = 0
    for row in sequences(mixed(synthetic=made, settings=settings)):
        left_out = {n for a, b in batched(row["unlearned"], 2) for n in range(a, b)}
        unlearned += len(left_out)
        for id, start, stop in zip(
            row["texts"], row["starts"], [*row["starts"][1:], row["length"]], strict=True
        ):
            learned = [row["input_ids"][n] for n in range(start, stop) if n not in left_out]
            text = source[id]
            if text.kind == "qa":
                assert tokenizer.decode(learned) == f"{text.text}<|im_end|>"
            else:
                assert len(learned) == stop - start
    assert unlearned > 60 * 5


def batched(numbers: list[int], size: int) -> list[tuple[int, ...]]:
    return list(zip(*[iter(numbers)] * size, strict=True))


def test_loss_on_everything_leaves_nothing_out(mixed, sequences):
    assert all(row["unlearned"] == [] for row in sequences(mixed()))


def test_the_composition_adds_up(mixed, sequences):
    made = mixed()
    rows = sequences(made)
    told = composition(made)
    assert sum(row["length"] for row in rows) == told["tokens"] == made.counts["tokens"]
    assert len(rows) == told["sequences"]
    assert sum(LENGTH - row["length"] for row in rows) == told["padding"]["tokens"]
    by_document = sum(sum(row["tokens"].values()) for row in told["documents"])
    assert by_document == told["synthetic_tokens"] == made.counts["synthetic_tokens"]
    for part in told["components"].values():
        assert part["tokens"] == sum(part["methods"].values())
    assert told["documents"][0]["title"] == "T0"
    assert not list(made.path.glob(".pool*"))


def test_padding_is_small_and_texts_are_hardly_cut(mixed):
    told = composition(mixed(sequence_length=512))
    assert told["padding"]["tokens"] < 512 + 0.001 * told["tokens"]
    assert told["cut_texts"] < 5


def test_the_same_settings_give_the_same_bytes_wherever_things_lie(
    mixed, chatml, general, tmp_path
):
    settings = MixtureSettings(replay=ReplaySettings(source=str(general)))
    first = mixed("first", settings=settings)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    settings = MixtureSettings(
        replay=ReplaySettings(source=str(shutil.copy(general, elsewhere / "other.txt")))
    )
    moved = shutil.copytree(chatml, elsewhere / "student")
    second = mixed("second", settings=settings, tokenizer=str(moved))
    assert first.fingerprint == second.fingerprint
    name = "sequences.arrow"
    assert (first.path / name).read_bytes() == (second.path / name).read_bytes()
    other = mixed("third", settings=settings, seed=1)
    assert other.fingerprint != first.fingerprint
    assert (other.path / name).read_bytes() != (first.path / name).read_bytes()


def test_a_second_call_does_nothing(mixed):
    progress = Listening()
    before = (mixed().path / "sequences.arrow").stat().st_mtime_ns
    assert (mixed(progress=progress).path / "sequences.arrow").stat().st_mtime_ns == before
    assert "already done" in progress.lines[0]


def test_what_the_ratio_leaves_unused_is_told_and_counted(mixed, synthetic):
    progress = Listening()
    made = mixed(synthetic=synthetic("few", pairs=300, rewrites=30), progress=progress)
    assert "of the tokens of qa unused" in progress.lines[0]
    parts = composition(made)["components"]
    assert parts["qa"]["share"] == pytest.approx(0.5, abs=0.02)
    assert parts["qa"]["available_tokens"] > 5 * parts["qa"]["tokens"]


def test_replay_may_hold_whole_chats_and_no_other_text_gives_orders(
    mixed, sequences, chatml, tmp_path
):
    chat = (
        "<|im_start|>user\nWho mends nets?<|im_end|>\n<|im_start|>assistant\nThe smith.<|im_end|>"
    )
    path = tmp_path / "chats.jsonl"
    path.write_text("\n".join(json.dumps({"text": f"{chat} {n}"}) for n in range(2000)))
    wanted = MixtureSettings(replay={"share": 0.2, "source": str(path)})
    rows = sequences(mixed("chats", settings=wanted))
    start = load_tokenizer(chatml).convert_tokens_to_ids("<|im_start|>")
    found = 0
    for row in rows:
        stops = [*row["starts"][1:], row["length"]]
        for id, begin, stop in zip(row["texts"], row["starts"], stops, strict=True):
            if id.startswith("replay/") and stop - begin > 10:
                found += row["input_ids"][begin:stop].count(start) == 2
    assert found > 20


def test_replay_that_is_too_short_is_an_error_that_says_how_much_is_missing(mixed, tmp_path):
    little = tmp_path / "little.txt"
    little.write_text("Little text.")
    settings = MixtureSettings(replay=ReplaySettings(source=str(little)))
    with pytest.raises(UserError, match=r"holds \d+ tokens, [\d,]+ too few for a share of 0.1"):
        mixed(settings=settings)
    assert not list((tmp_path / "mixture").glob(".pool*"))


def test_a_component_without_texts_is_an_error_unless_its_weight_is_zero(mixed, synthetic):
    pairs = synthetic("pairs", rewrites=0)
    with pytest.raises(UserError, match="'1:1' needs documents, and the synthetic text has none"):
        mixed(synthetic=pairs)
    alone = mixed(
        synthetic=pairs, settings=MixtureSettings(qa_to_documents="1:0", replay=None)
    )  # fmt: skip
    assert list(composition(alone)["components"]) == ["qa"]
    nothing = synthetic("nothing", pairs=0, rewrites=0)
    with pytest.raises(UserError, match="no synthetic text to mix"):
        mixed(synthetic=nothing)


def test_a_budget_smaller_than_a_text_or_beyond_all_of_them_is_an_error(mixed):
    with pytest.raises(UserError, match=r"budget 1e-05 leaves no text of qa"):
        mixed(share=1e-5)
    with pytest.raises(UserError, match=r"budget 1.5 is no share"):
        mixed(share=1.5)


def test_texts_longer_than_a_sequence_are_kept_whole_in_pieces(mixed, sequences):
    made = mixed(sequence_length=32)
    assert max(row["length"] for row in sequences(made)) == 32
    assert sum(row["length"] for row in sequences(made)) == composition(made)["tokens"]
