"""The table of methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from engrain.synthesize.active_reading import ActiveReading
from engrain.synthesize.base import Method
from engrain.synthesize.entigraph import EntiGraph
from engrain.synthesize.qa import QuestionAnswer
from engrain.synthesize.rewrite import Rewrite
from engrain.synthesize.settings import DocumentMethod, DocumentSettings, SynthesisSettings
from engrain.synthesize.spa import SPA
from engrain.synthesize.stretched import Stretched

_DOCUMENT_METHODS: dict[DocumentMethod, Sequence[Callable[..., Method]]] = {
    "rewrite": (Rewrite,),
    "entigraph": (EntiGraph,),
    "active_reading": (ActiveReading,),
    "spa": SPA,
    "stretched": (Stretched,),
}

# Sample indexes of one seed stay below this, so another seed draws other replies to the same
# prompts.
_SAMPLES_PER_SEED = 1_000_000


def methods(settings: SynthesisSettings, *, seed: int) -> list[tuple[Method, float]]:
    """What writes, and its share: questions first, because Focal Rewriting needs them."""
    first = seed * _SAMPLES_PER_SEED
    pairs = QuestionAnswer(settings.qa, window=settings.window, seed=first)
    planned: list[tuple[Method, float]] = [(pairs, settings.qa.share)]
    for writer in settings.writers:
        makers = _DOCUMENT_METHODS[writer.method]
        window = _window(writer, settings)
        planned += [
            (make(writer, window=window, seed=first), writer.share / len(makers)) for make in makers
        ]
    return [(method, share) for method, share in planned if share > 0]


def _window(writer: DocumentSettings, settings: SynthesisSettings) -> int | None:
    if writer.window == "document":
        return None
    return settings.window if writer.window is None else writer.window
