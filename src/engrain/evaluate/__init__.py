"""Questions to a reader, and the grading of its answers; only the settings are exported."""

from engrain.evaluate.settings import EvaluationSettings

__all__ = ["EvaluationSettings"]
