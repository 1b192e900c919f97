"""What is written, by which method, and how much of it.

Sampling settings are the paper's (arXiv 2603.23562); figures that it leaves open are ours.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from engrain.settings import Settings

DocumentMethod = Literal["rewrite", "entigraph", "active_reading", "spa", "stretched"]
ScreenKind = Literal[
    "private_key",
    "api_key",
    "password",
    "email",
    "phone",
    "iban",
    "payment_card",
    "national_id",
]

_SMALLEST_WINDOW = 50
# Far above what anyone pays for, and planned text by text: more is a slip of the hand.
_MOST_TOKENS = 10**11
_ONLY_FOR: dict[str, DocumentMethod] = {
    "strategies": "active_reading",
    "texts_per_list": "active_reading",
    "pieces": "stretched",
}


class QASettings(Settings):
    """Question-answer pairs."""

    share: float = Field(0.5, ge=0, le=1)
    """Of the token budget."""
    pairs_per_call: int = Field(8, ge=1)
    """Pairs asked for in one request. More share one reading of the document; fewer are more
    varied."""
    part: int | None = Field(300, ge=20)
    """Approximate tokens of the stretch of a window that one request asks about, each in turn, so
    that every part of a document is asked about as often; none: the generator chooses."""
    temperature: float = Field(1.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    max_tokens: int = Field(2048, ge=1)


class DocumentSettings(Settings):
    """Synthetic documents of one method."""

    method: DocumentMethod = "active_reading"
    """`rewrite` (four styles, WRAP), `entigraph` (entities in pairs and triples), `active_reading`
    (strategies made for the document), `spa` (seven forms of study text), `stretched` (the document
    itself, with reasoning between its pieces)."""
    focal: bool = True
    """Focus each text on one synthetic question (Focal Rewriting)."""
    share: float = Field(0.5, ge=0, le=1)
    """Of the token budget."""
    window: int | Literal["document"] | None = Field(None)
    """Approximate tokens of document text in one prompt, or `document` for all of it; none: as
    `synthesis.window`."""
    strategies: Literal["task_agnostic", "task_specific"] = "task_agnostic"
    """Only active_reading: strategies for all that the document says, or for the questions that an
    examiner might ask."""
    texts_per_list: int = Field(16, ge=1)
    """Only active_reading: texts written from one list of strategies before a fresh list is asked
    for."""
    pieces: int = Field(8, ge=2)
    """Only stretched: pieces into which a window is cut; the generator writes what leads from each
    to the next."""
    temperature: float = Field(0.7, ge=0)
    top_p: float = Field(0.95, gt=0, le=1)
    max_tokens: int = Field(4096, ge=1)

    @field_validator("window", mode="before")
    @classmethod
    def _tokens_or_all(cls, window: object) -> object:
        numeric = isinstance(window, str) and window.strip().isdecimal()
        if not (window is None or isinstance(window, int) or window == "document" or numeric):
            raise ValueError("it is a number of tokens such as 300 or 2k, or `document`")
        return window

    @field_validator("window")
    @classmethod
    def _wide_enough(cls, window: int | str | None) -> int | str | None:
        if isinstance(window, int) and window < _SMALLEST_WINDOW:
            raise ValueError(f"a window has at least {_SMALLEST_WINDOW} tokens")
        return window

    @model_validator(mode="after")
    def _only_its_own(self) -> DocumentSettings:
        for name in sorted(self.model_fields_set):
            owner = _ONLY_FOR.get(name, self.method)
            if (
                owner != self.method
                and getattr(self, name) != type(self).model_fields[name].default
            ):
                raise ValueError(
                    f"{name} is a setting of method {owner!r}, not of {self.method!r}; "
                    "take it out, or change the method"
                )
        return self


def _how_many(documents: object) -> str:
    return "several" if isinstance(documents, (list, tuple)) else "one"


# Which of the two is meant is seen before either is read, so that only its errors are told.
OneOrSeveral = Annotated[
    Annotated[DocumentSettings, Tag("one")]
    | Annotated[tuple[DocumentSettings, ...], Tag("several")],
    Discriminator(_how_many),
]


class BudgetSettings(Settings):
    """Hard limits: whichever is reached first ends the stage."""

    tokens: int = Field(ge=1, le=_MOST_TOKENS)
    """Tokens of kept texts, as the generator counts them."""
    requests: int | None = Field(None, ge=1)
    usd: float | None = Field(None, gt=0)
    """Needs a price in the generator's settings."""


