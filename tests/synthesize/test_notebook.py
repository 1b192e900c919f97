"""The notebook, and the questions that are noted in it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engrain.records import SyntheticText
from engrain.synthesize.base import Window
from engrain.synthesize.notebook import Notebook
from engrain.synthesize.questions import Questions

NOTES = st.lists(
    st.tuples(st.integers(0, 2), st.lists(st.text(max_size=8), max_size=3)), max_size=30
)


def test_it_knows_what_plain_lists_know(tmp_path):
    @given(NOTES)
    def check(notes) -> None:
        plain: list[list[tuple[str, ...]]] = [[], [], []]
        with Notebook(tmp_path) as notebook:
            for subject, lines in notes:
                notebook.add(subject, lines)
                plain[subject].append(tuple(lines))
                assert list(notebook.about(subject)) == plain[subject]
            assert [notebook.count(subject) for subject in range(3)] == list(map(len, plain))

    check()


def test_it_leaves_no_file(tmp_path):
    with Notebook(tmp_path) as notebook:
        notebook.add(0, ["Where?"])
        assert list(tmp_path.iterdir()) == []


def window(start: int, text: str, document: str = "d") -> Window:
    return Window(document_id=document, title="", number=0, start=start, text=text, tokens=1)


def pair(question: str, answer: str) -> SyntheticText:
    return SyntheticText(
        id="", document_id="d", kind="qa", method="qa", text="", question=question, answer=answer,
        request_id="", tokens=1,
    )  # fmt: skip


FIRST, SECOND = window(0, "Ada bakes in Wilmon."), window(21, "Bea sails from 1990.")


def test_questions_are_told_of_the_windows_that_they_were_asked_about(tmp_path):
    with Notebook(tmp_path) as notebook:
        questions = Questions(notebook)
        questions.add(FIRST, [pair("Who bakes?", "Ada"), pair("Where?", "Wilmon")])
        questions.add(SECOND, [pair("Who sails?", "Bea")])
        questions.add(FIRST, [pair("Who bakes?", "Ada"), pair("What?", "bread")])
        assert questions.about(FIRST) == ("Who bakes?", "Where?", "What?")
        assert questions.about(window(0, FIRST.text, document="e")) == ()
        whole = window(0, f"{FIRST.text} {SECOND.text}")
        assert questions.about(whole) == ("Who bakes?", "Who sails?", "Where?", "What?")


def test_a_narrower_window_has_the_questions_whose_answers_it_holds(tmp_path):
    with Notebook(tmp_path) as notebook:
        questions = Questions(notebook)
        whole = window(0, f"{FIRST.text} {SECOND.text}")
        kept = [pair("Who bakes?", "Ada"), pair("Since?", "in 1990"), pair("?", "Bea")]
        questions.add(whole, kept)
        assert questions.about(FIRST) == ("Who bakes?",)
        assert questions.about(SECOND) == ("?",)
