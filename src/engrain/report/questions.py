"""The browser of questions: for each question, what every arm answered.

Reads attempts and questions; knows nothing of HTML.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow.parquet as pq

from engrain.artifacts import ATTEMPTS, documents, questions
from engrain.records import ARMS, ArmName, Question
from engrain.report.browse import DRAW_SEED, Browser, Room, clip
from engrain.store import Artifact

SHOWN = 500
_BYTES = 1_800_000

CHANGES: Mapping[str, str] = {
    "fixed": "Fixed by training",
    "broken": "Broken by training",
    "ahead": "Trained right, RAG wrong",
    "behind": "RAG right, trained wrong",
    "missed": "No arm right",
}
"""How arms can differ on a question, in the order of the page's filter."""

_COLUMNS = (
    "question_id",
    "kind",
    "document_id",
    "gold",
    "parsed",
    "correct",
    "reply",
    "evidence_retrieved",
)


def browse_questions(
    corpus: Artifact,
    attempts: Sequence[Artifact],
    arms: Mapping[ArmName, int],
    labels: Mapping[ArmName, str],
) -> Browser | None:
    """A random draw of the questions, with the answers of `arms`, each at its budget.

    None where nothing was asked.
    """
    shares = _shares(attempts, arms)
    if not shares:
        return None
    changes = {name: _changes(of_arms) for name, of_arms in shares.items()}
    items = list(_items(corpus, attempts, arms, changes))
    titles = _titles(corpus, {item["document"] for item in items})
    found = Counter(change for of_question in changes.values() for change in of_question)
    kinds = sorted({item["kind"] for item in items} - {""})
    return Browser(
        data={
            "arms": {arm: labels[arm] for arm in ARMS if arm in arms},
            "titles": titles,
            "items": items,
        },
        shown=len(items),
        total=len(shares),
        choices={
            "change": [(change, label) for change, label in CHANGES.items() if found[change]],
            "kind": [(kind, kind) for kind in kinds],
        },
        totals={change: found[change] for change in CHANGES},
    )


def _shares(
    attempts: Sequence[Artifact], arms: Mapping[ArmName, int]
) -> dict[str, dict[str, float]]:
    """For each question, the share of right answers of each arm."""
    right: dict[str, dict[str, list[bool]]] = {}
    for row in _rows(attempts, arms, ("question_id", "correct")):
        right.setdefault(row["question_id"], {}).setdefault(row["arm"], []).append(row["correct"])
    return {
        name: {arm: sum(answers) / len(answers) for arm, answers in of_arms.items()}
        for name, of_arms in right.items()
    }


def _changes(shares: Mapping[str, float]) -> list[str]:
    found = []
    for above, other, below in (("fixed", "base", "broken"), ("ahead", "rag", "behind")):
        if "trained" in shares and other in shares and shares["trained"] != shares[other]:
            found.append(above if shares["trained"] > shares[other] else below)
    # The oracle was given the right passages: it says what could be answered, not who answered.
    if not any(share for arm, share in shares.items() if arm != "oracle"):
        found.append("missed")
    return found


def _items(
    corpus: Artifact,
    attempts: Sequence[Artifact],
    arms: Mapping[ArmName, int],
    changes: Mapping[str, Sequence[str]],
) -> Iterator[dict[str, Any]]:
    """The drawn questions, as far as there is room."""
    names = sorted(changes)
    drawn = set(random.Random(DRAW_SEED).sample(names, min(SHOWN, len(names))))
    known = {question.id: question for question in questions(corpus) if question.id in drawn}
    answers: dict[str, list[dict[str, Any]]] = {}
    for row in _rows(attempts, arms, _COLUMNS):
        if row["question_id"] in drawn:
            answers.setdefault(row["question_id"], []).append(row)
    room = Room(_BYTES)
    for name in sorted(drawn):
        item = _item(name, known.get(name), answers[name], changes[name])
        if not room.take(item):
            return
        yield item


def _item(
    name: str, question: Question | None, rows: Sequence[Mapping[str, Any]], changes: Sequence[str]
) -> dict[str, Any]:
    answers: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        answers.setdefault(row["arm"], []).append(_answer(row))
    return {
        "id": name,
        # Attempts may outlive the question file they were made with.
        "text": clip(question.text if question is not None else name, 1200, 300),
        "gold": rows[0]["gold"][:600],
        "options": [option[:300] for option in question.options] if question is not None else [],
        "kind": rows[0]["kind"],
        "document": rows[0]["document_id"],
        "changes": list(changes),
        "answers": answers,
    }


def _answer(row: Mapping[str, Any]) -> dict[str, Any]:
    parsed = row["parsed"]
    return {
        "correct": row["correct"],
        "parsed": None if parsed is None else parsed[:300],
        "reply": clip(row["reply"], 500, 300),
        "evidence": row["evidence_retrieved"],
    }


def _titles(corpus: Artifact, wanted: set[str]) -> dict[str, str]:
    return {
        document.id: document.title[:300] for document in documents(corpus) if document.id in wanted
    }


def _rows(
    attempts: Sequence[Artifact], arms: Mapping[ArmName, int], columns: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """The attempts of each arm at its budget; prompts, which are most of a file, are not read."""
    for artifact in attempts:
        with pq.ParquetFile(artifact.path / ATTEMPTS) as file:
            for chunk in file.iter_batches(columns=["arm", "budget", *columns]):
                for row in chunk.to_pylist():
                    if arms.get(row["arm"]) == row["budget"]:
                        yield row
