"""The narrow waist to any language model. Only the settings are exported here."""

from engrain.backends.settings import GeneratorSettings, Price

__all__ = ["GeneratorSettings", "Price"]
