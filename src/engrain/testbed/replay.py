"""Replay for the small student: text like its pre-training's, what web text is to a real student.

Reading lessons about passing worlds of the pre-training split: they keep the student able to read,
and hold nothing of a target world.
"""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from random import Random

from engrain.store import write_text
from engrain.testbed.lessons import Lesson, Level, reading_lessons

_LEVEL = Level(facts=24, passages=3)
"""Most fit a sequence of 512 tokens whole: a question without its passages would teach to guess."""
_QUESTIONS = 3
TEXTS = 500
"""As many as a world's folder holds: some 300K tokens, a tenth of a mixture of 3M."""


def write_replay(path: Path, *, seed: int, texts: int) -> None:
    """Write `texts` lessons as JSONL rows with the field `text`."""
    lessons = reading_lessons(Random(f"replay/{seed}"), _LEVEL, repeating=0.0, questions=_QUESTIONS)
    rows = (json.dumps({"text": as_text(lesson)}) + "\n" for lesson in islice(lessons, texts))
    write_text(path, "".join(rows))


def as_text(lesson: Lesson) -> str:
    """A lesson in the student's chat format, without the first and the last special token.

    Those are put around every document of a mixture anyway.
    """
    turns = [f"<|{role}|>{content}" for role, content in lesson.turns]
    return "<|end|>".join(turns)
