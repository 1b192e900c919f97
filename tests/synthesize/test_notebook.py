from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engrain.synthesize.base import Known
from engrain.synthesize.notebook import Notebook

LINES = st.lists(st.text(max_size=8), max_size=3)
NOTES = st.lists(
    st.tuples(st.sampled_from(["questions", "list", "tell", "look"]), st.integers(0, 2), LINES),
    max_size=30,
)


def test_it_knows_what_plain_lists_know(tmp_path):
    @given(NOTES)
    def check(notes) -> None:
        questions: list[list[str]] = [[], [], []]
        told: list[tuple[str, ...]] = [(), (), ()]
        lists: list[list[tuple[str, ...]]] = [[], [], []]
        with Notebook(tmp_path, 3) as notebook:
            for what, window, lines in notes:
                if what == "questions":
                    notebook.add_questions(window, lines)
                    questions[window] += lines
                elif what == "list":
                    notebook.add_list(window, lines)
                    lists[window].append(tuple(lines))
                elif what == "tell":
                    notebook.tell()
                    told = [tuple(dict.fromkeys(asked)) for asked in questions]
                known = Known(questions=told[window], lists=tuple(lists[window]))
                assert notebook[window] == known
                assert notebook.lists(window) == len(lists[window])

    check()


def test_it_leaves_no_file(tmp_path):
    with Notebook(tmp_path, 1) as notebook:
        notebook.add_questions(0, ["Where?"])
        assert list(tmp_path.iterdir()) == []