class VerifySettings(Settings):
    """Which texts are not kept, by reason; null, or false where it is true, switches one off."""

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
    remember: int = Field(2_000_000, ge=2)
    """Texts in which duplicates are looked for; past it the older half is forgotten."""


class FaithfulnessSettings(Settings):
    """Whether texts say only what their documents say, in the generator's own judgement."""

    share: float = Field(0.05, gt=0, le=1)
    """Of the kept texts; a larger share contains a smaller one."""
    at_most: int | None = Field(1000, ge=1)
    """Texts in all; none: no limit."""
    reject: bool = False
    """Do not keep those judged unfaithful; texts that are not drawn stay."""


class AnswerabilitySettings(Settings):
    """Whether synthetic questions can be answered from the synthetic documents."""

    per_document: int = Field(2, ge=1)
    """Questions about each document."""
    at_most: int = Field(200, ge=1)
    """Questions in all; each is asked once without texts, and once for each document method."""
    tokens: int = Field(4000, ge=100)
    """Approximate tokens of texts shown with a question."""


class JudgeSettings(Settings):
    """What the generator is asked about its own texts in the end; null leaves a part out."""

    faithfulness: FaithfulnessSettings | None = FaithfulnessSettings()
    answerability: AnswerabilitySettings | None = AnswerabilitySettings()
    max_tokens: int = Field(1024, ge=1)
    """Of one verdict or answer; a model that thinks aloud needs more."""

    @model_validator(mode="after")
    def _something(self) -> JudgeSettings:
        if self.faithfulness is None and self.answerability is None:
            raise ValueError(
                "synthesis.judge has neither faithfulness nor answerability; "
                "name one of them, or take judge out"
            )
        return self


class ScreenSettings(Settings):
    """Secrets and personal data for which the documents are searched before the first request."""

    find: tuple[ScreenKind, ...] = Field(get_args(ScreenKind), min_length=1)
    """What is looked for; `api_key` is keys and tokens of known services, `password` those in
    URLs, connection strings and assignments."""
    phone_regions: tuple[str, ...] = ()
    """Countries (`US`, `DE`) whose numbers are also found without `+` and the country's code."""
    allow: tuple[str, ...] = ()
    """What may stay although it is found, without regard to case: `*@example.com`. A recipe is kept
    with the run, so name nothing secret."""
    on_finding: Literal["stop", "skip"] = "stop"
    """`stop`: the run ends before anything is sent. `skip`: nothing is asked about documents with
    findings."""


class SynthesisSettings(Settings):
    """The synthesis stage."""

    qa: QASettings = QASettings()
    documents: OneOrSeveral = DocumentSettings()
    """One method, or a list of several with a share each."""
    budget: BudgetSettings
    verify: VerifySettings = VerifySettings()
    judge: JudgeSettings | None = None
    """Have the generator judge what was kept; none: nothing is asked."""
    screen: ScreenSettings | None = None
    """Search the documents for secrets and personal data first; none: they are sent as they are."""
    window: int = Field(1500, ge=_SMALLEST_WINDOW)
    """Approximate tokens of document text in one prompt; a longer document is cut at its
    paragraphs."""
    leak_limit: float = Field(0.01, ge=0, le=1)
    """Share of synthetic texts that may contain an evaluation question before the run fails. None
    is ever kept."""

    @property
    def writers(self) -> tuple[DocumentSettings, ...]:
        """The document methods, in the recipe's order."""
        return self.documents if isinstance(self.documents, tuple) else (self.documents,)

    @model_validator(mode="after")
    def _consistent(self) -> SynthesisSettings:
        shares = [writer.share for writer in self.writers]
        total = self.qa.share + sum(shares)
        if abs(total - 1) > 1e-9:
            said = " and ".join(f"{share!r}" for share in shares) or "none"
            raise ValueError(
                f"synthesis.qa.share {self.qa.share!r} and "
                f"synthesis.documents.share {said} add up to {total:g}; make it 1"
            )
        names = [writer.method for writer in self.writers]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(
                f"synthesis.documents names method {twice!r} twice; give it one entry with both "
                "shares, or make two runs"
            )
        if self.qa.share == 0 and any(writer.share > 0 and writer.focal for writer in self.writers):
            raise ValueError(
                "synthesis.documents.focal is true but synthesis.qa.share is 0, "
                "so there are no questions to focus on; set focal to false or give qa a share"
            )
        asks = self.judge is not None and self.judge.answerability is not None
        if asks and (self.qa.share == 0 or not any(shares)):
            raise ValueError(
                "synthesis.judge.answerability needs questions and documents, but "
                f"synthesis.qa.share is {self.qa.share!r}; set answerability to null"
            )
        return self
