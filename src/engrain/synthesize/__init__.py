"""A generator writes about the corpus. Only the settings are exported; the stage is in `run`."""

from engrain.synthesize.settings import SynthesisSettings

__all__ = ["SynthesisSettings"]
