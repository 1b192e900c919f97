"""A generator writes texts about the corpus; only the settings are exported, the stage is `synthesize.run`."""

from engrain.synthesize.settings import SynthesisSettings

__all__ = ["SynthesisSettings"]
