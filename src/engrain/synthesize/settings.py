"""What is written, by which method, and how much of it.

Sampling settings are the paper's (arXiv 2603.23562); figures that it leaves open are ours.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from engrain.settings import Settings


class QASettings(Settings):
    """Question-answer pairs."""

    share: float = Field(0.5, ge=0, le=1)
    """Of the token budget."""
    pairs_per_call: int = Field(8, ge=1)
    """Pairs asked for in one request. More share one reading of the document; fewer are more
    varied."""
    temperature: float = Field(1.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    max_tokens: int = Field(2048, ge=1)


class DocumentSettings(Settings):
    """Synthetic documents."""

    method: Literal["rewrite", "active_reading"] = "active_reading"
    focal: bool = True
    """Focus each text on one synthetic question (Focal Rewriting)."""
    share: float = Field(0.5, ge=0, le=1)
    """Of the token budget."""
    texts_per_list: int = Field(16, ge=1)
    """Active Reading: texts written from one list of strategies before a fresh list is asked
    for."""
    temperature: float = Field(0.7, ge=0)
    top_p: float = Field(0.95, gt=0, le=1)
    max_tokens: int = Field(4096, ge=1)


class BudgetSettings(Settings):
    """Hard limits: whichever is reached first ends the stage."""

    tokens: int = Field(ge=1)
    """Tokens of kept texts, as the generator counts them."""
    requests: int | None = Field(None, ge=1)
    usd: float | None = Field(None, gt=0)
    """Needs a price in the generator's settings."""


class VerifySettings(Settings):
    """Which texts are not kept, each counted by its reason; null or false switches a filter off."""

    language: bool = True
    """Texts in another language than what they are about; short ones are not judged."""
    prompt_echo: int | None = Field(8, ge=4)
    """Texts with so many words in a row of the instruction."""
    self_contained: bool = True
    """Questions and texts that lean on "the passage", "the author" or an unnamed "he". English
    only."""
    answer_share: float | None = Field(0.25, gt=0, le=1)
    """Pairs whose explanation says less than this share of the answer's words."""
    source_copy: float | None = Field(0.9, gt=0, le=1)
    """Documents of which this share stands verbatim in the source, by runs of eight words."""
    near_duplicate: float | None = Field(0.85, ge=0.5, lt=1)
    """Texts that share about this much, by runs of three words, with an earlier text of any
    document and name the same facts."""
    remember: int = Field(10_000_000, ge=2)
    """Texts in which duplicates are looked for; past it the older half is forgotten."""


class SynthesisSettings(Settings):
    """The synthesis stage."""

    qa: QASettings = QASettings()
    documents: DocumentSettings = DocumentSettings()
    budget: BudgetSettings
    verify: VerifySettings = VerifySettings()
    window: int = Field(1500, ge=50)
    """Approximate tokens of document text in one prompt; a longer document is cut at its
    paragraphs."""
    leak_limit: float = Field(0.01, ge=0, le=1)
    """Share of synthetic texts that may contain an evaluation question before the run fails. None
    is ever kept."""

    @model_validator(mode="after")
    def _consistent(self) -> SynthesisSettings:
        total = self.qa.share + self.documents.share
        if abs(total - 1) > 1e-9:
            raise ValueError(
                f"synthesis.qa.share {self.qa.share!r} and "
                f"synthesis.documents.share {self.documents.share!r} add up to {total:g}; make it 1"
            )
        if self.documents.share > 0 and self.documents.focal and self.qa.share == 0:
            raise ValueError(
                "synthesis.documents.focal is true but synthesis.qa.share is 0, "
                "so there are no questions to focus on; set focal to false or give qa a share"
            )
        return self
