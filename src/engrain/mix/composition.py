"""What a mixture holds, counted: the content of `composition.json`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from engrain.mix.compose import Component, Item
from engrain.mix.files import Written
from engrain.records import Document

Chosen = Mapping[Component, Sequence[Item]]


def describe(
    available: Sequence[Item],
    chosen: Chosen,
    written: Written,
    source: Iterable[tuple[Document, int]],
) -> dict[str, Any]:
    """Tokens and shares of each component, method and document.

    Args:
        available: All synthetic texts; what the ratio or the budget left out is counted too.
        chosen: What is in the mixture.
        written: What packing made of it.
        source: The corpus' documents, each with its own tokens.
    """
    total = sum(_tokens(items) for items in chosen.values())
    synthetic = [item for name, items in chosen.items() if name != "replay" for item in items]
    by_component = Counter[str]()
    for item in available:
        by_component[item.component] += item.length
    documents = _documents(synthetic, source)
    positions = total + written.padding
    return {
        "synthetic_tokens": _tokens(synthetic),
        "source_tokens": sum(row["source_tokens"] for row in documents),
        "tokens": total,
        "components": {
            name: {
                "tokens": _tokens(items),
                "share": round(_tokens(items) / total, 6),
                "texts": len({item.id for item in items}),
                # Replay is drawn as needed, so how much of it there is stays unknown.
                "available_tokens": None if name == "replay" else by_component[name],
                "methods": _methods(items),
            }
            for name, items in chosen.items()
        },
        "sequences": written.sequences,
        "padding": {"tokens": written.padding, "share": round(written.padding / positions, 6)},
        "cut_texts": written.cuts,
        "documents": documents,
    }


def _methods(items: Sequence[Item]) -> dict[str, int]:
    tokens = Counter[str]()
    for item in items:
        tokens[item.method] += item.length
    return dict(sorted(tokens.items()))


def _documents(
    synthetic: Sequence[Item], source: Iterable[tuple[Document, int]]
) -> list[dict[str, Any]]:
    tokens: dict[Component, Counter[str]] = {"qa": Counter(), "documents": Counter()}
    for item in synthetic:
        tokens[item.component][item.document_id] += item.length
    return [
        {
            "id": document.id,
            "title": document.title,
            "source_tokens": own,
            "qa_tokens": tokens["qa"][document.id],
            "document_tokens": tokens["documents"][document.id],
        }
        for document, own in source
    ]


def _tokens(items: Iterable[Item]) -> int:
    return sum(item.length for item in items)
