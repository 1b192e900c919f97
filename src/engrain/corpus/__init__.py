"""Files become documents and evaluation questions.

Only the settings are exported; the stage is `corpus.run`.
"""

from engrain.corpus.settings import CorpusSettings, QuestionSettings

__all__ = ["CorpusSettings", "QuestionSettings"]
