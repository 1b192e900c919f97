"""What a mixture holds, counted: the content of `composition.json`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from engrain.mix.compose import Item, tokens_of
from engrain.mix.files import Written
from engrain.mix.settings import REPLAY, MixtureSettings
from engrain.records import Document


def describe(
    settings: MixtureSettings,
    available: Mapping[str, Sequence[Item]],
    chosen: Mapping[str, Sequence[Item]],
    written: Written,
    source: Iterable[tuple[Document, int]],
) -> dict[str, Any]:
    """Tokens and shares of each component, method and document; repetitions count.

    Args:
        settings: What was asked for.
        available: Of each component all texts, each once: what is unused is counted too.
        chosen: What is in the mixture, replay among it.
        written: What packing made of it.
        source: The corpus' documents, each with its own tokens.
    """
    total = sum(tokens_of(items) for items in chosen.values())
    parts = {part.name: part for part in settings.parts}
    synthetic = [name for name, part in parts.items() if part.texts != "source"]
    by_document = {name: _by_document(items) for name, items in chosen.items() if name != REPLAY}
    elsewhere = {
        name: by_document.pop(name) for name, part in parts.items() if part.run is not None
    }
    documents = [
        {
            "id": document.id,
            "title": document.title,
            "source_tokens": own,
            "tokens": {name: tokens[document.id] for name, tokens in by_document.items()},
        }
        for document, own in source
    ]
    positions = total + written.padding
    return {
        "order": settings.order,
        "synthetic_tokens": sum(tokens_of(chosen[name]) for name in synthetic),
        "component_tokens": sum(tokens_of(chosen[name]) for name in parts),
        "source_tokens": sum(row["source_tokens"] for row in documents),
        "tokens": total,
        "components": {
            name: {
                **_component(items, total),
                # Replay is drawn as needed, so how much of it there is stays unknown.
                "available_tokens": None if name == REPLAY else tokens_of(available[name]),
                # Documents of another run are not among this run's.
                **({"documents": dict(elsewhere[name])} if name in elsewhere else {}),
            }
            for name, items in chosen.items()
        },
        "sequences": written.sequences,
        "padding": {"tokens": written.padding, "share": round(written.padding / positions, 6)},
        "cut_texts": written.cuts,
        "documents": documents,
    }


def _component(items: Sequence[Item], total: int) -> dict[str, Any]:
    methods = Counter[str]()
    standing = Counter[str]()
    for item in items:
        methods[item.method] += item.length
        standing[item.id] += 1
    tokens = tokens_of(items)
    return {
        "tokens": tokens,
        "share": round(tokens / total, 6),
        "texts": len(standing),
        "repeats": round(len(items) / len(standing), 3),
        "methods": dict(sorted(methods.items())),
    }


def _by_document(items: Iterable[Item]) -> dict[str, int]:
    tokens: dict[str, int] = defaultdict(int)
    for item in items:
        tokens[item.document_id] += item.length
    return tokens
