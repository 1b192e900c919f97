"""Training: continued pre-training of the student on a packed mixture."""

from engrain.train.settings import TrainingSettings

__all__ = ["TrainingSettings"]
