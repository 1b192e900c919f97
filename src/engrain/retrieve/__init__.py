"""The retrieval baseline: chunks, a lexical index, recall; only the settings are exported."""

from engrain.retrieve.settings import RetrievalSettings

__all__ = ["RetrievalSettings"]
