"""SPA (arXiv 2603.22213): seven forms of study text, each with the same share of the tokens.

The wording of the forms is ours. Each form is a method of its own, because only so their shares are
equal in tokens and not in texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from engrain.synthesize.base import Known, Window
from engrain.synthesize.drafting import Drafter
from engrain.synthesize.settings import DocumentSettings

FORMS = {
    "key_concepts": (
        "the key concepts: name each important concept, person, place and term of the document, "
        "and explain it with all that the document says about it"
    ),
    "mind_map": (
        "a mind map in words: the central subject, its branches and their sub-branches as an "
        "indented outline, every node with its facts, then a paragraph on how the branches connect"
    ),
    "implications": (
        "the implications: what follows from what the document says, step by step, each "
        "conclusion with the facts that it rests on"
    ),
    "critical_questions": (
        "questions for critical thinking: ask how, why and what if about the document's content, "
        "and answer each at length from its facts"
    ),
    "case_study": (
        "a case study: take one event, person or problem of the document, tell its background, "
        "what happened, the reasons and the outcome, and what is to be learned from it"
    ),
    "discussion": (
        "a discussion between several well-informed people who go through the content of the "
        "document, remind one another of its details, and correct and complete one another"
    ),
    "teacher": (
        "a lesson: a teacher explains the content to students from the ground up, gives examples, "
        "asks them what they remember, and repeats the details that matter"
    ),
}


class StudyText(Drafter):
    """One of the seven forms."""

    template = "study"

    def __init__(
        self, settings: DocumentSettings, *, window: int | None, seed: int, form: str
    ) -> None:
        """Take the settings and the form's name."""
        super().__init__(settings, window=window, seed=seed)
        self.name = f"spa_{form}"
        self._form = FORMS[form]

    def strategies(self, window: Window, known: Known, number: int) -> Sequence[str]:
        """The one form."""
        return (self._form,)


SPA = tuple(partial(StudyText, form=form) for form in FORMS)
