"""One chat template: a question and its answer as the text that the student reads, and its prompt.

Knows strings only. Rendering a template takes about as long as tokenising what it renders, so what
it writes around question and answer is found once, and put around the others as it stands.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jinja2

from engrain.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Llama 3's templates write today's date into the prompt, and a mixture must not change overnight.
# This is the date that they fall back to. Templates that know no `date_string` ask the clock.
_DATE = "26 Jul 2024"
_CLOCK = (
    "{%- macro strftime_now(form) -%}"
    "{%- if form == '%Y-%m-%d' -%}2024-07-26{%- else -%}26 Jul 2024{%- endif -%}"
    "{%- endmacro -%}"
)
_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")

_QUESTION, _ANSWER = "engrainquestion", "engrainanswer"
# A template may read more into a text than text (`</think>`, `[INST]`), or trim it.
_MARKUP = re.compile(r"[<>\[\]{}|]")
_PROBES = (
    ('Who wrote "The Sea\'s Edge" & when?', "It's 1,905.\n\nAnswer: A. B. O'Neil; 50 % of it"),
    ("kana\tloso\n\n\n- mivi: ~`#*_=+/\\^$@!", "\u00bfQu\u00e9?  \u6771\u4eac \U0001f600"),
    ("1", "x" * 5000),
)


@dataclass(frozen=True, slots=True)
class Rendered:
    """One pair as text."""

    text: str
    prompt: int
    """Its leading characters that the student is given, rather than writes."""


@dataclass(frozen=True, slots=True)
class _Frame:
    """What a template writes around a question and an answer, whatever they are."""

    head: str
    middle: str
    tail: str
    prompt: int | None
    """Characters of `middle` that belong to the prompt; None where prompts are not asked for."""

    def around(self, question: str, answer: str) -> Rendered:
        prompt = 0 if self.prompt is None else len(self.head) + len(question) + self.prompt
        return Rendered(f"{self.head}{question}{self.middle}{answer}{self.tail}", prompt)


class Chat:
    """The chat template of one tokenizer, which has one."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, prompts: bool) -> None:
        """Take the tokenizer's template; `prompts`: whether to say where prompts end.

        Raises UserError where that is asked for and the template does not tell.
        """
        template = str(tokenizer.get_chat_template())
        self._marks = _GENERATION.search(template) is not None
        self.template = _CLOCK + template if "strftime_now" in template else template
        self.variables = {"date_string": _DATE}
        self._names = dict(tokenizer.special_tokens_map)
        self._end = str(tokenizer.eos_token)
        self._prompts = prompts
        self._frame = self._framed()

    def pair(self, question: str, answer: str) -> Rendered:
        """The template's text of a question and its answer."""
        frame = self._frame
        if frame is None or question != question.strip() or answer != answer.strip():
            return self._rendered(question, answer)
        if _MARKUP.search(question) or _MARKUP.search(answer):
            return self._rendered(question, answer)
        return frame.around(question, answer)

    def _framed(self) -> _Frame | None:
        """None where the template does more than to write something around the texts."""
        whole = self._rendered(_QUESTION, _ANSWER)
        if whole.text.count(_QUESTION) != 1 or whole.text.count(_ANSWER) != 1:
            return None
        head, _, rest = whole.text.partition(_QUESTION)
        middle, _, tail = rest.partition(_ANSWER)
        prompt = whole.prompt - len(head) - len(_QUESTION) if self._prompts else None
        frame = _Frame(head, middle, tail, prompt)
        same = all(frame.around(*probe) == self._rendered(*probe) for probe in _PROBES)
        return frame if same else None

    def _rendered(self, question: str, answer: str) -> Rendered:
        asked = {"role": "user", "content": question}
        text, marked = self._render([asked, {"role": "assistant", "content": answer}])
        # ChatML templates end with the end token and a line break, which the student never writes.
        if text.rstrip().endswith(self._end):
            text = text.rstrip()
        if not self._prompts:
            return Rendered(text, 0)
        if self._marks:
            if len(marked) != 1:
                raise UserError(
                    f"the student's chat template marks {len(marked)} stretches of a pair as the "
                    "assistant's, and should mark one; set mixture.serialization.loss to 'all'"
                )
            return Rendered(text, marked[0][0])
        prompt, _ = self._render([asked], add_generation_prompt=True)
        if not text.startswith(prompt):
            raise UserError(
                "the student's chat template does not tell answers from prompts (it has no "
                "{% generation %} and writes an answered question otherwise than an open one); set "
                "mixture.serialization.loss to 'all', or mixture.serialization.pairs to 'plain'"
            )
        return Rendered(text, len(prompt))

    def _render(self, messages: list[dict[str, str]], **more: Any) -> tuple[str, list[list[int]]]:
        """The text, and where in it begins and ends what the template marks as the assistant's."""
        from transformers.utils import chat_template_utils as untyped

        templates: Any = untyped
        try:
            rendered, marked = templates.render_jinja_template(
                conversations=[messages],
                chat_template=self.template,
                return_assistant_tokens_mask=self._marks and self._prompts,
                **{**self._names, **self.variables, **more},
            )
        except jinja2.TemplateError as error:
            raise UserError(
                f"the student's chat template cannot write a question and its answer ({error}); "
                "set mixture.serialization.pairs to 'plain'"
            ) from error
        return rendered[0], [list(stretch) for stretch in marked[0]] if marked else []
