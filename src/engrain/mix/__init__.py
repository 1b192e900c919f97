"""Mixture: question-answer pairs, documents and replay, in exact shares of tokens, packed."""

from engrain.mix.settings import MixtureSettings, ReplaySettings, SerializationSettings

__all__ = ["MixtureSettings", "ReplaySettings", "SerializationSettings"]
