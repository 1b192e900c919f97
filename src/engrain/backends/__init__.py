"""The narrow waist to any language model; only the settings are exported, a backend is imported from its own file."""

from engrain.backends.settings import GeneratorSettings, Price

__all__ = ["GeneratorSettings", "Price"]
