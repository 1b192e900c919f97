"""Settings of the mixture: what is mixed, in which shares of tokens."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from engrain.settings import Settings, execution


class ReplaySettings(Settings):
    """General text that keeps the student from forgetting."""

    share: float = Field(0.1, gt=0, lt=1)
    """Of all tokens of the mixture."""
    source: str | None = execution(None)
    """A txt, jsonl or parquet file, a folder of them, or a dataset's name on the hub; none: no
    replay. What it holds is identity (by its content or its revision), where it lies is not."""
    subset: str | None = None
    """The configuration of a hub dataset that has several."""
    text_field: str = "text"
    """The column or key that holds the text."""


class SerializationSettings(Settings):
    """How texts become tokens."""

    pairs: Literal["chat", "plain"] = "chat"
    """Question-answer pairs in the student's chat template (plain where it has none), or as plain
    text. Evaluation asks in the template."""
    loss: Literal["all", "answers"] = "all"
    """Learn pairs whole, or their answers only; documents are learned whole either way."""


class MixtureSettings(Settings):
    """Shares of the components."""

    qa_to_documents: str = "1:1"
    """Tokens of question-answer pairs to tokens of documents; `1:0` and `0:1` leave one out."""
    replay: ReplaySettings | None = ReplaySettings()
    serialization: SerializationSettings = SerializationSettings()

    @field_validator("qa_to_documents")
    @classmethod
    def _two_weights(cls, value: str) -> str:
        if sum(parse_ratio(value)) == 0:
            raise ValueError("both weights are 0; give at least one a positive weight")
        return value

    @property
    def weights(self) -> tuple[float, float]:
        """The shares of question-answer pairs and of documents in the synthetic text."""
        qa, documents = parse_ratio(self.qa_to_documents)
        return qa / (qa + documents), documents / (qa + documents)


def parse_ratio(value: str) -> tuple[float, float]:
    """Two weights written `1:1`; ValueError where they are not."""
    left, colon, right = value.partition(":")
    try:
        weights = float(left), float(right)
    except ValueError:
        colon = ""
        weights = (0.0, 0.0)
    if not colon or not all(0 <= weight < float("inf") for weight in weights):
        raise ValueError("not a ratio of two weights; write it like '1:1' or '1:8'")
    return weights
