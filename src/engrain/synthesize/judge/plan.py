"""What judging will ask for, before anything is written: for the estimate behind `engrain plan`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engrain.synthesize.base import Window
from engrain.synthesize.judge import answerability, faithfulness
from engrain.synthesize.prompts import user_message
from engrain.synthesize.settings import AnswerabilitySettings, FaithfulnessSettings, JudgeSettings

_NOTHING = Window(document_id="", title="", number=0, text="", tokens=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What one method is expected to have written."""

    texts: float
    tokens: float
    """Of one text."""
    document: float
    """Tokens of the document in the prompt of one text."""
    pairs: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """What judging, or a part of it, asks for."""

    requests: int = 0
    prompt_tokens: int = 0
    document_tokens: int = 0
    """Of those, the documents in the prompts."""
    completion_tokens: int = 0


def asking(
    settings: JudgeSettings | None,
    written: Sequence[Written],
    documents: int,
    count_tokens: Callable[[str], int],
) -> Asking:
    """All of it: nothing where nothing is judged."""
    parts = []
    if settings is not None and settings.faithfulness is not None:
        parts.append(_faithfulness(settings.faithfulness, written, count_tokens))
    if settings is not None and settings.answerability is not None:
        parts.append(_answerability(settings.answerability, written, documents, count_tokens))
    return Asking(
        requests=sum(part.requests for part in parts),
        prompt_tokens=sum(part.prompt_tokens for part in parts),
        document_tokens=sum(part.document_tokens for part in parts),
        completion_tokens=sum(part.completion_tokens for part in parts),
    )


def _faithfulness(
    settings: FaithfulnessSettings, written: Sequence[Written], count_tokens: Callable[[str], int]
) -> Asking:
    texts = sum(one.texts for one in written)
    share = settings.share
    if settings.at_most is not None and texts:
        share = min(share, settings.at_most / texts)
    requests = round(share * texts)
    shown = share * sum(one.texts * one.document for one in written)
    judged = share * sum(one.texts * one.tokens for one in written)
    instruction = count_tokens(user_message("judge/faithful", _NOTHING, texts=[""])[0].content)
    return Asking(
        requests=requests,
        prompt_tokens=round(shown + judged) + requests * instruction,
        document_tokens=round(shown),
        completion_tokens=requests * faithfulness.REPLY_TOKENS,
    )


def _answerability(
    settings: AnswerabilitySettings,
    written: Sequence[Written],
    documents: int,
    count_tokens: Callable[[str], int],
) -> Asking:
    pairs = sum(one.texts for one in written if one.pairs)
    methods = [one for one in written if not one.pairs]
    questions = min(settings.at_most, settings.per_document * documents, round(pairs))
    each = [one.texts * one.tokens / max(1, documents) for one in methods]
    read = sum(min(settings.tokens, tokens) for tokens in each)
    instruction = count_tokens(user_message("judge/answer", None, question="")[0].content)
    requests = questions * (1 + len(methods))
    return Asking(
        requests=requests,
        prompt_tokens=round(questions * read) + requests * instruction,
        document_tokens=0,
        completion_tokens=requests * answerability.REPLY_TOKENS,
    )
