"""The table of document methods."""

from __future__ import annotations

from engrain.synthesize.active_reading import ActiveReading
from engrain.synthesize.base import Method
from engrain.synthesize.qa import QuestionAnswer
from engrain.synthesize.rewrite import Rewrite
from engrain.synthesize.settings import SynthesisSettings

_DOCUMENT_METHODS: dict[str, type[Rewrite] | type[ActiveReading]] = {
    "rewrite": Rewrite,
    "active_reading": ActiveReading,
}

# Sample indexes of one seed stay below this, so another seed draws other replies to the same
# prompts.
_SAMPLES_PER_SEED = 1_000_000


def methods(settings: SynthesisSettings, *, seed: int) -> list[tuple[Method, float]]:
    """What writes, and its share: questions first, because Focal Rewriting needs them."""
    first = seed * _SAMPLES_PER_SEED
    documents: Method = _DOCUMENT_METHODS[settings.documents.method](settings.documents, seed=first)
    planned: list[tuple[Method, float]] = [
        (QuestionAnswer(settings.qa, seed=first), settings.qa.share),
        (documents, settings.documents.share),
    ]
    return [(method, share) for method, share in planned if share > 0]
