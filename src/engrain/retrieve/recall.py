"""Whether retrieval found the evidence.

Knows passages and the evidence a question names, not how the passages were retrieved.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from engrain.retrieve.chunks import Passage


def evidence_found(evidence: Sequence[str], passages: Iterable[Passage]) -> bool | None:
    """Whether every evidence text stands in the passages, white space aside.

    None where there is no evidence. Passages of one document are joined in its order, so that
    evidence cut by a chunk boundary counts when all its parts are there.
    """
    wanted = _wanted(evidence)
    if not wanted:
        return None
    joined = _joined(passages)
    return all(any(text in document for document in joined) for text in wanted)


def _wanted(evidence: Sequence[str]) -> list[str]:
    return [text for text in (" ".join(text.split()) for text in evidence) if text]


def _joined(passages: Iterable[Passage]) -> list[str]:
    """One text a document: its passages in order, overlaps merged, white space normalised."""
    documents: defaultdict[str, list[Passage]] = defaultdict(list)
    for passage in passages:
        documents[passage.document_id].append(passage)
    return [
        _merged(sorted(found, key=lambda passage: passage.start)) for found in documents.values()
    ]


def _merged(ordered: Sequence[Passage]) -> str:
    parts: list[str] = []
    end = -1
    for passage in ordered:
        if passage.start > end:
            parts.append(" ")
        parts.append(passage.text[max(end - passage.start, 0) :] if parts else passage.text)
        end = max(end, passage.start + len(passage.text))
    return " ".join("".join(parts).split())
